package security

import (
	"cmp"
	"math"
	"slices"
	"testing"
	"time"

	"backbeat/test/harness"
)

// How long a login takes does not tell whether the name exists. The two kinds take
// turns, so that whatever else this machine does falls on both alike; the noise of
// the difference is measured in the same run and allowed for.
//
// It runs before the tests that run together.
func TestLoginTiming(t *testing.T) {
	const names, tries = 40, 10
	const promised = 2 * time.Millisecond
	// enough is for a machine that does much else: fewer tries are more noise.
	const enough = 25 * time.Second
	took := func(name string) time.Duration {
		begun := time.Now()
		answer := shared.Post(t, "/douyin/user/login/", "username", name, "password", "wrong")
		spent := time.Since(begun)
		equal(t, "status_msg", answer.StatusMsg, "用户名或密码错误")
		return spent
	}
	var known, unknown []harness.Account
	for range names {
		known = append(known, shared.Register(t))
		unknown = append(unknown, harness.Account{Name: "u" + unique()})
	}
	var wrong, absent, pairs []time.Duration
	begun := time.Now()
	for try := range tries {
		for i := range names {
			if try > 0 && time.Since(begun) > enough {
				break
			}
			var one, other time.Duration
			if (try+i)%2 == 0 {
				one, other = took(known[i].Name), took(unknown[i].Name)
			} else {
				other, one = took(unknown[i].Name), took(known[i].Name)
			}
			wrong, absent, pairs = append(wrong, one), append(absent, other), append(pairs, one-other)
		}
	}
	between := median(wrong) - median(absent)
	// The standard error of a median is 1.25 σ/√n, and σ is 1.48 times the median
	// distance from it; three of them are all but certain.
	middle := median(pairs)
	var distances []time.Duration
	for _, d := range pairs {
		distances = append(distances, (d - middle).Abs())
	}
	noise := time.Duration(3 * 1.25 * 1.48 * float64(median(distances)) / math.Sqrt(float64(len(pairs))))
	t.Logf("%d pairs of logins: login of a wrong password %v, of an unknown name %v: medians differ by %v, noise %v", len(pairs), median(wrong), median(absent), between, noise)
	if between.Abs() > promised+noise {
		t.Errorf("the medians differ by %v, promised are %v and the noise is %v", between, promised, noise)
	}
}

func median[T cmp.Ordered](values []T) T {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}
