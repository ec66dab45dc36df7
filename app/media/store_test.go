package media_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"backbeat/app/errs"
	"backbeat/app/media"
	"backbeat/test/harness"
)

// TestStores runs one suite on every implementation.
func TestStores(t *testing.T) {
	t.Run("disk", func(t *testing.T) {
		store, err := media.NewDisk(filepath.Join(t.TempDir(), "media"))
		noError(t, err)
		suite(t, store)
	})
	t.Run("S3", func(t *testing.T) {
		store, err := media.NewS3(t.Context(), s3Config(harness.S3(t)))
		noError(t, err)
		suite(t, store)
	})
}

func suite(t *testing.T, store media.Store) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, media.Store)
	}{
		{"what is put is read back", testRoundTrip},
		{"ranges of 30 MB", testRanges},
		{"a file is stored from where it stands", testOffset},
		{"nothing there", testMissing},
		{"a key from user text is refused", testBadKeys},
		{"a broken body stores nothing", testBrokenBody},
		{"a cancelled put stores nothing", testCancelled},
		{"delete", testDelete},
		{"list", testList},
		{"concurrent puts of one key", testConcurrentPuts},
		{"fetch", testFetch},
		{"giving a file", testGive},
		{"copy", testCopy},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, store) })
	}
}

func testRoundTrip(t *testing.T, store media.Store) {
	for _, size := range []int{0, 1, 70_000} {
		for _, ext := range []string{"mp4", "jpg"} {
			key, want := media.NewKey("clip", ext), noise(size)
			put(t, store, key, want)
			object, err := store.Open(t.Context(), key)
			noError(t, err)
			got, err := io.ReadAll(object)
			noError(t, err)
			if !bytes.Equal(got, want) {
				t.Errorf("%d bytes of %s came back as %d others", size, ext, len(got))
			}
			if object.Size() != int64(size) || object.ContentType() != media.ContentType(key) {
				t.Errorf("size %d, type %q", object.Size(), object.ContentType())
			}
			if age := time.Since(object.ModTime()); age < -time.Minute || age > time.Minute {
				t.Errorf("stored %v ago", age)
			}
			noError(t, object.Close())
		}
	}
}

func testRanges(t *testing.T, store media.Store) {
	key, want := media.NewKey("video", "mp4"), noise(30<<20)
	// Through a pipe the store can neither seek nor read again.
	noError(t, store.Put(t.Context(), key, struct{ io.Reader }{bytes.NewReader(want)}, int64(len(want)), "video/mp4"))
	object, err := store.Open(t.Context(), key)
	noError(t, err)
	defer object.Close()
	for _, part := range []struct{ from, length int64 }{
		{0, 10}, {29 << 20, 1 << 20}, {12_345_678, 70_001}, {12_345_000, 1}, {0, 30 << 20}, {30<<20 - 1, 1},
	} {
		if at, err := object.Seek(part.from, io.SeekStart); err != nil || at != part.from {
			t.Fatalf("seek to %d: at %d, %v", part.from, at, err)
		}
		got := make([]byte, part.length)
		if _, err := io.ReadFull(object, got); err != nil {
			t.Fatalf("reading %d bytes from %d: %v", part.length, part.from, err)
		}
		if !bytes.Equal(got, want[part.from:part.from+part.length]) {
			t.Errorf("%d bytes from %d are others", part.length, part.from)
		}
	}
	if end, err := object.Seek(0, io.SeekEnd); err != nil || end != 30<<20 {
		t.Errorf("the end is at %d, %v", end, err)
	}
	if n, err := object.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("behind the end: %d bytes, %v", n, err)
	}
}

func testOffset(t *testing.T, store media.Store) {
	for _, size := range []int{1000, 20 << 20} {
		content := noise(size + 100)
		path := filepath.Join(t.TempDir(), "file")
		noError(t, os.WriteFile(path, content, 0o600))
		file, err := os.Open(path)
		noError(t, err)
		defer file.Close()
		_, err = file.Seek(60, io.SeekStart)
		noError(t, err)
		key := media.NewKey("video", "mp4")
		noError(t, store.Put(t.Context(), key, file, int64(size), "video/mp4"))
		if !bytes.Equal(read(t, store, key), content[60:60+size]) {
			t.Errorf("%d bytes from the middle of a file came back as others", size)
		}
	}
}

func testMissing(t *testing.T, store media.Store) {
	_, err := store.Open(t.Context(), media.NewKey("video", "mp4"))
	hasKind(t, err, errs.NotFound)
}

func testBadKeys(t *testing.T, store media.Store) {
	put(t, store, "video/real.mp4", []byte("real"))
	for _, key := range append(badKeys(), "video/../video/real.mp4", "video//real.mp4", "/video/real.mp4") {
		if err := store.Put(t.Context(), key, strings.NewReader("x"), 1, "video/mp4"); err == nil {
			t.Errorf("stored under %q", key)
		}
		_, err := store.Open(t.Context(), key)
		hasKind(t, err, errs.NotFound)
		noError(t, store.Delete(t.Context(), key))
	}
	if string(read(t, store, "video/real.mp4")) != "real" {
		t.Error("a bad key reached another object")
	}
}

func testBrokenBody(t *testing.T, store media.Store) {
	broken := errors.New("the client is gone")
	for name, body := range map[string]func(size int) io.Reader{
		"ends early":              func(size int) io.Reader { return bytes.NewReader(noise(size - 1)) },
		"ends early, a pipe":      func(size int) io.Reader { return struct{ io.Reader }{bytes.NewReader(noise(size - 1))} },
		"fails in the middle":     func(size int) io.Reader { return io.MultiReader(bytes.NewReader(noise(size/2)), failing{broken}) },
		"fails at the first byte": func(int) io.Reader { return failing{broken} },
	} {
		for _, size := range []int{1000, 20 << 20} {
			key := media.NewKey("video", "mp4")
			if err := store.Put(t.Context(), key, body(size), int64(size), "video/mp4"); err == nil {
				t.Errorf("%s: %d bytes were stored", name, size)
			}
			_, err := store.Open(t.Context(), key)
			hasKind(t, err, errs.NotFound)
		}
	}
}

func testCancelled(t *testing.T, store media.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	key := media.NewKey("video", "mp4")
	body := io.MultiReader(bytes.NewReader(noise(1<<20)), calling(cancel), bytes.NewReader(noise(1<<20)))
	hasKind(t, store.Put(ctx, key, body, 2<<20, "video/mp4"), errs.Unavailable)
	_, err := store.Open(t.Context(), key)
	hasKind(t, err, errs.NotFound)
}

func testDelete(t *testing.T, store media.Store) {
	gone1, gone2, stays := media.NewKey("video", "mp4"), media.NewKey("cover", "jpg"), media.NewKey("cover", "jpg")
	for _, key := range []string{gone1, gone2, stays} {
		put(t, store, key, []byte("x"))
	}
	for range 2 { // the second time they are missing
		noError(t, store.Delete(t.Context(), gone1, media.NewKey("video", "mp4"), gone2))
	}
	for _, key := range []string{gone1, gone2} {
		_, err := store.Open(t.Context(), key)
		hasKind(t, err, errs.NotFound)
	}
	read(t, store, stays)
	noError(t, store.Delete(t.Context()))
}

func testList(t *testing.T, store media.Store) {
	want := map[string]int64{}
	for i := range 5 {
		key := media.NewKey([]string{"video", "cover"}[i%2], "mp4")
		put(t, store, key, noise(i))
		want[key] = int64(i)
	}
	seen := map[string]int64{}
	for info, err := range store.List(t.Context()) {
		noError(t, err)
		if _, own := want[info.Key]; own { // other tests' objects are there too
			seen[info.Key] = info.Size
		}
		if age := time.Since(info.ModTime); age < -time.Minute || age > 10*time.Minute {
			t.Errorf("%s was stored %v ago", info.Key, age)
		}
	}
	if !maps.Equal(seen, want) {
		t.Errorf("listed %v, want %v", seen, want)
	}
	for range store.List(t.Context()) { // who has seen enough may leave
		break
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	var last error
	for _, err := range store.List(ended) {
		last = err
	}
	if last == nil {
		t.Error("a list that was called off ends as if it were complete")
	}
}

// testConcurrentPuts checks that a reader sees one writer's bytes, all of them.
func testConcurrentPuts(t *testing.T, store media.Store) {
	key := media.NewKey("video", "mp4")
	body := func(writer int) []byte { return bytes.Repeat([]byte{byte(writer)}, 100_000+writer) }
	put(t, store, key, body(0))
	var writers, readers sync.WaitGroup
	done := make(chan struct{})
	for writer := range 8 {
		writers.Go(func() {
			for range 5 {
				if err := store.Put(t.Context(), key, bytes.NewReader(body(writer)), int64(len(body(writer))), "video/mp4"); err != nil {
					t.Errorf("writer %d: %v", writer, err)
				}
				own := media.NewKey("video", "mp4")
				put(t, store, own, body(writer))
				if !bytes.Equal(read(t, store, own), body(writer)) {
					t.Errorf("writer %d reads others' bytes", writer)
				}
			}
		})
	}
	readers.Go(func() {
		for {
			if err := isOneBody(t.Context(), store, key, body); err != nil {
				t.Error(err)
			}
			select {
			case <-done:
				return
			default:
			}
		}
	})
	writers.Wait()
	close(done)
	readers.Wait()
}

func isOneBody(ctx context.Context, store media.Store, key string, body func(int) []byte) error {
	object, err := store.Open(ctx, key)
	if err != nil {
		return fmt.Errorf("while it is replaced: %w", err)
	}
	defer object.Close()
	got, err := io.ReadAll(object)
	// S3 may replace the object between its head and its body. The reader is told,
	// so it sees no mixture.
	if errs.Is(err, errs.Unavailable) {
		return nil
	}
	if err != nil {
		return err
	}
	if len(got) == 0 || !bytes.Equal(got, body(int(got[0]))) {
		return fmt.Errorf("a mixture of %d bytes", len(got))
	}
	return nil
}

func testFetch(t *testing.T, store media.Store) {
	key, want := media.NewKey("video", "mp4"), noise(3<<20)
	put(t, store, key, want)
	path := filepath.Join(t.TempDir(), "local.mp4")
	noError(t, media.Fetch(t.Context(), store, key, path))
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
		t.Errorf("fetched %d bytes, %v", len(got), err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("who else may read it: %v, %v", info.Mode(), err)
	}
	if err := media.Fetch(t.Context(), store, key, path); err == nil {
		t.Error("a fetch overwrote a file")
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
		t.Errorf("a refused fetch changed the file: %d bytes, %v", len(got), err)
	}
	missing := filepath.Join(t.TempDir(), "missing.mp4")
	hasKind(t, media.Fetch(t.Context(), store, media.NewKey("video", "mp4"), missing), errs.NotFound)
	if _, err := os.Stat(missing); !os.IsNotExist(err) {
		t.Errorf("a failed fetch left a file: %v", err)
	}
}

func testGive(t *testing.T, store media.Store) {
	want := noise(3 << 20)
	written := func(dir string) *os.File {
		file, err := media.NewUnnamed(dir)
		noError(t, err)
		t.Cleanup(func() { file.Close() })
		_, err = file.Write(want)
		noError(t, err)
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("it has a name: %v, %v", left, err)
		}
		return file
	}
	stored := func(key string) {
		t.Helper()
		if got := read(t, store, key); !bytes.Equal(got, want) {
			t.Errorf("what was given came back as %d bytes", len(got))
		}
	}
	size := int64(len(want))
	dir := t.TempDir()
	key := media.NewKey("video", "mp4")
	file := written(dir)
	noError(t, media.Give(t.Context(), store, key, file, size, "video/mp4"))
	noError(t, file.Close())
	stored(key)

	put(t, store, key, noise(10))
	noError(t, media.Give(t.Context(), store, key, written(dir), size, "video/mp4")) // in place of another
	stored(key)

	if elsewhere, err := os.MkdirTemp("/dev/shm", "media-*"); err == nil { // another file system, on Linux
		t.Cleanup(func() { os.RemoveAll(elsewhere) })
		key = media.NewKey("video", "mp4")
		noError(t, media.Give(t.Context(), store, key, written(elsewhere), size, "video/mp4"))
		stored(key)
	}

	named, err := os.CreateTemp(dir, "named")
	noError(t, err)
	_, err = named.Write(want)
	noError(t, err)
	noError(t, os.Remove(named.Name()))
	key = media.NewKey("video", "mp4")
	noError(t, media.Give(t.Context(), store, key, named, size, "video/mp4"))
	noError(t, named.Close())
	stored(key)

	left, cancel := context.WithCancel(t.Context())
	cancel()
	for name, fault := range map[string]error{
		"of fewer bytes": media.Give(t.Context(), store, media.NewKey("video", "mp4"), written(dir), size+1, "video/mp4"),
		"to no key":      media.Give(t.Context(), store, "../video.mp4", written(dir), size, "video/mp4"),
		"too late":       media.Give(left, store, media.NewKey("video", "mp4"), written(dir), size, "video/mp4"),
	} {
		if fault == nil {
			t.Errorf("a file %s was taken", name)
		}
	}
}

func testCopy(t *testing.T, store media.Store) {
	from, to := media.NewKey("play", "mp4"), media.NewKey("play", "mp4")
	hasKind(t, media.Copy(t.Context(), store, from, to), errs.NotFound)
	body := noise(20 << 20) // in several parts
	put(t, store, from, body)
	noError(t, media.Copy(t.Context(), store, from, to))
	noError(t, store.Delete(t.Context(), from))
	if !bytes.Equal(read(t, store, to), body) {
		t.Error("the copy is not what was copied")
	}
}

// failing is a body that fails.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// calling is an empty body that calls a function when it is reached.
type calling func()

func (c calling) Read([]byte) (int, error) { c(); return 0, io.EOF }

// noise returns n bytes that are the same in every run and in no two places.
func noise(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(n)}).Read(b)
	return b
}

func put(t *testing.T, store media.Store, key string, body []byte) {
	t.Helper()
	if err := store.Put(t.Context(), key, bytes.NewReader(body), int64(len(body)), media.ContentType(key)); err != nil {
		t.Errorf("putting %s: %v", key, err)
	}
}

func read(t *testing.T, store media.Store, key string) []byte {
	t.Helper()
	object, err := store.Open(t.Context(), key)
	if err != nil {
		t.Errorf("opening %s: %v", key, err)
		return nil
	}
	defer object.Close()
	got, err := io.ReadAll(object)
	if err != nil {
		t.Errorf("reading %s: %v", key, err)
	}
	return got
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func hasKind(t *testing.T, err error, want errs.Kind) {
	t.Helper()
	if !errs.Is(err, want) {
		t.Errorf("got %v, want an error of kind %v", err, want)
	}
}
