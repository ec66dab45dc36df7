// Package hostile makes the files that a stranger would upload to harm whoever
// looks into them, and proves that they don't. Each is made when it is asked for,
// by hand or by ffmpeg; none is kept.
package hostile

import (
	"archive/zip"
	"bytes"
	"compress/zlib"
	"fmt"
	"hash/crc32"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"backbeat/test/harness"
)

// File is one file of the corpus. It fits into memory many times over.
type File struct {
	Name string
	Data []byte
	Fate Fate
}

// Fate is how a file must end.
type Fate int

// The fates of files.
const (
	// Refused is not let in: its first bytes are no video's.
	Refused Fate = iota
	// Failed is let in by its first bytes and never published.
	Failed
	// Harmless plays, whatever else it is: it may be published or fail, and what
	// is published holds nothing of the else.
	Harmless
)

// Payload is in every polyglot, and never in what is published.
const Payload = "<script>alert('backbeat')</script>"

// Files returns the files that are whole, if crooked.
func Files(tb testing.TB) []File {
	tb.Helper()
	clip, silent := Clip(tb, harness.ClipOptions{}), Clip(tb, small)
	playlist := []byte("#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n")
	concat := []byte("ffconcat version 1.0\nfile file:///etc/passwd\n")
	drawing := []byte(`<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/>` + Payload + `</svg>`)
	page := []byte("%PDF-1.7\n<html>" + Payload)
	zipped := zipBomb(tb)
	return []File{
		{"an HLS playlist", playlist, Refused},
		{"an HLS playlist dressed as mp4", slices.Concat(head(), playlist), Failed},
		{"an HLS playlist in a clip's place for data", slices.Concat(head(), box("mdat", playlist), part(silent, "moov")), Failed},
		{"a list of files to join", concat, Refused},
		{"a list of files to join dressed as mp4", slices.Concat(head(), concat), Failed},
		{"an SVG", drawing, Refused},
		{"an SVG dressed as mp4", slices.Concat(head(), drawing), Failed},
		{"a Matroska file dressed as mp4", slices.Concat(head(), matroska(nil, nil)), Failed},

		{"a polyglot of web page and clip", before(silent, box("free", page)), Harmless},
		{"a polyglot of clip and zip", slices.Concat(silent, box("free", []byte(Payload), zipped)), Harmless},
		{"a polyglot of clip and web page behind it", slices.Concat(silent, page), Harmless},
		{"a zip that begins as a clip does", slices.Concat(head(), zipped), Failed},

		{"MagicYUV", made(tb, "mkv", "-c:v magicyuv"), Failed},
		{"MagicYUV under another name", bytes.ReplaceAll(made(tb, "avi", "-c:v magicyuv"), []byte("M8Y0"), []byte("H264")), Refused},
		{"a format that nobody uploads", made(tb, "mov", "-c:v qtrle"), Failed},

		{"20,000×20,000 pixels", movie(track{codec: "vp09", setup: full("vpcC", []byte{0, 10, 0x82, 1, 1, 1, 0, 0}), width: 20_000, height: 20_000,
			timescale: 25, delta: 1, samples: 50}, vp9(20_000, 20_000)), Failed},
		{"20,000×20,000 pixels in a picture of a few kilobytes", movie(track{codec: "png ", width: 20_000, height: 20_000,
			timescale: 25, delta: 1, samples: 50}, picture(20_000)), Failed},
		{"20,000×20,000 pixels by its index alone", grown(silent, 20_000), Harmless},
		{"65,535 pixels by 1", movie(track{codec: "vp09", width: 65_535, height: 1, timescale: 25, delta: 1, samples: 50}, vp9(65_535, 1)), Failed},

		{"a million pictures a second", patch(silent, "mdhd", 20, 512_000_000), Failed},
		{"ten hours in a kilobyte", slow(tb), Failed},
		{"ten hours of one picture", repeated(tb, 900_000), Failed},
		{"2³² − 1 samples of no bytes", movie(track{codec: "avc1", width: 64, height: 64, timescale: 25, delta: 1, samples: 0xffffffff}, nil), Failed},
		{"2³⁰ samples of a byte", movie(track{codec: "avc1", width: 64, height: 64, timescale: 1 << 30, delta: 1, samples: 1 << 30, size: 1}, []byte{0}), Failed},
		{"four thousand pixels squared, two hundred times a second", repeatedLarge(tb), Failed},

		{"1,000 streams", moved(silent, 1000, part(silent, "trak")), Failed},
		{"1,000 streams of nothing", slices.Concat(head(), moov(slices.Repeat([]track{{codec: "avc1", width: 64, height: 64, timescale: 25, delta: 1}}, 1000)...)), Failed},
		{"10,000 boxes in each other", slices.Concat(head(), nested("moov", 10_000)), Failed},
		{"100,000 tracks without content", slices.Concat(head(), box("moov", bytes.Repeat(box("trak"), 100_000))), Failed},
		{"a box larger than any file", slices.Concat(head(), numbers(1), []byte("moov"), numbers(0x7fffffff, 0xffffffff)), Failed},
		{"a box that ends before it begins", slices.Concat(head(), number(4), []byte("moov"), silent), Failed},
		{"a table larger than its file", patch(silent, "stsz", 16, 0xfffffff), Failed},
		{"data outside of the file", patch(silent, "stco", 16, 0x7fffffff), Failed},
		{"only sound", made(tb, "mp4", "-f lavfi -i sine=d=1 -map 1:a -c:a aac"), Failed},
		{"an index without data", slices.Concat(head(), part(clip, "moov")), Failed},

		{"a zip bomb", zipped, Refused},
		{"a bomb of a compressed index", slices.Concat(head(), box("moov", box("cmov", box("dcom", []byte("zlib")),
			box("cmvd", number(0x7ffffff0), deflated(4<<20))))), Failed},
		{"a bomb of compressed blocks", matroska(deflated(1<<20), deflated(16<<20)), Failed},
	}
}

// Truncations returns a clip with its index first, and one with its index last,
// cut off before and in the middle of every stride-th box; around the index and
// the data, and with a stride of 1 everywhere, also in and after a box's head.
func Truncations(tb testing.TB, stride int) []File {
	tb.Helper()
	var files []File
	for name, clip := range map[string][]byte{
		"index first": Clip(tb, harness.ClipOptions{}), "index last": Clip(tb, harness.ClipOptions{MoovLast: true}),
	} {
		index := slices.IndexFunc(boxes(clip), func(b span) bool { return b.kind == "moov" })
		moov := boxes(clip)[index]
		for i, b := range boxes(clip) {
			for _, at := range []struct {
				name string
				end  int
			}{{"before", b.start}, {"in the head of", b.start + 4}, {"after the head of", b.start + 8}, {"in the middle of", (b.start + b.end) / 2}} {
				// Sixteen bytes tell a clip from other files; an index that is all there
				// may be enough to play what is left.
				fate := Failed
				switch {
				case at.end < 16:
					fate = Refused
				case at.end >= moov.end:
					fate = Harmless
				}
				thorough := stride == 1 || b.kind == "moov" || b.kind == "mdat"
				if thorough || i%stride == 0 && !strings.Contains(at.name, "head") {
					files = append(files, File{fmt.Sprintf("%s, cut off %s the box %s (%d)", name, at.name, b.kind, i), clip[:at.end], fate})
				}
			}
		}
	}
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	return files
}

// small is the least that is worth publishing.
var small = harness.ClipOptions{Seconds: 2, Silent: true, Width: 64, Height: 64}

// Clip returns the content of a clip.
func Clip(tb testing.TB, o harness.ClipOptions) []byte {
	tb.Helper()
	data, err := os.ReadFile(harness.Clip(tb, o))
	check(tb, err)
	return data
}

// made lets ffmpeg make a second of pictures into a file of a kind.
func made(tb testing.TB, ext, args string) []byte {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "made."+ext)
	all := slices.Concat(strings.Fields("-v error -f lavfi -i testsrc2=size=64x64:rate=25:duration=1"), strings.Fields(args), []string{path})
	out, err := exec.Command("ffmpeg", all...).CombinedOutput()
	if err != nil {
		tb.Fatalf("ffmpeg: %v\n%s", err, out)
	}
	data, err := os.ReadFile(path)
	check(tb, err)
	return data
}

// movie is a file of one track, all of whose samples are the same.
func movie(t track, sample []byte) []byte {
	if len(sample) > 0 {
		t.size = len(sample)
	}
	first := slices.Concat(head(), box("mdat", sample))
	t.offset = len(head()) + 8
	return slices.Concat(first, moov(t))
}

// before is the clip, its index last, with a box right after its head.
func before(clip, extra []byte) []byte {
	ftyp := part(clip, "ftyp")
	data := slices.Concat(ftyp, extra, clip[len(ftyp):])
	return patch(data, "stco", 16, be(part(clip, "stco")[16:])+len(extra))
}

// moved is the clip with n more boxes in its index, which lies before its data.
func moved(clip []byte, n int, extra []byte) []byte {
	index := part(clip, "moov")
	return slices.Concat(head(), box("mdat", part(clip, "mdat")[8:]), box("moov", index[8:], bytes.Repeat(extra, n)))
}

// grown is the clip with another size of its picture in the index.
func grown(clip []byte, side int) []byte {
	data := patch(patch(clip, "tkhd", 84, side<<16), "tkhd", 88, side<<16)
	return patch(data, "stsd", 16+32, side<<16|side)
}

// slow is one picture that stays for ten hours.
func slow(tb testing.TB) []byte {
	data := made(tb, "mp4", "-frames:v 1 -c:v libx264 -preset ultrafast -x264-params no-info=1 -vf scale=16:16,format=yuv420p -fflags +bitexact")
	timescale := be(part(data, "mdhd")[20:])
	return patch(patch(patch(data, "stts", 20, timescale*36_000), "mdhd", 24, timescale*36_000), "elst", 16, 36_000_000)
}

// repeated is one picture of 64×64, 25 times a second, as often as it says.
func repeated(tb testing.TB, times int) []byte {
	return again(made(tb, "mp4", "-frames:v 1 -c:v libx264 -preset ultrafast -pix_fmt yuv420p"), 64, times, 25)
}

// repeatedLarge is one picture of 4096×4096, 200 times a second for five minutes.
func repeatedLarge(tb testing.TB) []byte {
	return again(made(tb, "mp4", "-frames:v 1 -c:v libx264 -preset ultrafast -vf scale=4096:4096 -pix_fmt yuv420p"), 4096, 60_000, 200)
}

// again shows the only picture of a clip again and again: every sample lies at
// the same place, in a chunk of its own.
func again(clip []byte, side, times, rate int) []byte {
	data := part(clip, "mdat")
	avcC := clip[bytes.Index(clip, []byte("avcC"))-4:]
	t := track{codec: "avc1", setup: avcC[:be(avcC)], width: side, height: side, timescale: rate, delta: 1, samples: times, size: len(data) - 8}
	t.offset = len(head()) + 8
	index := moov(t)
	old := part(slices.Concat(index), "stco")
	chunks := full("stco", number(times), bytes.Repeat(number(t.offset), times))
	stsc := full("stsc", numbers(1, 1, 1, 1))
	return slices.Concat(head(), data, replaced(replaced(index, old, chunks), part(index, "stsc"), stsc))
}

// replaced is the file with one box in place of another, and those around it as
// large as they have become.
func replaced(file, old, by []byte) []byte {
	at := bytes.Index(file, old)
	data := slices.Concat(file[:at], by, file[at+len(old):])
	for _, b := range boxes(file) {
		if b.start < at && b.end >= at+len(old) {
			copy(data[b.start:], number(b.end-b.start+len(by)-len(old)))
		}
	}
	return data
}

func nested(kind string, depth int) []byte {
	var b []byte
	for i := range depth {
		b = append(b, numbers(8*(depth-i))...)
		b = append(b, kind...)
	}
	return b
}

// vp9 is a key frame of VP9 of the size, with nothing behind its head.
func vp9(width, height int) []byte {
	// Frame marker, profile 0, key frame, shown; the sync code; 8 bits of BT.601, 4:2:0.
	var bits []byte
	put := func(n, value int) {
		for i := n - 1; i >= 0; i-- {
			bits = append(bits, byte(value>>i&1))
		}
	}
	put(8, 0b10000010)
	put(24, 0x498342)
	put(4, 0b0010)
	put(16, width-1)
	put(16, height-1)
	packed := make([]byte, 64)
	for i, bit := range bits {
		packed[i/8] |= bit << (7 - i%8)
	}
	return packed
}

// picture is a PNG of grey in a square.
func picture(side int) []byte {
	chunk := func(kind string, content []byte) []byte {
		data := append([]byte(kind), content...)
		return slices.Concat(number(len(content)), data, number(int(crc32.ChecksumIEEE(data))))
	}
	return slices.Concat([]byte("\x89PNG\r\n\x1a\n"), chunk("IHDR", append(numbers(side, side), 8, 0, 0, 0, 0)),
		chunk("IDAT", deflated(1<<20)), chunk("IEND", nil))
}

// deflated is what n zeros are when they are compressed.
func deflated(n int) []byte {
	var b bytes.Buffer
	w := zlib.NewWriter(&b)
	for zeros := make([]byte, 1<<20); n > 0; n -= len(zeros) {
		_, _ = w.Write(zeros[:min(n, len(zeros))]) // writing to memory does not fail
	}
	_ = w.Close()
	return b.Bytes()
}

// zipBomb is a zip archive of eight megabytes of nothing.
func zipBomb(tb testing.TB) []byte {
	tb.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	file, err := w.Create("video.mp4")
	check(tb, err)
	_, err = file.Write(make([]byte, 8<<20))
	check(tb, err)
	check(tb, w.Close())
	return b.Bytes()
}

func check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}
