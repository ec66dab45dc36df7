// Package media keeps videos and pictures as blobs, on the local disk or in any
// S3 service. It owns the keys they are stored under, which are random, name no
// user and are never reused, and it knows files by their first bytes, never by
// the name a client gave them.
package media

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"time"

	"backbeat/app/errs"
)

// Store keeps blobs by key. It is safe for concurrent use, and several processes
// may share what lies behind it.
type Store interface {
	// Put stores exactly size bytes of body under key. A reader sees the whole
	// object or none of it; a body that ends early or fails stores nothing. A
	// body that can seek and read at an offset is never held in memory.
	Put(ctx context.Context, key string, body io.Reader, size int64, contentType string) error
	// Open returns a stored object, which its user closes; NotFound when there is
	// none. ctx bounds the reading too.
	Open(ctx context.Context, key string) (Object, error)
	// Delete removes objects; missing ones are no error.
	Delete(ctx context.Context, keys ...string) error
	// List yields every object, in no order. One that is stored or deleted
	// meanwhile may be missing. An error is the last thing it yields.
	List(ctx context.Context) iter.Seq2[Info, error]
}

// Info is what is known of an object without opening it.
type Info struct {
	Key     string
	Size    int64 // in bytes
	ModTime time.Time
}

// Object is a stored blob. Close returns what cut its reading short, if anything
// did, so that a copier that hides read errors can still tell.
type Object interface {
	io.ReadSeekCloser
	// Size is in bytes.
	Size() int64
	ModTime() time.Time
	ContentType() string
}

// Give is Put of a whole file, of size bytes, that nobody writes to any more: the store
// may keep the file itself instead of a copy.
func Give(ctx context.Context, store Store, key string, file *os.File, size int64, contentType string) error {
	if disk, ok := store.(*Disk); ok && ctx.Err() == nil && disk.adopt(key, file, size) {
		return nil
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return FileError(err, "rewinding a file for %s", key)
	}
	return store.Put(ctx, key, file, size, contentType)
}

// Fetch makes an object a new file at path, for programs that read files, whoever they
// run as. It may be the object itself: nobody writes to it. A fetch that fails leaves no
// file.
func Fetch(ctx context.Context, store Store, key, path string) error {
	if disk, ok := store.(*Disk); ok && ctx.Err() == nil && disk.lend(key, path) {
		return nil
	}
	return fetch(ctx, store, key, path)
}

// lentMode is that of files that programs read.
const lentMode = 0o644

func fetch(ctx context.Context, store Store, key, path string) (err error) {
	object, err := store.Open(ctx, key)
	if err != nil {
		return err
	}
	defer object.Close()
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return FileError(err, "creating a local copy of %s", key)
	}
	defer func() {
		if err != nil {
			os.Remove(path)
		}
	}()
	n, err := io.Copy(file, object)
	if err == nil && n != object.Size() {
		err = io.ErrUnexpectedEOF
	}
	if err == nil {
		err = file.Chmod(lentMode)
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return FileError(err, "copying %s to a file", key)
	}
	return nil
}

// Copy stores an object under another key too.
func Copy(ctx context.Context, store Store, from, to string) (err error) {
	object, err := store.Open(ctx, from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, object.Close()) }()
	return store.Put(ctx, to, object, object.Size(), object.ContentType())
}

// checkKey refuses to store under a key that could not be opened again.
func checkKey(key string) error {
	if !ValidKey(key) {
		return errs.Wrap(errs.Internal, fmt.Errorf("%q is no valid key", key), "storing media")
	}
	return nil
}

func notFound(key string, cause error) error {
	return errs.Wrap(errs.NotFound, cause, "opening media %s", key)
}
