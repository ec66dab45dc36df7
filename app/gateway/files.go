package gateway

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/maypok86/otter/v2"

	"backbeat/app/errs"
	"backbeat/app/media"
	"backbeat/app/picture"
)

const (
	// filePrefix is where files are served.
	filePrefix = "/media/"
	// maxID is the largest id anything has.
	maxID = 1<<53 - 1
	// drawnBytes bounds the drawn pictures that are kept in memory.
	drawnBytes = 16 << 20
)

// files serves what lies in the store, with ranges, and draws the pictures of
// those who have none: avatar/<id>.png, background/<id>.png and cover.png.
type files struct {
	store media.Store
	log   *slog.Logger
	drawn *otter.Cache[string, []byte]
}

// newFiles returns the handler of GET and HEAD below /media/.
func newFiles(store media.Store, log *slog.Logger) http.Handler {
	drawn := otter.Must(&otter.Options[string, []byte]{
		MaximumWeight: drawnBytes,
		Weigher:       func(key string, file []byte) uint32 { return uint32(len(key) + len(file)) },
	})
	return &files{store, log, drawn}
}

func (f *files) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		writeFault(w, r, http.StatusMethodNotAllowed, "请求方法不正确")
		return
	}
	key := strings.TrimPrefix(r.URL.Path, filePrefix)
	if draw := drawing(key); draw != nil {
		f.serveDrawing(w, r, key, draw)
		return
	}
	f.serveStored(w, r, key)
}

func (f *files) serveStored(w http.ResponseWriter, r *http.Request, key string) {
	object, err := f.store.Open(r.Context(), key)
	if errs.Is(err, errs.NotFound) {
		writeFault(w, r, http.StatusNotFound, "文件不存在")
		return
	}
	if err != nil {
		f.report(r, "opening a file", err)
		w.Header().Set("Retry-After", "1")
		writeFault(w, r, http.StatusServiceUnavailable, errs.Text(err))
		return
	}
	defer func() { f.report(r, "sending a file", object.Close()) }()
	// The server's own limit is meant for small answers.
	limit := time.Now().Add(uploadGrace + time.Duration(object.Size()/minRate)*time.Second)
	f.report(r, "moving the deadline", http.NewResponseController(w).SetWriteDeadline(limit))

	// Each range would be a request to S3, and no player asks for several at once.
	if strings.Contains(r.Header.Get("Range"), ",") {
		r.Header.Del("Range")
	}
	header := w.Header()
	setFileHeaders(header, object.ContentType())
	header.Set("Cache-Control", "public, max-age=31536000, immutable") // keys are never reused
	header.Set("ETag", `"`+key+`"`)
	http.ServeContent(w, r, "", object.ModTime(), object)
}

func (f *files) serveDrawing(w http.ResponseWriter, r *http.Request, key string, draw func() []byte) {
	file, err := f.drawn.Get(r.Context(), key, otter.LoaderFunc[string, []byte](
		func(context.Context, string) ([]byte, error) { return draw(), nil }))
	if err != nil { // cannot be: drawing does not fail
		f.report(r, "drawing a picture", err)
		writeFault(w, r, http.StatusInternalServerError, errs.Text(err))
		return
	}
	header := w.Header()
	setFileHeaders(header, "image/png")
	// A later version may draw it otherwise.
	header.Set("Cache-Control", "public, max-age=86400")
	header.Set("ETag", fmt.Sprintf(`"%x"`, sha256.Sum256(file)))
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(file))
}

// setFileHeaders makes sure that a browser runs nothing of a file, whatever is in it.
func setFileHeaders(header http.Header, contentType string) {
	header.Set("Content-Type", contentType)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Content-Security-Policy", "default-src 'none'; sandbox")
}

// report logs what failed, unless the client has gone, which is no failure.
func (f *files) report(r *http.Request, doing string, err error) {
	if err != nil && r.Context().Err() == nil {
		f.log.WarnContext(r.Context(), doing, "path", r.URL.Path, "error", err)
	}
}

// drawing returns how to draw a key's picture, nil if it names no such picture.
func drawing(key string) func() []byte {
	if key == "cover.png" {
		return picture.Cover
	}
	kind, name, _ := strings.Cut(key, "/")
	number, isPNG := strings.CutSuffix(name, ".png")
	id, err := strconv.ParseInt(number, 10, 64)
	// One id has one spelling, or one picture could fill the memory.
	if !isPNG || err != nil || id <= 0 || id > maxID || strconv.FormatInt(id, 10) != number {
		return nil
	}
	switch kind {
	case "avatar":
		return func() []byte { return picture.Avatar(id) }
	case "background":
		return func() []byte { return picture.Background(id) }
	default:
		return nil
	}
}
