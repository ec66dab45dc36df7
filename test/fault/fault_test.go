package main

import (
	"testing"

	// The program that these tests run is built of this: without it go test would show,
	// from its cache, how they went with another one.
	_ "backbeat/app/command"
	"backbeat/test/harness"
)

// TestPromises runs a short form of every case: loads of a few requests a second
// for seconds, faults to match, ledgers and verdicts but no latency.
func TestPromises(t *testing.T) {
	program, err := harness.FaultProgram()
	if err != nil {
		t.Fatal(err)
	}
	// This machine runs two dozen processes under -race: what is tested here is
	// what is answered, not how soon.
	env := []string{"BACKBEAT_RPC_READ_BUDGET=3s", "BACKBEAT_RPC_WRITE_BUDGET=5s"}
	clip := harness.Clip(t, harness.ClipOptions{Seconds: 1, Silent: true, Width: 64, Height: 64})
	records := proveEach(t.Context(), nil, scale{load: 0.1, time: 0.06, patient: true}, func() (*world, error) {
		return newWorld(t.Context(), program, clip, env, size{users: 20, videos: 5})
	})
	for _, r := range records {
		t.Run(r.Case, func(t *testing.T) {
			if !r.Passed {
				t.Error(&r)
			}
		})
	}
}

func TestLedgerSeesWhatIsWrong(t *testing.T) {
	like := fact{kind: "like", user: 1, target: 2}
	type answer struct{ want, acknowledged bool }
	for _, c := range []struct {
		name    string
		answers []answer
		shown   int
		wrong   bool
	}{
		{"there", []answer{{true, true}}, 1, false},
		{"lost", []answer{{true, true}}, 0, true},
		{"twice", []answer{{true, true}}, 2, true},
		{"taken back", []answer{{true, true}, {false, true}}, 0, false},
		{"revived", []answer{{true, true}, {false, true}}, 1, true},
		{"refused, took effect", []answer{{true, false}}, 1, false},
		{"refused, took none", []answer{{true, false}}, 0, false},
		{"refused, took effect twice", []answer{{true, false}}, 2, true},
		{"settled by the next answer", []answer{{true, false}, {true, true}}, 0, true},
		{"never asked for", nil, 1, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLedger()
			for _, a := range c.answers {
				l.begin(like)
				l.end(like, a.want, a.acknowledged)
			}
			shown := map[fact]int{}
			if c.shown > 0 {
				shown[like] = c.shown
			}
			if wrong := l.compare("", shown); (len(wrong) > 0) != c.wrong {
				t.Errorf("it says %q", wrong)
			}
		})
	}
}
