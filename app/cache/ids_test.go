package cache

import (
	"math"
	"slices"
	"testing"
)

func TestIDsAreTheSameForTheSameIDs(t *testing.T) {
	keys := map[IDs][]int64{}
	for _, ids := range [][]int64{{}, {0}, {1}, {256}, {1, 2}, {2, 1}, {1, 2, 0}, {math.MaxInt64, -1}} {
		key := PackIDs(ids)
		if other, taken := keys[key]; taken {
			t.Errorf("%v and %v have one key", ids, other)
		}
		keys[key] = ids
		if got := key.Unpack(); !slices.Equal(got, ids) {
			t.Errorf("%v came back as %v", ids, got)
		}
	}
}
