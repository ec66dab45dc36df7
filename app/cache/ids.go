package cache

import "encoding/binary"

// IDs are ids in an order, as a part of a key.
type IDs string

// PackIDs returns ids as a part of a key: the same for the same ids in the same
// order.
func PackIDs(ids []int64) IDs {
	packed := make([]byte, 0, 8*len(ids))
	for _, id := range ids {
		packed = binary.LittleEndian.AppendUint64(packed, uint64(id))
	}
	return IDs(packed)
}

// Unpack returns the ids.
func (packed IDs) Unpack() []int64 {
	ids := make([]int64, 0, len(packed)/8)
	for ; len(packed) > 0; packed = packed[8:] {
		ids = append(ids, int64(binary.LittleEndian.Uint64([]byte(packed[:8]))))
	}
	return ids
}
