package media_test

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"backbeat/app/errs"
	"backbeat/app/media"
	"backbeat/test/harness"
)

func s3Config(b harness.Bucket) media.S3Config {
	return media.S3Config{
		Endpoint: strings.TrimPrefix(b.Endpoint, "http://"), Bucket: b.Name, Region: "us-east-1",
		AccessKey: b.AccessKey, SecretKey: b.SecretKey,
	}
}

func TestS3WaitsForTheServiceAndMakesTheBucket(t *testing.T) {
	bucket := harness.S3(t)
	cfg := s3Config(bucket)
	cfg.Bucket = "new"
	noError(t, bucket.Server.Stop())

	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := media.NewS3(ctx, cfg)
	hasKind(t, err, errs.Unavailable)

	type result struct {
		store *media.S3
		err   error
	}
	opened := make(chan result, 2)
	for range cap(opened) { // two at once race for the bucket
		go func() {
			store, err := media.NewS3(t.Context(), cfg)
			opened <- result{store, err}
		}()
	}
	noError(t, bucket.Server.Start(t.Context()))
	for range cap(opened) {
		r := <-opened
		noError(t, r.err)
		put(t, r.store, "video/a.mp4", []byte("works"))
	}
}

func TestS3RefusesAtOnceWhatWaitingCannotMend(t *testing.T) {
	cfg := s3Config(harness.S3(t))
	cfg.SecretKey = "wrong"
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := media.NewS3(ctx, cfg); err == nil || ctx.Err() != nil {
		t.Errorf("with a wrong key: %v (context: %v)", err, ctx.Err())
	}
}

func TestS3TellsWhatCutAReadShort(t *testing.T) {
	bucket := harness.S3(t)
	store, err := media.NewS3(t.Context(), s3Config(bucket))
	noError(t, err)
	put(t, store, "video/a.mp4", noise(30<<20))
	object, err := store.Open(t.Context(), "video/a.mp4")
	noError(t, err)
	_, err = io.CopyN(io.Discard, object, 1<<20)
	noError(t, err)
	noError(t, bucket.Server.Kill())
	_, err = io.Copy(io.Discard, object)
	hasKind(t, err, errs.Unavailable)
	hasKind(t, object.Close(), errs.Unavailable)

	_, err = store.Open(t.Context(), "video/a.mp4")
	hasKind(t, err, errs.Unavailable)
	hasKind(t, store.Put(t.Context(), "video/b.mp4", strings.NewReader("x"), 1, "video/mp4"), errs.Unavailable)
	hasKind(t, store.Delete(t.Context(), "video/a.mp4"), errs.Unavailable)
}

func TestS3LeavesNoGoroutineBehindAFailedPut(t *testing.T) {
	store, err := media.NewS3(t.Context(), s3Config(harness.S3(t)))
	noError(t, err)
	ignored := append(harness.LeakOptions(), goleak.IgnoreCurrent(),
		goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
	short := bytes.NewReader(noise(40 << 20))
	if err := store.Put(context.Background(), "video/a.mp4", short, 100<<20, "video/mp4"); err == nil {
		t.Fatal("a short body was stored")
	}
	if err := goleak.Find(ignored...); err != nil {
		t.Error(err)
	}
}
