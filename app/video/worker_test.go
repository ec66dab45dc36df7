package video

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opentracing/opentracing-go"
	"google.golang.org/protobuf/proto"

	"backbeat/app/errs"
	"backbeat/app/media"
	"backbeat/app/video/ffmpeg"
	"backbeat/model"
	"backbeat/mq"
	"backbeat/proto/event"
	pb "backbeat/proto/video"
	"backbeat/test/harness"
)

var notices = mq.Queue{Name: "message.notice", Batch: 1, Attempts: 3}

// studio is a service with its worker, on a disk and a database of their own. The
// queue only keeps what is published: tests hand the jobs over themselves.
type studio struct {
	*Server
	worker *Worker
	sent   *outbox
	folder string
}

func newStudio(t *testing.T) *studio {
	t.Helper()
	db, folder := openDB(t, harness.SQLite(t)), t.TempDir()
	store, err := media.NewDisk(folder)
	check(t, err)
	sent := &outbox{}
	w := NewWorker(
		WorkerConfig{FFmpeg: "ffmpeg", FFprobe: "ffprobe", MaxDuration: 8 * time.Second, Scratch: "", Notices: notices},
		WorkerDeps{DB: db, Publisher: sent, Media: store, Now: stopped, Log: harness.Logger(t)})
	w.scratch, err = openScratch("")
	check(t, err)
	t.Cleanup(func() { check(t, w.scratch.close()) })
	w.tools, err = ffmpeg.New(t.Context(), "ffmpeg", "ffprobe", w.scratch.path, harness.Logger(t))
	check(t, err)
	return &studio{newServer(t, db, sent), w, sent, folder}
}

var (
	fastLane = lane{queue: PublishQueue, kind: publishType}
	slowLane = lane{queue: TranscodeQueue, kind: transcodeType, transcodes: true}
)

// take stores the file as the gateway does and publishes it.
func (s *studio) take(t *testing.T, path string) *model.Video {
	t.Helper()
	file, err := os.Open(path)
	check(t, err)
	defer file.Close()
	info, err := file.Stat()
	check(t, err)
	key := media.NewKey("original", "mp4")
	check(t, s.worker.media.Put(t.Context(), key, file, info.Size(), "video/mp4"))
	var out pb.PublishResponse
	check(t, s.Publish(t.Context(), &pb.PublishRequest{AuthorId: 7, Title: "海边", OriginalKey: key, Size: info.Size()}, &out))
	return s.row(t, out.Video.Id)
}

func (s *studio) row(t *testing.T, id int64) *model.Video {
	t.Helper()
	row, err := s.store.get(t.Context(), id)
	check(t, err)
	return row
}

// deliver hands the job over as the queue would at the given attempt.
func (s *studio) deliver(t *testing.T, from lane, id int64, attempt int) error {
	t.Helper()
	message, err := job(from.kind, id)
	check(t, err)
	message.Attempt = attempt
	return s.worker.handle(t.Context(), from, message)
}

// process delivers the job to the fast lane and, if it asks for that, to the slow
// one, and returns what became of the upload.
func (s *studio) process(t *testing.T, id int64) (row *model.Video, transcoded bool) {
	t.Helper()
	check(t, s.deliver(t, fastLane, id, 0))
	if transcoded = slices.Contains(s.sent.jobs(t, TranscodeQueue), id); transcoded {
		check(t, s.deliver(t, slowLane, id, 0))
	}
	return s.row(t, id), transcoded
}

// stored returns the keys of all media.
func (s *studio) stored(t *testing.T) []string {
	t.Helper()
	var keys []string
	check(t, filepath.WalkDir(s.folder, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			key, _ := filepath.Rel(s.folder, path)
			keys = append(keys, key)
		}
		return err
	}))
	return keys
}

// later returns the worker with its clock moved on.
func (s *studio) later(by time.Duration) *Worker {
	w := *s.worker
	w.now = func() time.Time { return noon.Add(by) }
	return &w
}

func (s *studio) notices(t *testing.T) []*event.VideoFailed {
	t.Helper()
	var told []*event.VideoFailed
	for _, message := range s.sent.sent[notices.Name] {
		var failed event.VideoFailed
		check(t, proto.Unmarshal(message.Body, &failed))
		told = append(told, &failed)
	}
	return told
}

// film makes a video file with ffmpeg's arguments.
func film(t *testing.T, name string, args string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	out, err := exec.Command("ffmpeg", append(append([]string{"-v", "error", "-y"}, strings.Fields(args)...), path)...).CombinedOutput()
	if err != nil {
		t.Fatalf("ffmpeg %s: %v\n%s", args, err, out)
	}
	return path
}

func write(t *testing.T, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "upload")
	check(t, os.WriteFile(path, data, 0o600))
	return path
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	check(t, err)
	return data
}

// probe returns what ffprobe says about a stored file.
func (s *studio) probe(t *testing.T, key string) *ffmpeg.Info {
	t.Helper()
	dir, err := s.worker.tools.Dir(s.worker.scratch.path)
	check(t, err)
	check(t, media.Fetch(t.Context(), s.worker.media, key, filepath.Join(dir, originalFile)))
	info, err := s.worker.tools.Probe(t.Context(), dir, originalFile)
	check(t, err)
	return info
}

// boxes returns the names of an MP4 file's outermost boxes in order.
func boxes(data []byte) []string {
	var names []string
	for len(data) >= 8 {
		size := int(binary.BigEndian.Uint32(data))
		names = append(names, string(data[4:8]))
		if size < 8 || size > len(data) {
			break
		}
		data = data[size:]
	}
	return names
}

func TestWorkerPublishesWhatPhonesPlay(t *testing.T) {
	const picture = "-f lavfi -i testsrc2=size=320x240:rate=25:duration=2 "
	tests := map[string]struct {
		path          func(t *testing.T) string
		transcoded    bool
		silent        bool
		width, height int
	}{
		"an MP4 as phones record it": {
			path: func(t *testing.T) string { return harness.Clip(t, harness.ClipOptions{}) }, width: 360, height: 640},
		"index last": {
			path: func(t *testing.T) string { return harness.Clip(t, harness.ClipOptions{MoovLast: true}) }, width: 360, height: 640},
		"no sound": {
			path: func(t *testing.T) string { return harness.Clip(t, harness.ClipOptions{Silent: true}) }, silent: true, width: 360, height: 640},
		"hevc": {
			path:       func(t *testing.T) string { return harness.Clip(t, harness.ClipOptions{Codec: "hevc"}) },
			transcoded: true, width: 360, height: 640},
		"webm with vp9 and opus": {
			path:       func(t *testing.T) string { return harness.Clip(t, harness.ClipOptions{Codec: "vp9"}) },
			transcoded: true, width: 360, height: 640},
		"webm that names no duration": {
			path: func(t *testing.T) string {
				return film(t, "a.webm", picture+"-c:v libvpx -deadline realtime -cpu-used 8 -live 1")
			},
			transcoded: true, silent: true, width: 320, height: 240},
		"H.264 of 10 bits": {
			path:       func(t *testing.T) string { return film(t, "a.mp4", picture+"-pix_fmt yuv420p10le -c:v libx264") },
			transcoded: true, silent: true, width: 320, height: 240},
		"H.264 in a Matroska file": {
			path:   func(t *testing.T) string { return film(t, "a.mkv", picture+"-pix_fmt yuv420p -c:v libx264") },
			silent: true, width: 320, height: 240},
		"fragments": {
			path: func(t *testing.T) string {
				return film(t, "a.mp4", picture+"-pix_fmt yuv420p -c:v libx264 -g 10 -movflags frag_keyframe+empty_moov")
			},
			silent: true, width: 320, height: 240},
		"a cover picture inside": {
			path: func(t *testing.T) string {
				return film(t, "a.mp4", picture+"-f lavfi -i color=size=64x64:rate=1:duration=1 -map 0 -map 1 "+
					"-pix_fmt:v:0 yuv420p -c:v:0 libx264 -c:v:1 mjpeg -disposition:v:1 attached_pic")
			},
			silent: true, width: 320, height: 240},
		"mp3 for sound": {
			path: func(t *testing.T) string {
				return film(t, "a.mp4", picture+"-f lavfi -i sine=duration=2 -pix_fmt yuv420p -c:v libx264 -c:a libmp3lame")
			},
			transcoded: true, width: 320, height: 240},
		"more pixels than phones like": {
			path: func(t *testing.T) string {
				return film(t, "a.mp4", "-f lavfi -i testsrc2=size=1440x2560:rate=10:duration=1 -pix_fmt yuv420p -preset ultrafast -c:v libx264")
			},
			transcoded: true, silent: true, width: 720, height: 1280},
		"odd sides": {
			path: func(t *testing.T) string {
				return film(t, "a.webm", "-f lavfi -i testsrc2=size=321x241:rate=25:duration=1 -c:v libvpx -deadline realtime -cpu-used 8")
			},
			transcoded: true, silent: true, width: 320, height: 240},
	}
	s := newStudio(t)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			id := s.take(t, tt.path(t)).ID
			row, transcoded := s.process(t, id)
			if row.State != model.VideoPublished {
				t.Fatalf("state is %d (%s), want published", row.State, row.Reason)
			}
			if transcoded != tt.transcoded {
				t.Errorf("transcoded: %t, want %t", transcoded, tt.transcoded)
			}
			if int(row.Width) != tt.width || int(row.Height) != tt.height {
				t.Errorf("size is %d×%d, want %d×%d", row.Width, row.Height, tt.width, tt.height)
			}
			data := read(t, filepath.Join(s.folder, row.PlayKey))
			if row.Size != int64(len(data)) || row.DurationMS < 900 || row.DurationMS > 2200 {
				t.Errorf("row says %d bytes, %d ms; the file has %d bytes", row.Size, row.DurationMS, len(data))
			}
			if order := boxes(data); slices.Index(order, "moov") > slices.Index(order, "mdat") {
				t.Errorf("the index is not first: %v", order)
			}
			info := s.probe(t, row.PlayKey)
			if !playable(info) || (info.Audio == nil) != tt.silent {
				t.Errorf("published video %+v, audio %+v", info.Video, info.Audio)
			}
			cover, err := jpeg.DecodeConfig(bytes.NewReader(read(t, filepath.Join(s.folder, row.CoverKey))))
			check(t, err)
			if cover.Width > 720 || (cover.Width > cover.Height) != (tt.width > tt.height) {
				t.Errorf("the cover has %d×%d pixels", cover.Width, cover.Height)
			}
		})
	}
}

func TestPublishedFileTellsNothingOfItsMaking(t *testing.T) {
	s := newStudio(t)
	path := film(t, "a.mov", "-f lavfi -i testsrc2=size=320x240:rate=25:duration=1 -pix_fmt yuv420p -c:v libx264 "+
		"-metadata location=+31.2304+121.4737/ -metadata comment=SECRETCOMMENT -metadata:s:v handler_name=SECRETPHONE")
	if !bytes.Contains(read(t, path), []byte("+31.2304")) {
		t.Fatal("the clip holds no place to lose")
	}
	row, _ := s.process(t, s.take(t, path).ID)
	for _, key := range []string{row.PlayKey, row.CoverKey} {
		data := read(t, filepath.Join(s.folder, key))
		for _, secret := range []string{"+31.2304", "SECRET"} {
			if bytes.Contains(data, []byte(secret)) {
				t.Errorf("%s holds %s", key, secret)
			}
		}
	}
}

func TestCoverIsNotBlack(t *testing.T) {
	s := newStudio(t)
	row, _ := s.process(t, s.take(t, harness.Clip(t, harness.ClipOptions{BlackStart: true, Seconds: 3})).ID)
	cover, err := jpeg.Decode(bytes.NewReader(read(t, filepath.Join(s.folder, row.CoverKey))))
	check(t, err)
	light := cover.(*image.YCbCr).Y
	sum := 0
	for _, y := range light {
		sum += int(y)
	}
	if bright := sum / len(light); bright < darkest {
		t.Errorf("the cover's brightness is %d, want at least %d", bright, darkest)
	}
}

func TestTurnedVideoStaysUpright(t *testing.T) {
	for name, codec := range map[string]string{"remuxed": "h264", "transcoded": "hevc"} {
		t.Run(name, func(t *testing.T) {
			s := newStudio(t)
			lying := read(t, harness.Clip(t, harness.ClipOptions{Codec: codec, Width: 320, Height: 240, Silent: true}))
			row, _ := s.process(t, s.take(t, write(t, turn(t, lying))).ID)
			if row.State != model.VideoPublished || row.Width != 240 || row.Height != 320 {
				t.Fatalf("state %d (%s), %d×%d pixels, want 240×320", row.State, row.Reason, row.Width, row.Height)
			}
			cover, err := jpeg.DecodeConfig(bytes.NewReader(read(t, filepath.Join(s.folder, row.CoverKey))))
			check(t, err)
			if cover.Width != 240 || cover.Height != 320 {
				t.Errorf("the cover has %d×%d pixels, want 240×320", cover.Width, cover.Height)
			}
		})
	}
}

// turn writes a quarter turn into the display matrix of an MP4 file's only track,
// as phones held upright do.
func turn(t *testing.T, data []byte) []byte {
	t.Helper()
	data = bytes.Clone(data)
	at := bytes.Index(data, []byte("tkhd"))
	if at < 0 {
		t.Fatal("no track header")
	}
	// Behind the name of a version 0 box: 4 bytes of flags, 36 up to the matrix.
	matrix := data[at+4+40 : at+4+40+36]
	for i, value := range []int32{0, 1 << 16, 0, -1 << 16, 0, 0, 240 << 16, 0, 1 << 30} {
		binary.BigEndian.PutUint32(matrix[4*i:], uint32(value))
	}
	return data
}

func TestWorkerRefusesBadFiles(t *testing.T) {
	noise := make([]byte, 100_000)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	clip := read(t, harness.Clip(t, harness.ClipOptions{Seconds: 4}))
	last := read(t, harness.Clip(t, harness.ClipOptions{MoovLast: true}))
	secret := write(t, []byte("SECRET"))
	tests := map[string]struct {
		data   []byte
		reason string
	}{
		"noise":                    {noise, "无法识别的视频文件"},
		"a text":                   {[]byte("hello"), "无法识别的视频文件"},
		"noise that begins well":   {append(bytes.Clone(clip[:32]), noise...), "无法识别的视频文件"},
		"cut off before its index": {last[:len(last)/2], "无法识别的视频文件"},
		"cut off after its index":  {clip[:len(clip)/2], "视频文件不完整"},
		"too long":                 {read(t, harness.Clip(t, harness.ClipOptions{Seconds: 10, Width: 64, Height: 64})), "视频时长超过8秒"},
		"a playlist":               {[]byte("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://" + secret + "\n#EXT-X-ENDLIST\n"), "无法识别的视频文件"},
		"a list of files":          {[]byte("ffconcat version 1.0\nfile " + secret + "\n"), "无法识别的视频文件"},
		"sound alone":              {read(t, film(t, "a.mp4", "-f lavfi -i sine=duration=1 -c:a aac")), "文件中没有视频画面"},
		"an unknown codec":         {read(t, film(t, "a.mov", "-f lavfi -i testsrc2=size=64x64:duration=1 -c:v prores")), "不支持的视频格式"},
		"a picture too large":      {read(t, film(t, "a.mp4", "-f lavfi -i color=size=4160x64:rate=5:duration=1 -pix_fmt yuv420p -preset ultrafast")), "视频分辨率过高"},
	}
	s := newStudio(t)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			id := s.take(t, write(t, tt.data)).ID
			row, _ := s.process(t, id)
			if row.State != model.VideoFailed || !strings.HasPrefix(row.Reason, tt.reason) {
				t.Errorf("state is %d, reason %q; want failed for %q", row.State, row.Reason, tt.reason)
			}
			told := s.notices(t)
			if len(told) == 0 {
				t.Fatal("the author was not told")
			}
			last := told[len(told)-1]
			want := &event.VideoFailed{VideoId: id, AuthorId: 7, Title: "海边", Reason: row.Reason}
			if !proto.Equal(last, want) {
				t.Errorf("the author was told %v, want %v", last, want)
			}
		})
	}
	check(t, s.later(keepOriginal+time.Second).deleteOriginals(t.Context()))
	if left := s.stored(t); len(left) != 0 {
		t.Errorf("refused uploads left %v", left)
	}
}

// failingMedia fails the nth call of all its methods.
type failingMedia struct {
	media.Store
	calls, failAt int
	err           error
}

func (f *failingMedia) next() error {
	f.calls++
	if f.calls == f.failAt {
		return f.err
	}
	return nil
}

func (f *failingMedia) Open(ctx context.Context, key string) (media.Object, error) {
	if err := f.next(); err != nil {
		return nil, err
	}
	return f.Store.Open(ctx, key)
}

// A worker that dies at any step leaves a job, which another does again: the
// upload is published once and no file is left that the row doesn't name.
func TestRedeliveryAtEachStepPublishesOnce(t *testing.T) {
	s := newStudio(t)
	steps := map[string]func(t *testing.T, row *model.Video){
		"nothing done": func(*testing.T, *model.Video) {},
		"cover stored": func(t *testing.T, row *model.Video) {
			check(t, s.worker.media.Put(t.Context(), coverKey(row.OriginalKey), strings.NewReader("half"), 4, "image/jpeg"))
		},
		"both stored": func(t *testing.T, row *model.Video) {
			for _, key := range []string{coverKey(row.OriginalKey), playKey(row.OriginalKey)} {
				check(t, s.worker.media.Put(t.Context(), key, strings.NewReader("half"), 4, ""))
			}
		},
		"published, not acknowledged": func(t *testing.T, row *model.Video) {
			check(t, s.deliver(t, fastLane, row.ID, 0))
		},
		"published, original deleted": func(t *testing.T, row *model.Video) {
			check(t, s.deliver(t, fastLane, row.ID, 0))
			check(t, s.later(keepOriginal+time.Second).deleteOriginals(t.Context()))
		},
	}
	var want []string
	for i, name := range slices.Sorted(maps.Keys(steps)) {
		row := s.take(t, harness.Clip(t, harness.ClipOptions{}))
		steps[name](t, row)
		for range 2 {
			check(t, s.deliver(t, fastLane, row.ID, 0))
		}
		row = s.row(t, row.ID)
		want = append(want, row.PlayKey, row.CoverKey)
		if data := read(t, filepath.Join(s.folder, row.PlayKey)); row.State != model.VideoPublished || row.Size != int64(len(data)) {
			t.Errorf("%s: state %d, %d bytes of %d", name, row.State, len(data), row.Size)
		}
		works, err := s.store.works(t.Context(), []int64{7}, 7)
		check(t, err)
		if int(works[7]) != i+1 {
			t.Errorf("%s: the author has %d works, want %d", name, works[7], i+1)
		}
	}
	check(t, s.later(keepOriginal+time.Second).deleteOriginals(t.Context()))
	slices.Sort(want)
	if left := s.stored(t); !slices.Equal(left, want) {
		t.Errorf("stored are %v, want %v", left, want)
	}
}

func TestOriginalPlaysForAWhileAfterwards(t *testing.T) {
	s := newStudio(t)
	row, _ := s.process(t, s.take(t, harness.Clip(t, harness.ClipOptions{})).ID)
	check(t, s.later(keepOriginal-time.Second).deleteOriginals(t.Context()))
	if !slices.Contains(s.stored(t), row.OriginalKey) {
		t.Error("the original is gone while its author may be playing it")
	}
	for range 2 {
		check(t, s.later(keepOriginal+time.Second).deleteOriginals(t.Context()))
	}
	if slices.Contains(s.stored(t), row.OriginalKey) {
		t.Error("the original is kept for good")
	}
}

// A worker that dies between failing an upload and telling its author is followed
// by one that tells.
func TestAuthorIsToldAfterRedelivery(t *testing.T) {
	s := newStudio(t)
	id := s.take(t, write(t, []byte("garbage"))).ID
	s.sent.fail(errs.New(errs.Unavailable, ""))
	if err := s.deliver(t, fastLane, id, 0); !errs.Is(err, errs.Unavailable) {
		t.Fatalf("handling without a queue returned %v, want Unavailable", err)
	}
	if row := s.row(t, id); row.State != model.VideoFailed || len(s.notices(t)) != 0 {
		t.Fatalf("state is %d after %d notices", row.State, len(s.notices(t)))
	}
	if left := s.stored(t); len(left) != 0 {
		t.Errorf("a failed upload left %v", left)
	}
	s.sent.fail(nil)
	check(t, s.deliver(t, fastLane, id, 0))
	if told := s.notices(t); len(told) != 1 || told[0].Reason != "无法识别的视频文件" {
		t.Errorf("the author was told %v", told)
	}
}

func TestOursAwayFailsNoUpload(t *testing.T) {
	tests := map[string]struct {
		err     error
		attempt int
		kind    errs.Kind
		state   model.VideoState
	}{
		"media away, last attempt": {errs.New(errs.Unavailable, ""), 99, errs.Unavailable, model.VideoProcessing},
		"disk full, last attempt":  {errs.New(errs.Exhausted, ""), 99, errs.Unavailable, model.VideoProcessing},
		"no original yet":          {errs.New(errs.NotFound, ""), 0, errs.Internal, model.VideoProcessing},
		"a fault of ours":          {errors.New("bug"), 0, errs.Internal, model.VideoProcessing},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newStudio(t)
			id := s.take(t, harness.Clip(t, harness.ClipOptions{})).ID
			s.worker.media = &failingMedia{Store: s.worker.media, failAt: 1, err: tt.err}
			if err := s.deliver(t, fastLane, id, tt.attempt); !errs.Is(err, tt.kind) {
				t.Errorf("handling returned %v, want %s", err, tt.kind)
			}
			if row := s.row(t, id); row.State != tt.state {
				t.Errorf("state is %d, want %d", row.State, tt.state)
			}
			row, _ := s.process(t, id)
			if row.State != model.VideoPublished {
				t.Errorf("afterwards the state is %d (%s)", row.State, row.Reason)
			}
		})
	}
}

func TestLastAttemptEndsAnUpload(t *testing.T) {
	s := newStudio(t)
	id := s.take(t, harness.Clip(t, harness.ClipOptions{})).ID
	s.worker.media = &failingMedia{Store: s.worker.media, failAt: 1, err: errors.New("bug")}
	check(t, s.deliver(t, fastLane, id, PublishQueue.Attempts-1))
	if row := s.row(t, id); row.State != model.VideoFailed || row.Reason != "视频处理失败，请重新上传" {
		t.Errorf("state is %d, reason %q", row.State, row.Reason)
	}
	if told := s.notices(t); len(told) != 1 {
		t.Errorf("the author was told %d times", len(told))
	}
}

func TestForeignMessagesAreGivenUp(t *testing.T) {
	s := newStudio(t)
	for name, message := range map[string]mq.Message{
		"unknown type":  {Type: "video.publish/2"},
		"broken body":   {Type: publishType, Body: []byte{0xff}},
		"unknown video": {Type: publishType, Body: []byte{0x08, 0x05}},
	} {
		if err := s.worker.handle(t.Context(), fastLane, message); err == nil || errs.KindOf(err).Fault() {
			t.Errorf("%s: handling returned %v, want an error that is never tried again", name, err)
		}
	}
}

// The whole way, over a real queue: uploads of both lanes and a bad one, taken up
// by two workers.
func TestWorkersRunTheQueues(t *testing.T) {
	db, folder := openDB(t, harness.SQLite(t)), t.TempDir()
	store, err := media.NewDisk(folder)
	check(t, err)
	queue := mq.NewTable(db, mq.Deps{Tracer: opentracing.NoopTracer{}, Log: harness.Logger(t), Now: time.Now})
	t.Cleanup(func() { check(t, queue.Close()) })
	s := &studio{Server: newServer(t, db, queue), folder: folder}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	for range 2 {
		w := NewWorker(
			WorkerConfig{FFmpeg: "ffmpeg", FFprobe: "ffprobe", MaxDuration: time.Minute, Transcodes: 1, Notices: notices},
			WorkerDeps{DB: db, Publisher: queue, Consumer: queue, Media: store, Now: time.Now, Log: harness.Logger(t)})
		s.worker = w
		go func() { ended <- w.Run(ctx) }()
	}
	want := map[int64]model.VideoState{
		s.take(t, harness.Clip(t, harness.ClipOptions{})).ID:              model.VideoPublished,
		s.take(t, harness.Clip(t, harness.ClipOptions{Codec: "hevc"})).ID: model.VideoPublished,
		s.take(t, write(t, []byte("garbage"))).ID:                         model.VideoFailed,
	}
	harness.Eventually(t, time.Minute, func() error {
		for id, state := range want {
			if row := s.row(t, id); row.State != state {
				return fmt.Errorf("video %d is in state %d (%s), want %d", id, row.State, row.Reason, state)
			}
		}
		return nil
	}, "processing three uploads")
	stop()
	for range 2 {
		check(t, <-ended)
	}
}
