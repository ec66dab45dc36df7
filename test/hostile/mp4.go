package hostile

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
)

// box is an MP4 box: a four-letter kind and its content.
func box(kind string, content ...[]byte) []byte {
	all := slices.Concat(content...)
	return slices.Concat(number(8+len(all)), []byte(kind), all)
}

// full is a box whose content begins with a version and flags, both zero.
func full(kind string, content ...[]byte) []byte {
	return box(kind, append([][]byte{number(0)}, content...)...)
}

// number is n in four bytes, as the fields of MP4 are.
func number(n int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(n)) }

// be is the number in the first four bytes.
func be(b []byte) int { return int(binary.BigEndian.Uint32(b)) }

func numbers(all ...int) []byte {
	var b []byte
	for _, n := range all {
		b = append(b, number(n)...)
	}
	return b
}

// head is the first box of an MP4 file.
func head() []byte { return box("ftyp", []byte("isom\x00\x00\x02\x00isomiso2avc1mp41")) }

// track is a video track whose tables say what they like.
type track struct {
	// codec is the four letters of the sample entry, and setup its boxes.
	codec         string
	setup         []byte
	width, height int
	// timescale is in units a second; each of the samples lasts delta of them.
	timescale, delta, samples int
	// size is that of each sample in bytes; all of them lie at offset.
	size, offset int
}

// unity is the matrix that leaves a picture as it is.
var unity = numbers(0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)

// moov is the index of a file with the tracks.
func moov(tracks ...track) []byte {
	parts := [][]byte{full("mvhd", numbers(0, 0, 1000, 1000, 0x10000, 0x1000000, 0, 0), unity, make([]byte, 24), number(len(tracks)+1))}
	for i, t := range tracks {
		parts = append(parts, t.box(i+1))
	}
	return box("moov", parts...)
}

func (t track) box(id int) []byte {
	entry := box(t.codec, make([]byte, 6), []byte{0, 1}, make([]byte, 16),
		[]byte{byte(t.width >> 8), byte(t.width), byte(t.height >> 8), byte(t.height)},
		numbers(0x480000, 0x480000, 0), []byte{0, 1}, make([]byte, 32), []byte{0, 24, 0xff, 0xff}, t.setup)
	stbl := box("stbl",
		full("stsd", number(1), entry),
		full("stts", numbers(1, t.samples, t.delta)),
		full("stsc", numbers(1, 1, t.samples, 1)),
		full("stsz", numbers(t.size, t.samples)),
		full("stco", numbers(1, t.offset)))
	minf := box("minf", full("vmhd", make([]byte, 8)), box("dinf", full("dref", number(1), box("url ", number(1)))), stbl)
	duration := int(min(int64(t.samples)*int64(t.delta), 0xffffffff))
	mdia := box("mdia", full("mdhd", numbers(0, 0, t.timescale, duration, 0)), full("hdlr", number(0), []byte("vide"), make([]byte, 13)), minf)
	return box("trak", box("tkhd", number(3), numbers(0, 0, id, 0, 1000), make([]byte, 16), unity, numbers(t.width<<16, t.height<<16)), mdia)
}

// span is where a box lies in a file.
type span struct {
	kind       string
	start, end int
}

// containers are the boxes that hold boxes.
var containers = []string{"moov", "trak", "mdia", "minf", "dinf", "stbl", "edts", "udta"}

// boxes returns where the boxes of a sound MP4 file lie, each before those in it.
func boxes(data []byte) []span { return within(data, 0, len(data)) }

func within(data []byte, at, end int) []span {
	var found []span
	for at+8 <= end {
		size := be(data[at:])
		if size < 8 || at+size > end {
			panic(fmt.Sprintf("a box of %d bytes at %d of %d", size, at, end)) // the clip is ours and sound
		}
		kind := string(data[at+4 : at+8])
		found = append(found, span{kind, at, at + size})
		if slices.Contains(containers, kind) {
			found = append(found, within(data, at+8, at+size)...)
		}
		at += size
	}
	return found
}

// part is the first box of the kind in the file, with its head.
func part(data []byte, kind string) []byte {
	for _, b := range boxes(data) {
		if b.kind == kind {
			return data[b.start:b.end]
		}
	}
	panic("no box " + kind) // the clip is ours and has it
}

// patch returns the file with the number at an offset into the first box of the
// kind, head included, set to n.
func patch(data []byte, kind string, offset, n int) []byte {
	patched := bytes.Clone(data)
	copy(part(patched, kind)[offset:], number(n))
	return patched
}
