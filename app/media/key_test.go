package media_test

import (
	"os"
	"strings"
	"testing"

	"backbeat/app/media"
	"backbeat/test/harness"
)

func badKeys() []string {
	return []string{
		"", ".", "..", "/", "a", "a/", "/a.mp4", "../a.mp4", "video/../../a.mp4", "video/./a.mp4", "video//a.mp4",
		`video\a.mp4`, "video/.hidden", ".incoming/a.mp4", "video/a", "video/a.", "video/.mp4", "video/a.b.mp4", "Video/a.mp4",
		"video/a b.mp4", "video/视频.mp4", "video/a.mp4\x00", "video/a.mp4\n", "video/%2e%2e/a.mp4", "video/a.mp4?x", "video/a.mp4/",
		"video/" + strings.Repeat("a", 128) + ".mp4",
	}
}

func TestKeys(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		key := media.NewKey("video", "mp4")
		if !media.ValidKey(key) || seen[key] {
			t.Fatalf("made %q, seen before: %v", key, seen[key])
		}
		if !strings.HasPrefix(key, "video/"+key[len("video/xx/"):][:2]+"/") || !strings.HasSuffix(key, ".mp4") {
			t.Fatalf("made %q", key)
		}
		seen[key] = true
	}
	for _, key := range []string{"a.mp4", "video/a.mp4", "video/3f/a_b-9.webm"} {
		if !media.ValidKey(key) {
			t.Errorf("%q is refused", key)
		}
	}
	for _, key := range badKeys() {
		if media.ValidKey(key) {
			t.Errorf("%q is accepted", key)
		}
	}
}

func TestContentTypes(t *testing.T) {
	for key, want := range map[string]string{
		"video/a.mp4": "video/mp4", "video/a.webm": "video/webm", "cover/a.jpg": "image/jpeg",
		"video/a.html": "application/octet-stream", "video/a.svg": "application/octet-stream", "a": "application/octet-stream",
	} {
		if got := media.ContentType(key); got != want {
			t.Errorf("%s is served as %s, want %s", key, got, want)
		}
	}
}

func TestSniff(t *testing.T) {
	ftyp := func(brand string) string { return "\x00\x00\x00\x18ftyp" + brand + "\x00\x00\x02\x00isommp42" }
	for _, test := range []struct{ name, head, ext string }{
		{"mp4", ftyp("isom"), "mp4"},
		{"mp42", ftyp("mp42"), "mp4"},
		{"3gp", ftyp("3gp4"), "mp4"},
		{"iTunes", ftyp("M4V "), "mp4"},
		{"QuickTime", ftyp("qt  "), "mov"},
		{"WebM", "\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\x82\x84webm\x42\x87\x81\x04", "webm"},
		{"Matroska", "\x1a\x45\xdf\xa3\xa3\x42\x86\x81\x01\x42\x82\x88matroska\x42\x87\x81\x04", "mkv"},
		{"empty", "", ""},
		{"too short", ftyp("isom")[:12], ""},
		{"HEIC picture", ftyp("heic"), ""},
		{"AVIF picture", ftyp("avif"), ""},
		{"M4A sound", ftyp("M4A "), ""},
		{"unknown brand", ftyp("<svg"), ""},
		{"box size zero", "\x00\x00\x00\x00" + ftyp("isom")[4:], ""},
		{"box size of ASCII", "<htmftypisom\x00\x00\x02\x00isommp42", ""},
		{"box size not of whole brands", "\x00\x00\x00\x19" + ftyp("isom")[4:], ""},
		{"other EBML", "\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\x82\x84evil", ""},
		{"bare EBML magic", "\x1a\x45\xdf\xa3", ""},
		{"doc type far behind", "\x1a\x45\xdf\xa3" + strings.Repeat("\x00", 300) + "\x42\x82\x84webm", ""},
		{"HTML", "<!DOCTYPE html><script>alert(1)</script>", ""},
		{"SVG", `<svg xmlns="http://www.w3.org/2000/svg"><script/></svg>`, ""},
		{"HLS playlist", "#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", ""},
		{"concat script", "ffconcat version 1.0\nfile /etc/passwd\n", ""},
		{"zip", "PK\x03\x04\x14\x00\x00\x00\x08\x00ftypisom", ""},
		{"AVI", "RIFF\x00\x00\x00\x00AVI LIST", ""},
		{"MP3", "ID3\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", ""},
		{"PNG", "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			ext, contentType, ok := media.Sniff([]byte(test.head))
			if ext != test.ext || ok != (test.ext != "") {
				t.Fatalf("seen as %q, %v, want %q", ext, ok, test.ext)
			}
			if ok && contentType != media.ContentType("a."+ext) {
				t.Errorf("%s has type %s", ext, contentType)
			}
		})
	}
}

func TestSniffRealFiles(t *testing.T) {
	for ext, options := range map[string]harness.ClipOptions{"mp4": {Seconds: 1}, "webm": {Codec: "vp9", Seconds: 1}} {
		content, err := os.ReadFile(harness.Clip(t, options))
		noError(t, err)
		if got, _, _ := media.Sniff(content[:media.SniffLen]); got != ext {
			t.Errorf("a real %s is seen as %q", ext, got)
		}
	}
}

func FuzzValidKey(f *testing.F) {
	for _, key := range append(badKeys(), media.NewKey("video", "mp4")) {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		if media.ValidKey(key) && (strings.Contains(key, "..") || strings.HasPrefix(key, "/") || strings.ContainsAny(key, "\\\x00% ")) {
			t.Errorf("%q is accepted", key)
		}
	})
}
