package media

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"syscall"
	"time"

	"backbeat/app/errs"
)

// incoming is the folder of objects being written. Its name is no valid key, and
// it lies on the file system of the finished ones, so that a rename moves them.
const incoming = ".incoming"

// abandoned is the age at which an unfinished file has certainly lost its writer.
const abandoned = 24 * time.Hour

// copiedAtOnce is how much of an object is copied before anybody asks whether it is
// still wanted, in bytes.
const copiedAtOnce = 1 << 20

// objectMode is that of objects, whose folders let only the group in too.
const objectMode = 0o640

// Disk is a Store in a local folder. It survives the death of the process at any
// point; it does not wait for the disk, so a power cut may lose the newest.
type Disk struct {
	// root keeps every path inside the folder, symbolic links included.
	root *os.Root
}

var _ Store = (*Disk)(nil)

// NewDisk returns the store in dir, which it creates. Several processes may share
// one folder.
func NewDisk(dir string) (*Disk, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, FileError(err, "creating the media folder")
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, FileError(err, "opening the media folder")
	}
	d := &Disk{root}
	if err := d.sweep(time.Now().Add(-abandoned)); err != nil {
		root.Close()
		return nil, err
	}
	return d, nil
}

// Check returns why nothing can be stored or read at present, nil when it can.
func (d *Disk) Check(context.Context) error {
	_, err := d.root.Stat(incoming)
	return FileError(err, "looking at the media folder")
}

// sweep removes files that a process which died left unfinished before a time.
func (d *Disk) sweep(before time.Time) error {
	if err := d.root.MkdirAll(incoming, 0o750); err != nil {
		return FileError(err, "creating %s", incoming)
	}
	entries, err := fs.ReadDir(d.root.FS(), incoming)
	if err != nil {
		return FileError(err, "listing %s", incoming)
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err == nil && info.ModTime().Before(before) {
			err = d.root.Remove(path.Join(incoming, entry.Name()))
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // its writer, or another sweep, was faster
			return FileError(err, "removing an unfinished file")
		}
	}
	return nil
}

// Put implements Store. The type is not kept: a file's extension tells it.
func (d *Disk) Put(ctx context.Context, key string, body io.Reader, size int64, _ string) error {
	if err := checkKey(key); err != nil {
		return err
	}
	temporary := path.Join(incoming, rand.Text())
	err := d.write(ctx, temporary, body, size)
	if err == nil {
		err = d.publish(temporary, key)
	}
	if err != nil {
		if left := d.root.Remove(temporary); !errors.Is(left, fs.ErrNotExist) {
			err = errors.Join(err, left)
		}
		return FileError(err, "storing media %s", key)
	}
	return nil
}

func (d *Disk) write(ctx context.Context, name string, body io.Reader, size int64) error {
	file, err := d.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, objectMode)
	if err != nil {
		return err
	}
	for left := size; left > 0 && err == nil; {
		var copied int64
		if copied, err = io.CopyN(file, body, min(left, copiedAtOnce)); err == nil { // the kernel copies from file to file
			err = ctx.Err()
		}
		left -= copied
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return errors.Join(err, file.Close())
}

func (d *Disk) publish(temporary, key string) error {
	if err := d.root.MkdirAll(path.Dir(key), 0o750); err != nil {
		return err
	}
	return d.root.Rename(temporary, key)
}

// adopt makes a whole file an object by giving it one more name. It reports false, and
// has stored nothing, when it can't: when the file lies on another file system, say, or
// when there is such an object already.
func (d *Disk) adopt(key string, file *os.File, size int64) bool {
	info, err := file.Stat()
	if err != nil || info.Size() != size || !info.Mode().IsRegular() || !ValidKey(key) {
		return false
	}
	folder, base := path.Split(key)
	if d.root.MkdirAll(folder, 0o750) != nil {
		return false
	}
	dir, err := d.root.Open(folder)
	if err != nil {
		return false
	}
	defer dir.Close()
	return file.Chmod(objectMode) == nil && name(file, dir, base) == nil
}

// lend gives an object one more name, at path, where everybody may read it. It reports
// false, and has done nothing, when it can't.
func (d *Disk) lend(key, to string) bool {
	if !ValidKey(key) {
		return false
	}
	object, err := d.root.Open(key)
	if err != nil {
		return false
	}
	defer object.Close()
	info, err := object.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return false
	}
	dir, err := os.Open(path.Dir(to))
	if err != nil {
		return false
	}
	defer dir.Close()
	if name(object, dir, path.Base(to)) != nil {
		return false
	}
	if object.Chmod(lentMode) != nil { // its own folders let nobody else in
		_ = os.Remove(to) // what is left would be in the way of a copy, which says so
		return false
	}
	return true
}

// Open implements Store.
func (d *Disk) Open(_ context.Context, key string) (Object, error) {
	if !ValidKey(key) {
		return nil, notFound(key, fs.ErrInvalid)
	}
	file, err := d.root.Open(key)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, notFound(key, err)
	}
	if err != nil {
		return nil, FileError(err, "opening media %s", key)
	}
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		file.Close()
		return nil, notFound(key, errors.Join(err, fs.ErrInvalid))
	}
	return &diskObject{file, info, ContentType(key)}, nil
}

// Delete implements Store.
func (d *Disk) Delete(_ context.Context, keys ...string) error {
	var failed error
	for _, key := range keys {
		if !ValidKey(key) {
			continue
		}
		if err := d.root.Remove(key); err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed = errors.Join(failed, FileError(err, "deleting media %s", key))
		}
	}
	return failed
}

// List implements Store.
func (d *Disk) List(ctx context.Context) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		err := fs.WalkDir(d.root.FS(), ".", func(key string, entry fs.DirEntry, err error) error {
			if err == nil {
				err = ctx.Err()
			}
			var info fs.FileInfo
			switch {
			case err != nil:
			case entry.IsDir() && key == incoming:
				return fs.SkipDir
			case entry.IsDir():
				return nil
			default:
				info, err = entry.Info()
			}
			if errors.Is(err, fs.ErrNotExist) { // deleted meanwhile
				return nil
			}
			if err != nil {
				return err
			}
			if ValidKey(key) && info.Mode().IsRegular() && !yield(Info{key, info.Size(), info.ModTime()}, nil) {
				return fs.SkipAll
			}
			return nil
		})
		if err != nil {
			yield(Info{}, FileError(err, "listing media"))
		}
	}
}

// diskObject embeds the file, so that the kernel can send it to a socket.
type diskObject struct {
	*os.File
	info        fs.FileInfo
	contentType string
}

func (o *diskObject) Size() int64         { return o.info.Size() }
func (o *diskObject) ModTime() time.Time  { return o.info.ModTime() }
func (o *diskObject) ContentType() string { return o.contentType }

// FileError gives an error of the file system its kind: a full disk and a process
// out of files are loads that pass, everything else is ours.
func FileError(err error, doing string, args ...any) error {
	kind := errs.KindOf(err)
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		err = errors.Join(errs.New(errs.Exhausted, "存储空间不足"), err)
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		err = errors.Join(errs.New(errs.Exhausted, "服务繁忙，请稍后再试"), err)
	}
	return errs.Wrap(kind, err, doing, args...)
}
