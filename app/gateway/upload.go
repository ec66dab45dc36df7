package gateway

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"backbeat/app/errs"
	"backbeat/app/media"
)

const (
	// minRate is how many bytes a second an upload must bring and a download
	// must take.
	minRate = 16 << 10
	// uploadGrace is how long an upload may pause, at its start and within.
	uploadGrace = 10 * time.Second
	// answerTime is left for storing the upload and for sending the answer.
	answerTime = time.Minute

	// maxFields and maxField bound what comes with the file; maxEnvelope is room
	// for them, for the boundaries and for the heads of the parts, in bytes.
	maxFields   = 32
	maxField    = 8 << 10
	maxEnvelope = 1 << 20

	// stagingBuffer is how much of an upload is read and written at a time, in bytes.
	stagingBuffer = 64 << 10

	// drainTime bounds the reading of what a refused client still sends: many
	// clients read no answer before they have sent everything.
	drainTime = 10 * time.Second

	// addressShare is how much of the uploads in progress one address may have.
	addressShare = 4
)

// stager receives uploads into temporary files and bounds what they occupy
// together, in bytes and in number. Nothing of an upload is held in memory but
// its small fields, and nothing is left on the disk when the process dies.
type stager struct {
	dir        string
	maxBytes   int64
	totalBytes int64
	maxUploads int
	// closed is set while no uploads are taken.
	closed atomic.Bool

	mu      sync.Mutex
	bytes   int64
	uploads int
	// senders are those of the uploads in progress.
	senders map[netip.Addr]int
}

// upload is one received form. file is nil when the part data was absent or empty.
type upload struct {
	fields url.Values
	file   *os.File
	// size is the file's, in bytes; ext and contentType are told by its content.
	size             int64
	ext, contentType string

	stager *stager
	from   sender
}

// newStager returns a stager whose files lie in dir, each at most maxBytes, at
// most maxUploads at a time and totalBytes together. One address may have a share
// of them: whose token it is shows only at the end of a form.
func newStager(dir string, maxBytes, totalBytes int64, maxUploads int) (*stager, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, media.FileError(err, "creating the staging folder")
	}
	if err := media.RemoveUnnamed(dir); err != nil {
		return nil, err
	}
	return &stager{dir: dir, maxBytes: maxBytes, totalBytes: totalBytes, maxUploads: maxUploads, senders: map[netip.Addr]int{}}, nil
}

// receive reads a multipart form whose parts come in any order. The part data is
// the video, every other part a field; no name a client gives is used for
// anything. Its errors are Invalid for what can't be accepted, Exhausted when
// too much is under way and Forbidden while no uploads are taken. The caller closes the upload.
func (s *stager) receive(w http.ResponseWriter, r *http.Request, from sender) (_ *upload, err error) {
	body := &pacedBody{body: r.Body, control: http.NewResponseController(w), start: time.Now()}
	defer func() {
		if err != nil {
			s.drain(body, r, err)
		}
	}()
	if s.closed.Load() {
		return nil, errs.New(errs.Forbidden, "暂停发布视频，请稍后再试")
	}
	if r.ContentLength > s.maxBytes+maxEnvelope {
		return nil, s.tooLarge()
	}
	bounded := http.MaxBytesReader(w, body, s.maxBytes+maxEnvelope)
	r.Body = whole(buffered(bounded))
	form, err := r.MultipartReader()
	if err != nil {
		return nil, invalid("请使用表单上传视频", err)
	}
	if !s.enter(from) {
		return nil, busy()
	}
	u := &upload{fields: url.Values{}, stager: s, from: from}
	err = u.read(form)
	if err == nil {
		// At the end of the body net/http lifts the read deadline, which would
		// cancel the request's context when it passes.
		_, err = io.Copy(io.Discard, bounded)
	}
	if err != nil {
		u.close()
		return nil, s.explain(err)
	}
	return u, nil
}

// buffered reads much at a time: the multipart reader asks for 4 KiB.
func buffered(body io.ReadCloser) io.ReadCloser {
	return struct {
		io.Reader
		io.Closer
	}{bufio.NewReaderSize(body, stagingBuffer), body}
}

// whole makes a form that ends before its last boundary an error, which the
// multipart reader doesn't always: it now meets the end of the body only after
// that boundary, to which the line end it wants is supplied.
func whole(body io.ReadCloser) io.ReadCloser {
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(body, strings.NewReader("\r\n"), tooEarly{}), body}
}

type tooEarly struct{}

func (tooEarly) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func (u *upload) read(form *multipart.Reader) error {
	seen := false
	for parts := 0; ; parts++ {
		part, err := form.NextPart()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case parts > maxFields:
			return invalid("表单字段过多", nil)
		case part.FormName() != "data":
			err = u.readField(part)
		case seen:
			return invalid("一次只能上传一个视频", nil)
		default:
			seen = true
			err = u.readFile(part)
		}
		if err != nil {
			return err
		}
	}
}

func (u *upload) readField(part *multipart.Part) error {
	value, err := io.ReadAll(io.LimitReader(part, maxField+1))
	if err != nil {
		return err
	}
	if len(value) > maxField {
		return invalid("表单字段过长", nil)
	}
	u.fields.Add(part.FormName(), string(value))
	return nil
}

func (u *upload) readFile(part *multipart.Part) error {
	head, err := io.ReadAll(io.LimitReader(part, media.SniffLen))
	if err != nil || len(head) == 0 {
		return err
	}
	var ok bool
	if u.ext, u.contentType, ok = media.Sniff(head); !ok {
		return invalid("不支持的视频格式", nil)
	}
	if u.file, err = media.NewUnnamed(u.stager.dir); err != nil {
		return err
	}
	staged := bufio.NewWriterSize(u, stagingBuffer)
	if _, err := io.Copy(staged, io.MultiReader(bytes.NewReader(head), part)); err != nil {
		return err
	}
	return staged.Flush()
}

// Write stages p within the bounds of one upload and of all.
func (u *upload) Write(p []byte) (int, error) {
	size := int64(len(p))
	if u.size+size > u.stager.maxBytes {
		return 0, u.stager.tooLarge()
	}
	if !u.stager.reserve(size) {
		return 0, busy()
	}
	u.size += size
	n, err := u.file.Write(p)
	if err != nil {
		return n, media.FileError(err, "staging an upload")
	}
	return n, nil
}

// close deletes the staged file. It may be called more than once.
func (u *upload) close() {
	if u.stager == nil {
		return
	}
	if u.file != nil {
		// Nothing was promised about the content, so an error means nothing.
		_ = u.file.Close()
	}
	u.stager.leave(u.from, u.size)
	u.stager = nil
}

func (s *stager) enter(from sender) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.uploads >= s.maxUploads || !from.exempt && s.senders[from.addr] >= max(1, s.maxUploads/addressShare) {
		return false
	}
	s.uploads++
	s.senders[from.addr]++
	return true
}

func (s *stager) reserve(bytes int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bytes+bytes > s.totalBytes {
		return false
	}
	s.bytes += bytes
	return true
}

func (s *stager) leave(from sender, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bytes -= bytes
	s.uploads--
	if s.senders[from.addr]--; s.senders[from.addr] == 0 {
		delete(s.senders, from.addr)
	}
}

// drain reads what a refused client still sends, so that it gets to the answer;
// it costs no more than two uploads would have.
func (s *stager) drain(body *pacedBody, r *http.Request, refusal error) {
	switch {
	case body.read == 0 && r.Header.Get("Expect") != "":
		return // such a client waits for leave to send
	case errors.Is(refusal, os.ErrDeadlineExceeded):
		return // such a client sends nothing
	}
	body.until = time.Now().Add(drainTime)
	// Whatever ends it, the answer is what it was.
	_, _ = io.CopyN(io.Discard, body, 2*s.maxBytes)
}

// explain gives what broke off the reading a kind and a text.
func (s *stager) explain(err error) error {
	var classified *errs.Error
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &classified):
		return err
	case errors.As(err, &tooLarge):
		return s.tooLarge()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return invalid("上传速度过慢，请检查网络后重试", err)
	default:
		return invalid("上传不完整，请重试", err)
	}
}

func (s *stager) tooLarge() error {
	return invalid(fmt.Sprintf("视频不能超过%dMB", s.maxBytes>>20), nil)
}

func busy() error { return errs.New(errs.Exhausted, "上传人数过多，请稍后再试") }

// invalid refuses an upload; cause may be nil.
func invalid(text string, cause error) error {
	return errs.Wrap(errs.Invalid, errors.Join(errs.New(errs.Invalid, text), cause), "receiving an upload")
}

// pacedBody moves the connection's deadlines on as bytes arrive: on average at
// least minRate, and no pause longer than uploadGrace.
type pacedBody struct {
	body    io.ReadCloser
	control *http.ResponseController
	start   time.Time
	// until ends the reading whatever arrives, unless it is zero.
	until time.Time
	read  int64
}

func (b *pacedBody) Read(p []byte) (int, error) {
	deadline := b.start.Add(uploadGrace + time.Duration(b.read)*time.Second/minRate)
	if pause := time.Now().Add(uploadGrace); pause.Before(deadline) {
		deadline = pause
	}
	if !b.until.IsZero() && b.until.Before(deadline) {
		deadline = b.until
	}
	if err := b.control.SetReadDeadline(deadline); err != nil {
		return 0, errs.Wrap(errs.Internal, err, "setting the read deadline")
	}
	// The server's own limit counts from the request's start.
	if err := b.control.SetWriteDeadline(deadline.Add(answerTime)); err != nil {
		return 0, errs.Wrap(errs.Internal, err, "setting the write deadline")
	}
	n, err := b.body.Read(p)
	b.read += int64(n)
	return n, err
}

func (b *pacedBody) Close() error { return b.body.Close() }
