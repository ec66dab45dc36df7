package batch_test

import (
	"slices"
	"testing"

	"backbeat/app/batch"
	"backbeat/app/errs"
)

// numbers returns 1 to n.
func numbers(n int) []int64 {
	ids := make([]int64, n)
	for i := range ids {
		ids[i] = int64(i + 1)
	}
	return ids
}

func TestCheck(t *testing.T) {
	tests := map[string]struct {
		ids     []int64
		invalid bool
	}{
		"none":         {nil, false},
		"one":          {numbers(1), false},
		"as many":      {numbers(batch.Max), false},
		"one too many": {numbers(batch.Max + 1), true},
		"zero":         {[]int64{1, 0}, true},
		"negative":     {[]int64{-1}, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := batch.Check(tt.ids)
			if errs.Is(err, errs.Invalid) != tt.invalid || (err != nil) != tt.invalid {
				t.Errorf("Check returned %v, want invalid: %t", err, tt.invalid)
			}
		})
	}
}

func TestLimit(t *testing.T) {
	tests := map[string]struct {
		asked int32
		want  int
	}{
		"unsaid": {0, 30}, "negative": {-1, 30}, "fewer": {1, 1}, "all": {30, 30}, "more": {31, 30},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := batch.Limit(tt.asked, 30); got != tt.want {
				t.Errorf("Limit(%d, 30) is %d, want %d", tt.asked, got, tt.want)
			}
		})
	}
}

func TestSplitKeepsEveryIDInOrder(t *testing.T) {
	for _, n := range []int{0, 1, batch.Max - 1, batch.Max, batch.Max + 1, 3 * batch.Max} {
		ids := numbers(n)
		parts := batch.Split(ids)
		for _, part := range parts {
			if len(part) == 0 || len(part) > batch.Max {
				t.Errorf("%d ids: a part has %d", n, len(part))
			}
		}
		if joined := slices.Concat(parts...); !slices.Equal(joined, ids) {
			t.Errorf("%d ids: the parts do not add up to them", n)
		}
	}
}
