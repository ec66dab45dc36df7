package harness_test

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"backbeat/test/harness"
)

func TestDatabasesAreFreshAndHoldEmoji(t *testing.T) {
	for _, kind := range harness.Databases() {
		if kind.Name == "sqlite" {
			continue // a new file is fresh by nature
		}
		t.Run(kind.Name, func(t *testing.T) {
			for range 2 { // the second would meet the first one's table
				db := connect(t, kind.Open(t))
				if _, err := db.ExecContext(t.Context(), "CREATE TABLE words (word varchar(10) PRIMARY KEY)"); err != nil {
					t.Fatal(err)
				}
				if _, err := db.ExecContext(t.Context(), "INSERT INTO words VALUES ('用户🎬')"); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func TestDatabaseGoesWithItsTest(t *testing.T) {
	for _, kind := range harness.Databases() {
		if kind.Name == "sqlite" {
			continue
		}
		t.Run(kind.Name, func(t *testing.T) {
			var dsn string
			t.Run("user", func(t *testing.T) { dsn = kind.Open(t) })
			if err := connect(t, dsn).PingContext(t.Context()); err == nil {
				t.Fatal("the database is still there")
			}
		})
	}
}

func TestVirtualHostsAreSeparate(t *testing.T) {
	first, second := dial(t, harness.RabbitMQ(t)), dial(t, harness.RabbitMQ(t))
	if _, err := first.QueueDeclare("words", true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := second.QueueDeclarePassive("words", true, false, false, false, nil); err == nil {
		t.Fatal("one test's queue is seen by another")
	}
}

func TestBucketsAreWritable(t *testing.T) {
	bucket := harness.S3(t)
	response, err := http.Get(bucket.Endpoint + "/" + bucket.Name)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusForbidden {
		t.Fatalf("without keys the bucket answers %s, want 403", response.Status)
	}
}

func TestClips(t *testing.T) {
	cases := []struct {
		name    string
		options harness.ClipOptions
		streams string
	}{
		{"phone", harness.ClipOptions{}, "h264 360x640, aac"},
		{"silent", harness.ClipOptions{Silent: true}, "h264 360x640"},
		{"hevc", harness.ClipOptions{Codec: "hevc"}, "hevc 360x640, aac"},
		{"webm", harness.ClipOptions{Codec: "vp9"}, "vp9 360x640, opus"},
		{"wide", harness.ClipOptions{Width: 640, Height: 360, Seconds: 1}, "h264 640x360, aac"},
		{"black start", harness.ClipOptions{BlackStart: true}, "h264 360x640, aac"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			path := harness.Clip(t, c.options)
			if got := streams(t, path); got != c.streams {
				t.Errorf("the clip holds %s, want %s", got, c.streams)
			}
			if again := harness.Clip(t, c.options); again != path {
				t.Errorf("the clip was made twice: %s, %s", path, again)
			}
		})
	}
}

func TestMoovLastComesAfterTheMedia(t *testing.T) {
	for _, last := range []bool{false, true} {
		file, err := os.ReadFile(harness.Clip(t, harness.ClipOptions{MoovLast: last}))
		if err != nil {
			t.Fatal(err)
		}
		moov, mdat := strings.Index(string(file), "moov"), strings.Index(string(file), "mdat")
		if (moov > mdat) != last {
			t.Errorf("MoovLast %v: moov at %d, mdat at %d", last, moov, mdat)
		}
	}
}

func TestEventuallyWaitsAndGivesUp(t *testing.T) {
	calls := 0
	harness.Eventually(t, 5*time.Second, func() error {
		if calls++; calls < 3 {
			return errors.New("not yet")
		}
		return nil
	}, "third call")
	if calls != 3 {
		t.Errorf("it was called %d times, want 3", calls)
	}
	failing := &recorder{TB: t}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		harness.Eventually(failing, time.Millisecond, func() error { return errors.New("never") }, "the moon")
	}()
	<-ended
	if !strings.Contains(failing.fatal, "the moon") || !strings.Contains(failing.fatal, "never") {
		t.Errorf("it failed with %q, want the moon and never", failing.fatal)
	}
}

// recorder is a test whose failure is looked at.
type recorder struct {
	testing.TB
	fatal string
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.fatal = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func TestLoggerIsSilentAfterItsTest(t *testing.T) {
	logger := harness.Logger(t)
	t.Run("user", func(t *testing.T) { logger = harness.Logger(t) })
	logger.Info("too late") // panics if it reaches the test that has ended
}

func connect(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	db, err := harness.Connect(dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func dial(t *testing.T, url string) *amqp.Channel {
	t.Helper()
	conn, err := amqp.Dial(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
	channel, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	return channel
}

func streams(t *testing.T, path string) string {
	t.Helper()
	out, err := exec.Command("ffprobe", "-v", "error", "-show_streams", "-of", "json", path).Output()
	if err != nil {
		t.Fatal(err)
	}
	var probed struct {
		Streams []struct {
			Codec         string `json:"codec_name"`
			Width, Height int
		}
	}
	if err := json.Unmarshal(out, &probed); err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, s := range probed.Streams {
		if s.Width > 0 {
			s.Codec = fmt.Sprintf("%s %dx%d", s.Codec, s.Width, s.Height)
		}
		found = append(found, s.Codec)
	}
	return strings.Join(found, ", ")
}
