package media_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"backbeat/app/errs"
	"backbeat/app/media"
)

func TestDiskLeavesNoUnfinishedFiles(t *testing.T) {
	dir := t.TempDir()
	store, err := media.NewDisk(dir)
	noError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	if err := store.Put(ctx, media.NewKey("video", "mp4"), io.MultiReader(calling(cancel), failing{io.ErrClosedPipe}), 10, "video/mp4"); err == nil {
		t.Fatal("a broken body was stored")
	}
	if err := store.Put(t.Context(), media.NewKey("video", "mp4"), strings.NewReader("short"), 10, "video/mp4"); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a short body: %v", err)
	}
	// A folder in the key's place makes the last step fail.
	noError(t, os.MkdirAll(filepath.Join(dir, "video/taken.mp4"), 0o750))
	if err := store.Put(t.Context(), "video/taken.mp4", failing{io.EOF}, 0, "video/mp4"); err == nil {
		t.Fatal("an object replaced a folder")
	}
	if left := files(t, dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestDiskSweepsWhatACrashLeft(t *testing.T) {
	dir := t.TempDir()
	old, young := filepath.Join(dir, ".incoming/old"), filepath.Join(dir, ".incoming/young")
	noError(t, os.MkdirAll(filepath.Dir(old), 0o750))
	for _, name := range []string{old, young} {
		noError(t, os.WriteFile(name, []byte("half a vid"), 0o600))
	}
	longAgo := time.Now().Add(-25 * time.Hour)
	noError(t, os.Chtimes(old, longAgo, longAgo))
	_, err := media.NewDisk(dir)
	noError(t, err)
	if left := files(t, dir); len(left) != 1 || left[0] != young {
		t.Errorf("left behind: %v, want only the one that may still be written", left)
	}
}

func TestDiskStaysInItsFolder(t *testing.T) {
	dir := t.TempDir()
	outside := filepath.Join(t.TempDir(), "secret.mp4")
	noError(t, os.WriteFile(outside, []byte("secret"), 0o600))
	store, err := media.NewDisk(dir)
	noError(t, err)
	noError(t, os.Symlink(outside, filepath.Join(dir, "link.mp4")))
	if object, err := store.Open(t.Context(), "link.mp4"); err == nil {
		object.Close()
		t.Error("a symbolic link led out of the folder")
	}
	noError(t, os.Mkdir(filepath.Join(dir, "folder.mp4"), 0o750))
	_, err = store.Open(t.Context(), "folder.mp4")
	hasKind(t, err, errs.NotFound)
}

func TestFileErrors(t *testing.T) {
	for _, test := range []struct {
		name string
		err  error
		kind errs.Kind
		text string
	}{
		{"disk full", syscall.ENOSPC, errs.Exhausted, "存储空间不足"},
		{"quota used up", syscall.EDQUOT, errs.Exhausted, "存储空间不足"},
		{"process out of files", syscall.EMFILE, errs.Exhausted, "服务繁忙，请稍后再试"},
		{"machine out of files", syscall.ENFILE, errs.Exhausted, "服务繁忙，请稍后再试"},
		{"not permitted", syscall.EACCES, errs.Internal, errs.Text(errs.New(errs.Internal, ""))},
		{"caller gone", context.Canceled, errs.Unavailable, errs.Text(context.Canceled)},
		{"has a kind already", errs.New(errs.Invalid, "坏"), errs.Invalid, "坏"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := media.FileError(fmt.Errorf("write: %w", test.err), "storing %s", "x")
			if errs.KindOf(err) != test.kind || errs.Text(err) != test.text {
				t.Errorf("got %v %q, want %v %q", errs.KindOf(err), errs.Text(err), test.kind, test.text)
			}
		})
	}
}

// files returns the regular files under dir.
func files(t *testing.T, dir string) []string {
	t.Helper()
	var found []string
	noError(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			found = append(found, path)
		}
		return err
	}))
	return found
}

// What lies on one file system is not copied: it gets one more name.
func TestDiskTakesAndLendsTheFileItself(t *testing.T) {
	dir := t.TempDir()
	store, err := media.NewDisk(filepath.Join(dir, "media"))
	noError(t, err)
	file, err := media.NewUnnamed(dir)
	noError(t, err)
	defer file.Close()
	_, err = file.WriteString("video")
	noError(t, err)
	key := media.NewKey("video", "mp4")
	noError(t, media.Give(t.Context(), store, key, file, 5, "video/mp4"))
	lent := filepath.Join(dir, "lent.mp4")
	noError(t, media.Fetch(t.Context(), store, key, lent))

	given, err := file.Stat()
	noError(t, err)
	for _, path := range []string{filepath.Join(dir, "media", key), lent} {
		if other, err := os.Stat(path); err != nil || !os.SameFile(given, other) {
			t.Errorf("%s is a copy: %v", path, err)
		}
	}
	noError(t, store.Delete(t.Context(), key))
	if content, err := os.ReadFile(lent); err != nil || string(content) != "video" {
		t.Errorf("what was lent went with the object: %q, %v", content, err)
	}
}
