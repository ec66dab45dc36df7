package media

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"path"
	"strings"
)

// maxKey bounds a key in bytes; columns that hold keys are at least as wide.
const maxKey = 128

// contentTypes are the kinds of file we store, by extension.
var contentTypes = map[string]string{
	"mp4":  "video/mp4",
	"mov":  "video/quicktime",
	"webm": "video/webm",
	"mkv":  "video/x-matroska",
	"jpg":  "image/jpeg",
	"png":  "image/png",
}

// NewKey returns a key nobody can guess, such as video/3f/3fc9….mp4; kind and ext
// are lower-case words of ours. The middle part keeps folders small.
func NewKey(kind, ext string) string {
	var random [16]byte
	rand.Read(random[:]) // never fails: it would rather end the process
	name := hex.EncodeToString(random[:])
	return kind + "/" + name[:2] + "/" + name + "." + ext
}

// ValidKey reports whether key may name an object: parts of lower-case letters,
// digits, '-' and '_' joined by single slashes, the last one with an extension.
// Nothing else passes, so no key is absolute, climbs or is hidden.
func ValidKey(key string) bool {
	if len(key) > maxKey {
		return false
	}
	folder, name := path.Split(key)
	for part := range strings.SplitSeq(strings.TrimSuffix(folder, "/"), "/") {
		if !isWord(part) && folder != "" {
			return false
		}
	}
	stem, ext, found := strings.Cut(name, ".")
	return found && isWord(stem) && isWord(ext)
}

func isWord(s string) bool {
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return s != ""
}

// ContentType returns the type to serve key as, told by its extension alone, so
// that no stored bytes are ever served as something a browser would run.
func ContentType(key string) string {
	if known, ok := contentTypes[strings.TrimPrefix(path.Ext(key), ".")]; ok {
		return known
	}
	return "application/octet-stream"
}

// SniffLen is how many first bytes Sniff wants; fewer are enough if the file has
// no more.
const SniffLen = 512

// maxFileType bounds the first box of an MP4 file in bytes; real ones have tens.
const maxFileType = 4096

// brands are the major brands, or their beginnings, of MP4-like files that hold
// video. Still pictures (heic, avif) and sound (M4A) share the container and are
// left out.
var brands = []string{"iso", "mp4", "avc1", "M4V", "qt  ", "3gp", "3g2", "dash", "MSNV", "mmp4", "f4v ", "F4V ", "XAVC", "hvc1", "mqt "}

// Sniff recognises a video container by its first bytes: MP4 and QuickTime by
// their ftyp box, Matroska and WebM by their EBML header. It is a first look:
// whether the file plays is for the worker to find out.
func Sniff(head []byte) (ext, contentType string, ok bool) {
	ext = sniffMP4(head)
	if ext == "" {
		ext = sniffMatroska(head)
	}
	return ext, contentTypes[ext], ext != ""
}

func sniffMP4(head []byte) string {
	if len(head) < 16 || string(head[4:8]) != "ftyp" {
		return ""
	}
	// The box holds its size, its name, a brand, a version and further brands.
	size := binary.BigEndian.Uint32(head)
	if size < 16 || size > maxFileType || size%4 != 0 {
		return ""
	}
	brand := string(head[8:12])
	for _, known := range brands {
		if strings.HasPrefix(brand, known) {
			if known == "qt  " {
				return "mov"
			}
			return "mp4"
		}
	}
	return ""
}

func sniffMatroska(head []byte) string {
	if !bytes.HasPrefix(head, []byte{0x1a, 0x45, 0xdf, 0xa3}) {
		return ""
	}
	for docType, ext := range map[string]string{"webm": "webm", "matroska": "mkv"} {
		// The element DocType: its id, its length as a one-byte vint, its text.
		element := append([]byte{0x42, 0x82, 0x80 | byte(len(docType))}, docType...)
		if bytes.Contains(head[:min(len(head), 128)], element) {
			return ext
		}
	}
	return ""
}
