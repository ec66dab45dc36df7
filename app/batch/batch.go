// Package batch bounds how many things one RPC carries: services check it,
// the gateway splits by it (API D7).
package batch

import (
	"slices"

	"backbeat/app/errs"
)

// Max is how many ids one batch RPC carries at most.
const Max = 500

// MaxViewers is for how many viewers one RPC asks at most.
const MaxViewers = 100

// MaxLists is how many lists of up to a thousand ids one RPC carries at most.
const MaxLists = 16

// CheckViewers returns an Invalid error for more than MaxViewers.
func CheckViewers(n int) error {
	if n > MaxViewers {
		return errs.New(errs.Invalid, "一次查询的数量过多")
	}
	return nil
}

// Check returns an Invalid error for more than Max ids, or for an id that is not
// positive.
func Check(ids []int64) error {
	if len(ids) > Max {
		return errs.New(errs.Invalid, "一次查询的数量过多")
	}
	for _, id := range ids {
		if id <= 0 {
			return errs.New(errs.Invalid, "编号无效")
		}
	}
	return nil
}

// Limit returns how long a list may be when asked is what the caller wants and
// most the bound: most unless asked lies between 1 and most.
func Limit(asked int32, most int) int {
	if asked <= 0 || int(asked) > most {
		return most
	}
	return int(asked)
}

// Split cuts ids into parts of at most Max, in order. The parts share the memory
// of ids.
func Split(ids []int64) [][]int64 { return slices.Collect(slices.Chunk(ids, Max)) }

// Padded repeats the last key up to a power of two, so that lists of all lengths
// share a few prepared statements.
func Padded[K any](keys []K) []K {
	size := 1
	for size < len(keys) {
		size *= 2
	}
	if size == len(keys) || len(keys) == 0 {
		return keys
	}
	return slices.Concat(keys, slices.Repeat(keys[len(keys)-1:], size-len(keys)))
}
