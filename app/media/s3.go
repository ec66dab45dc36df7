package media

import (
	"context"
	"errors"
	"io"
	"iter"
	"net/http"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"backbeat/app/errs"
)

// S3Config names a bucket.
type S3Config struct {
	// Endpoint is host:port, without a scheme.
	Endpoint  string
	Bucket    string
	Region    string
	AccessKey string
	SecretKey string
	// Secure speaks HTTPS.
	Secure bool
}

// attempts is how often a request that can be repeated is made.
const attempts = 3

// immutable lets a CDN in front of the bucket keep objects for good: keys are
// never reused.
const immutable = "public, max-age=31536000, immutable"

// S3 is a Store in one bucket of an S3 service.
type S3 struct {
	client *minio.Client
	bucket string
}

var _ Store = (*S3)(nil)

// NewS3 returns the store and creates its bucket if there is none. It waits for a
// service that is still starting until ctx ends.
func NewS3(ctx context.Context, cfg S3Config) (*S3, error) {
	client, err := minio.New(cfg.Endpoint, &minio.Options{
		Creds:        credentials.NewStaticV4(cfg.AccessKey, cfg.SecretKey, ""),
		Secure:       cfg.Secure,
		Region:       cfg.Region,
		BucketLookup: minio.BucketLookupPath, // every service has it, and it needs no DNS
		MaxRetries:   attempts,
	})
	if err != nil {
		return nil, errs.Wrap(errs.Internal, err, "reading the address of S3")
	}
	s := &S3{client, cfg.Bucket}
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 2*time.Second) {
		err := s.ensureBucket(ctx, cfg.Region)
		if err == nil {
			return s, nil
		}
		if refused(err) {
			return nil, s3Error(err, "preparing bucket %s", cfg.Bucket)
		}
		select {
		case <-ctx.Done():
			return nil, s3Error(errors.Join(ctx.Err(), err), "waiting for S3 at %s", cfg.Endpoint)
		case <-time.After(pause):
		}
	}
}

func (s *S3) ensureBucket(ctx context.Context, region string) error {
	exists, err := s.client.BucketExists(ctx, s.bucket)
	if err != nil || exists {
		return err
	}
	err = s.client.MakeBucket(ctx, s.bucket, minio.MakeBucketOptions{Region: region})
	if code(err) == minio.BucketAlreadyOwnedByYou { // another process was faster
		return nil
	}
	return err
}

// Check returns why nothing can be stored or read at present, nil when it can.
func (s *S3) Check(ctx context.Context) error {
	_, err := s.client.BucketExists(ctx, s.bucket)
	return s3Error(err, "looking at the bucket")
}

// Put implements Store.
func (s *S3) Put(ctx context.Context, key string, body io.Reader, size int64, contentType string) error {
	if err := checkKey(key); err != nil {
		return err
	}
	section, err := take(body, size)
	if err != nil {
		return errs.Wrap(errs.Internal, err, "storing media %s", key)
	}
	// The client's part uploaders end with the context, not with a failed upload.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	_, err = s.client.PutObject(ctx, s.bucket, key, section, size, minio.PutObjectOptions{
		ContentType:  contentType,
		CacheControl: immutable,
	})
	if err != nil {
		return s3Error(err, "storing media %s", key)
	}
	return nil
}

// take returns the next size bytes of body. The client reads what it can read at
// an offset from the beginning, in parallel and again when a request fails,
// whatever was read before: a section tells it where to begin.
func take(body io.Reader, size int64) (io.Reader, error) {
	file, ok := body.(interface {
		io.ReaderAt
		io.Seeker
	})
	if !ok {
		return io.LimitReader(body, size), nil
	}
	at, err := file.Seek(0, io.SeekCurrent)
	return io.NewSectionReader(file, at, size), err
}

// Open implements Store. Nothing of the object is asked for before it is read,
// and then only from the offset wanted.
func (s *S3) Open(ctx context.Context, key string) (Object, error) {
	if !ValidKey(key) {
		return nil, notFound(key, errors.New("not a valid key"))
	}
	object, err := s.client.GetObject(ctx, s.bucket, key, minio.GetObjectOptions{})
	if err != nil {
		return nil, s3Error(err, "opening media %s", key)
	}
	info, err := object.Stat()
	if err != nil {
		object.Close()
		if code(err) == minio.NoSuchKey {
			return nil, notFound(key, err)
		}
		return nil, s3Error(err, "opening media %s", key)
	}
	return &s3Object{Object: object, info: info, contentType: ContentType(key)}, nil
}

// Delete implements Store.
func (s *S3) Delete(ctx context.Context, keys ...string) error {
	var failed error
	for _, key := range keys {
		if !ValidKey(key) {
			continue
		}
		err := s.client.RemoveObject(ctx, s.bucket, key, minio.RemoveObjectOptions{})
		if err != nil && code(err) != minio.NoSuchKey {
			failed = errors.Join(failed, s3Error(err, "deleting media %s", key))
		}
	}
	return failed
}

// List implements Store.
func (s *S3) List(ctx context.Context) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		for object := range s.client.ListObjectsIter(ctx, s.bucket, minio.ListObjectsOptions{Recursive: true}) {
			if object.Err != nil {
				yield(Info{}, s3Error(object.Err, "listing media"))
				return
			}
			if ValidKey(object.Key) && !yield(Info{object.Key, object.Size, object.LastModified}, nil) {
				return
			}
		}
		if err := ctx.Err(); err != nil { // the client ends its list as if it were complete
			yield(Info{}, s3Error(err, "listing media"))
		}
	}
}

type s3Object struct {
	*minio.Object
	info        minio.ObjectInfo
	contentType string
	// failed is what cut the reading short.
	failed error
}

func (o *s3Object) Size() int64         { return o.info.Size }
func (o *s3Object) ModTime() time.Time  { return o.info.LastModified }
func (o *s3Object) ContentType() string { return o.contentType }

func (o *s3Object) Read(p []byte) (int, error) {
	n, err := o.Object.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = s3Error(err, "reading media %s", o.info.Key)
		o.failed = err
	}
	return n, err
}

func (o *s3Object) Close() error { return errors.Join(o.failed, o.Object.Close()) }

func code(err error) string { return minio.ToErrorResponse(err).Code }

// refused reports whether the service answered, and asking again would not help.
func refused(err error) bool {
	status := minio.ToErrorResponse(err).StatusCode
	return status >= 400 && status < 500 && status != http.StatusTooManyRequests
}

func s3Error(err error, doing string, args ...any) error {
	return errs.Wrap(errs.Unavailable, err, doing, args...)
}
