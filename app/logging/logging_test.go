package logging

import (
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"backbeat/config"
	"backbeat/test/harness"
)

func TestFormatAndLevel(t *testing.T) {
	for _, row := range []struct {
		name string
		cfg  config.Log
		want string
	}{
		{"JSON where nobody sits", config.Log{Level: "info"}, `{"time":`},
		{"text where it is asked for", config.Log{Level: "info", Format: "text"}, "time="},
		{"a level that is none", config.Log{Level: "loud", Format: "json"}, `{"time":`},
		{"not below the level", config.Log{Level: "error"}, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			var written harness.Buffer
			log, _ := New(row.cfg, &written)
			log.Warn("careful", "a", 1)
			if got := written.String(); !strings.HasPrefix(got, row.want) || (got == "") != (row.want == "") {
				t.Errorf("wrote %q", got)
			}
		})
	}
}

func TestTheLevelCanChange(t *testing.T) {
	var written harness.Buffer
	log, level := New(config.Log{Level: "info"}, &written)
	log = log.With("role", "user") // made before the change
	log.Debug("one")
	level.Set(slog.LevelDebug)
	log.Debug("two")
	level.Set(slog.LevelWarn)
	log.Info("three")
	if got := written.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, `"msg":"two"`) {
		t.Errorf("wrote %s", got)
	}
}

// count returns how many lines of each message there are, and what the lines that
// stand for others say.
func count(t *testing.T, written string) (lines map[string]int, left map[string]int) {
	t.Helper()
	lines, left = map[string]int{}, map[string]int{}
	for line := range strings.Lines(written) {
		var got struct {
			Msg, Like string
			Lines     int
		}
		if err := json.Unmarshal([]byte(line), &got); err != nil {
			t.Fatal(err)
		}
		lines[got.Msg]++
		left[got.Like] += got.Lines
	}
	return lines, left
}

func TestAFloodIsThinnedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var written harness.Buffer
		log, _ := New(config.Log{Level: "debug"}, &written)
		for range 2 { // a second each
			var writers sync.WaitGroup
			for i := range 4 {
				mine := log.With("writer", i).WithGroup("of")
				writers.Go(func() {
					for range 250 {
						mine.Error("database away", "n", i)
						mine.Debug("detail")
					}
				})
			}
			writers.Wait()
			log.Warn("database away") // another level, another kind
			log.Error("disk full")
			time.Sleep(1100 * time.Millisecond)
			synctest.Wait()
		}
		lines, left := count(t, written.String())
		for message, want := range map[string]int{"database away": 2 * (mostInASecond + 1), "disk full": 2, "detail": 2000, "lines left out": 2} {
			if lines[message] != want {
				t.Errorf("%q was written %d times, want %d", message, lines[message], want)
			}
		}
		if left["database away"] != 2*(1000-mostInASecond) {
			t.Errorf("%d lines are said to be left out", left["database away"])
		}
	})
}
