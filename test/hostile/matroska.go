package hostile

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// element is an EBML element with a size of eight bytes.
func element(id uint32, content ...[]byte) []byte {
	all := slices.Concat(content...)
	name := binary.BigEndian.AppendUint32(nil, id)[bits.LeadingZeros32(id)/8:]
	return slices.Concat(name, binary.BigEndian.AppendUint64(nil, 1<<56|uint64(len(all))), all)
}

// short is the content of an element that holds a number below 65,536.
func short(n int) []byte { return []byte{byte(n >> 8), byte(n)} }

// matroska is a file with one H.264 track of 64×64 whose only block, and whose
// setup, are compressed by zlib.
func matroska(setup, block []byte) []byte {
	compressed := element(0x6d80, element(0x6240, // ContentEncodings, ContentEncoding
		element(0x5032, short(3)),                   // both blocks and setup
		element(0x5034, element(0x4254, short(0))))) // zlib
	track := element(0xae, element(0xd7, short(1)), element(0x73c5, short(1)), element(0x83, short(1)),
		element(0x86, []byte("V_MPEG4/ISO/AVC")), element(0x63a2, setup),
		element(0xe0, element(0xb0, short(64)), element(0xba, short(64))), compressed)
	return slices.Concat(
		// The head is what media.Sniff knows: a DocType with a size of one byte.
		element(0x1a45dfa3, []byte("\x42\x82\x88matroska")),
		element(0x18538067, // Segment
			element(0x1549a966, element(0x2ad7b1, []byte{0x0f, 0x42, 0x40})), // Info: milliseconds
			element(0x1654ae6b, track),
			element(0x1f43b675, element(0xe7, short(0)), element(0xa3, []byte{0x81, 0, 0, 0x80}, block))))
}
