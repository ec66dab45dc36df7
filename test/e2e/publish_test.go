package e2e

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"mime/multipart"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"backbeat/model"
	"backbeat/test/harness"
)

// box is an MP4 box of a type.
func box(kind string, content []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(8+len(content)))
	return append(append(b, kind...), content...)
}

// head is what every MP4 file begins with: enough for a first look.
var head = box("ftyp", []byte("isom\x00\x00\x02\x00isomiso2avc1mp41"))

// tiny is a valid video that is cheap to publish.
func tiny(t *testing.T) []byte {
	t.Helper()
	return read(t, harness.Clip(t, harness.ClipOptions{Seconds: 1, Silent: true, Width: 64, Height: 64}))
}

func (w *world) upload(t *testing.T, form *harness.Form) harness.Answer {
	t.Helper()
	answer, err := w.Upload(form)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// awaitWork returns the author's video of a title once everybody sees it.
func (w *world) awaitWork(t *testing.T, author harness.Account, title string) harness.Video {
	t.Helper()
	var found harness.Video
	harness.Eventually(t, time.Minute, func() error {
		list := w.works(t, harness.Account{}, author.ID)
		i := slices.IndexFunc(list, func(v harness.Video) bool { return v.Title == title })
		if i < 0 {
			return fmt.Errorf("strangers see %v", titles(list))
		}
		found = list[i]
		return nil
	}, "publishing "+title)
	return found
}

// 14, 16, 17, 45, 69: what is accepted, in whatever order it comes, is in its
// author's list at once, with the title as it was written.
func TestPublish(t *testing.T) {
	eachAndNginx(t, func(t *testing.T, w *world) {
		author := w.Register(t)
		content := tiny(t)
		all := []string{}
		for _, row := range []struct {
			name, title, file string
			tokenFirst        bool
		}{
			{"14 the file before the token", "我的第一个视频", "bear.mp4", false},
			{"the token before the file", "第二个", "bear.mp4", true},
			{"100 characters", strings.Repeat("长", 100), "bear.mp4", false},
			{"emoji", "周末🎬👨‍👩‍👧‍👦", "🎬.mp4", false},
			{"69 a path as the title", "../../x", "bear.mp4", false},
			{"69 a path as the file's name", "路径", "../../../../etc/cron.d/x.mp4", false},
			{"HTML and SQL", `<script>alert(1)</script>'; DROP TABLE videos;--`, `"><script>.mp4`, false},
			{"a line end and a header", "a\r\nX-Injected: 1", "a.mp4", false},
			{"a file's name of another kind", "名不副实", "virus.exe", false},
		} {
			t.Run(row.name, func(t *testing.T) {
				form := harness.NewForm()
				if row.tokenFirst {
					form.Field("token", author.Token).Field("title", row.title).File("data", row.file, content)
				} else {
					form.File("data", row.file, content).Field("token", author.Token).Field("title", row.title)
				}
				answer := harness.OK(t, w.upload(t, form))
				equal(t, "status_msg", answer.StatusMsg, "发布成功")
				equal(t, "X-Injected", answer.Header.Get("X-Injected"), "")
				mine := w.works(t, author, author.ID)
				checkVideos(t, mine)
				all = append(all, row.title)
				if got := titles(mine); len(got) != len(all) || got[0] != row.title {
					t.Fatalf("16 the author's list is %q", got)
				}
				for _, link := range []string{mine[0].PlayURL, mine[0].CoverURL} {
					if !strings.HasPrefix(link, w.Base+"/media/") || strings.Contains(link, "..") || strings.Contains(link, "x.mp4") {
						t.Errorf("a URL is made of what the user wrote: %s", link)
					}
					fetch(t, w, link)
				}
			})
		}
		for _, title := range all {
			w.awaitWork(t, author, title)
		}
		slices.Reverse(all)
		if got := titles(w.works(t, harness.Account{}, author.ID)); !slices.Equal(got, all) {
			t.Errorf("strangers see %q, want %q", got, all)
		}
		soon(t, "work_count", func() error {
			if n := w.Profile(t, author, author.ID).WorkCount; n != int64(len(all)) {
				return fmt.Errorf("it is %d", n)
			}
			return nil
		})
		harness.Refused(t, w.Get(t, "/douyin/publish/list/", "token", "bad", "user_id", author.ID)) // 17
	})
}

// 15, 69: what is refused stores nothing.
func TestPublishRefusals(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		author := w.Register(t)
		// Of a size no other upload has, so that it would be found.
		content := append(tiny(t), box("free", make([]byte, 54_321))...)
		form := func(data []byte, fields ...string) *harness.Form {
			f := harness.NewForm()
			if data != nil {
				f.File("data", "a.mp4", data)
			}
			for i := 0; i < len(fields); i += 2 {
				f.Field(fields[i], fields[i+1])
			}
			return f
		}
		for _, row := range []struct {
			name string
			form *harness.Form
		}{
			{"15 a bad token", form(content, "token", "bad", "title", "x")},
			{"15 no token", form(content, "title", "x")},
			{"no title", form(content, "token", author.Token)},
			{"an empty title", form(content, "token", author.Token, "title", "")},
			{"a blank title", form(content, "token", author.Token, "title", " 　\t")},
			{"a title of 101 characters", form(content, "token", author.Token, "title", strings.Repeat("长", 101))},
			{"a title of invalid UTF-8", form(content, "token", author.Token, "title", "a\xff")},
			{"a title with a NUL", form(content, "token", author.Token, "title", "a\x00b")},
			{"a title beyond all bounds", form(content, "token", author.Token, "title", strings.Repeat("长", 100_000))},
			{"69 no data part", form(nil, "token", author.Token, "title", "x")},
			{"69 an empty data part", form([]byte{}, "token", author.Token, "title", "x")},
			{"data as a field", form(nil, "token", author.Token, "title", "x", "data", "text")},
			{"two data parts", form(content, "token", author.Token, "title", "x").File("data", "b.mp4", content)},
			{"a thousand fields", form(content, slices.Repeat([]string{"token", author.Token}, 1000)...)},
			{"text", form([]byte("no video, whatever its name says"), "token", author.Token, "title", "x")},
			{"one byte", form([]byte{0}, "token", author.Token, "title", "x")},
			{"a picture", form([]byte("\x89PNG\r\n\x1a\n0000IHDR"), "token", author.Token, "title", "x")},
			{"a program", form([]byte("\x7fELF\x02\x01\x01"), "token", author.Token, "title", "x")},
			{"a playlist", form([]byte("#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"), "token", author.Token, "title", "x")},
			{"an empty form", harness.NewForm()},
		} {
			t.Run(row.name, func(t *testing.T) { harness.Refused(t, w.upload(t, row.form)) })
		}
		for _, row := range []struct{ name, kind, body string }{
			{"no form", "application/octet-stream", string(content)},
			{"no boundary", "multipart/form-data", "--x\r\n"},
			{"another boundary", "multipart/form-data; boundary=y", "--x\r\nContent-Disposition: form-data; name=\"token\"\r\n\r\nt\r\n--x--\r\n"},
			{"an urlencoded form", "application/x-www-form-urlencoded", "token=" + author.Token + "&title=x&data=1"},
			{"no body", "multipart/form-data; boundary=x", ""},
		} {
			t.Run(row.name, func(t *testing.T) {
				response, err := w.HTTP.Post(w.Base+"/douyin/publish/action/", row.kind, strings.NewReader(row.body))
				if err != nil {
					t.Fatal(err)
				}
				defer response.Body.Close()
				var answer harness.Answer
				if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
					t.Fatal(err)
				}
				answer.HTTP, answer.Header = response.StatusCode, response.Header
				harness.Refused(t, answer)
			})
		}
		equal(t, "videos of the author", len(w.works(t, author, author.ID)), 0)
		if path := w.stored(t, int64(len(content))); path != "" {
			t.Errorf("a refused upload lies at %s", path)
		}
	})
}

// stored returns a file of this size among the stored media, "" for none.
func (w *world) stored(t *testing.T, size int64) string {
	t.Helper()
	root := filepath.Join(w.parts[0].Dir, "data", "media")
	if w.cluster != nil {
		root = setting(w.cluster.Env, "BACKBEAT_MEDIA_DIR")
	}
	found, files := "", 0
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() { // files come and go under the walk
			files++
			if info, err := entry.Info(); err == nil && info.Size() == size {
				found = path
			}
		}
		return nil
	})
	if err != nil || files == 0 {
		t.Fatalf("%d files in %s, %v", files, root, err)
	}
	return found
}

// setting is the value of a variable in an environment.
func setting(env []string, name string) string {
	for _, entry := range env {
		if value, found := strings.CutPrefix(entry, name+"="); found {
			return value
		}
	}
	return ""
}

// An upload that breaks off, in whatever way, is answered where somebody is left to
// answer to, and leaves nothing.
func TestPublishCutOff(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		author := w.Register(t)
		var body bytes.Buffer
		form := multipart.NewWriter(&body)
		for _, err := range []error{form.WriteField("token", author.Token), form.WriteField("title", "残缺")} {
			if err != nil {
				t.Fatal(err)
			}
		}
		part, err := form.CreateFormFile("data", "a.mp4")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := part.Write(append(tiny(t), box("free", make([]byte, 65_432))...)); err != nil {
			t.Fatal(err)
		}
		whole, boundary := body.Len(), "\r\n--"+form.Boundary()+"\r\n"
		half := body.Bytes()[:whole-40_000]
		request := func(length string) string {
			return "POST /douyin/publish/action/ HTTP/1.1\r\nHost: " + strings.TrimPrefix(w.Base, "http://") +
				"\r\nContent-Type: " + form.FormDataContentType() + "\r\nConnection: close\r\n" + length + "\r\n\r\n"
		}
		chunk := func(b []byte) string { return fmt.Sprintf("%x\r\n%s\r\n", len(b), b) }
		for _, row := range []struct {
			name, sent string
			then       string // what the sender does next
		}{
			{"the form has no end", request(fmt.Sprintf("Content-Length: %d", whole)) + body.String(), "waits"},
			{"the form ends between two parts", request(fmt.Sprintf("Content-Length: %d", whole+len(boundary))) + body.String() + boundary, "waits"},
			{"the form ends in the file", request(fmt.Sprintf("Content-Length: %d", len(half))) + string(half), "waits"},
			{"a chunked form ends in the file", request("Transfer-Encoding: chunked") + chunk(half) + "0\r\n\r\n", "waits"},
			{"the body ends in the file", request(fmt.Sprintf("Content-Length: %d", whole+100)) + string(half), "ends"},
			{"a chunk is broken off", request("Transfer-Encoding: chunked") + chunk(half)[:30_000], "ends"},
			{"the connection is cut", request(fmt.Sprintf("Content-Length: %d", whole+100)) + string(half), "resets"},
		} {
			t.Run(row.name, func(t *testing.T) {
				dialed, err := net.Dial("tcp", strings.TrimPrefix(w.Base, "http://"))
				if err != nil {
					t.Fatal(err)
				}
				defer dialed.Close()
				conn := dialed.(*net.TCPConn)
				if _, err := io.WriteString(conn, row.sent); err != nil {
					t.Fatal(err)
				}
				switch row.then {
				case "ends":
					err = conn.CloseWrite()
				case "resets":
					if err := conn.SetLinger(0); err != nil { // makes Close a reset
						t.Fatal(err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				equal(t, "status_msg", harness.Refused(t, readAnswer(t, conn)).StatusMsg, "上传不完整，请重试")
			})
		}
		equal(t, "videos of the author", len(w.works(t, author, author.ID)), 0)
		w.Publish(t, author, harness.Clip(t, harness.ClipOptions{Seconds: 1, Silent: true, Width: 64, Height: 64}), "完整")
		equal(t, "videos after a whole upload", len(w.works(t, author, author.ID)), 1)
	})
}

// readAnswer reads an answer from a connection of one's own.
func readAnswer(t *testing.T, conn net.Conn) harness.Answer {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	answer := harness.Answer{HTTP: response.StatusCode, Header: response.Header, Raw: string(raw)}
	if err := json.Unmarshal(raw, &answer); err != nil {
		t.Fatalf("%v: %.200s", err, raw)
	}
	return answer
}

// zeros never end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// D12: more than 256 MiB is refused, whether its size is announced or not.
func TestPublishTooLarge(t *testing.T) {
	eachAndNginx(t, func(t *testing.T, w *world) {
		author := w.Register(t)
		const size = 258 << 20
		start := "--x\r\nContent-Disposition: form-data; name=\"token\"\r\n\r\n" + author.Token +
			"\r\n--x\r\nContent-Disposition: form-data; name=\"data\"; filename=\"a.mp4\"\r\n\r\n" + string(head)
		const finish = "\r\n--x--\r\n"
		for _, row := range []struct {
			name   string
			length int64
		}{{"announced", int64(len(start)) + size + int64(len(finish))}, {"unannounced", -1}} {
			t.Run(row.name, func(t *testing.T) {
				body := io.MultiReader(strings.NewReader(start), io.LimitReader(zeros{}, size), strings.NewReader(finish))
				request, err := http.NewRequest(http.MethodPost, w.Base+"/douyin/publish/action/", body)
				if err != nil {
					t.Fatal(err)
				}
				request.ContentLength = row.length
				request.Header.Set("Content-Type", "multipart/form-data; boundary=x")
				answer, err := w.Do(request)
				if err != nil {
					t.Fatal(err)
				}
				equal(t, "status_msg", harness.Refused(t, answer).StatusMsg, "视频不能超过256MB")
			})
		}
		equal(t, "videos of the author", len(w.works(t, author, author.ID)), 0)
	})
}

// 65: 30 MB are answered long before the app gives up, and play from anywhere in
// the file, also before they are processed.
func TestPublishThirtyMegabytes(t *testing.T) {
	eachAndNginx(t, func(t *testing.T, w *world) {
		author := w.Register(t)
		content := append(read(t, harness.Clip(t, harness.ClipOptions{MoovLast: true})), box("free", make([]byte, 30<<20))...)
		start := time.Now()
		harness.OK(t, w.upload(t, harness.NewForm().File("data", "a.mp4", content).Field("token", author.Token).Field("title", "大文件")))
		if took := time.Since(start); took >= 5*time.Second {
			t.Errorf("it took %v; the app waits 5 s", took)
		}
		w.checkPlayable(t, w.works(t, author, author.ID)[0].PlayURL)
		video := w.awaitWork(t, author, "大文件")
		played := w.checkPlayable(t, video.PlayURL)
		if moov, mdat := strings.Index(played, "moov"), strings.Index(played, "mdat"); moov < 0 || mdat < moov {
			t.Errorf("moov at %d, mdat at %d: it can't play while it loads", moov, mdat)
		}
		cover, header := fetch(t, w, video.CoverURL)
		if header.Get("Content-Type") != "image/jpeg" || len(cover) < 1000 {
			t.Errorf("the cover is %s of %d bytes", header.Get("Content-Type"), len(cover))
		}
	})
}

// checkPlayable holds what a player needs against a URL and returns the file.
func (w *world) checkPlayable(t *testing.T, link string) string {
	t.Helper()
	whole, header := fetch(t, w, link)
	equal(t, "Content-Type", header.Get("Content-Type"), "video/mp4")
	equal(t, "Accept-Ranges", header.Get("Accept-Ranges"), "bytes")
	equal(t, "Content-Length", header.Get("Content-Length"), fmt.Sprint(len(whole)))
	for _, row := range []struct {
		ask      string
		from, to int
		http     int
	}{
		{"bytes=0-0", 0, 1, 206},
		{"bytes=100-199", 100, 200, 206},
		{"bytes=-50", len(whole) - 50, len(whole), 206},
		{fmt.Sprintf("bytes=%d-", len(whole)-10), len(whole) - 10, len(whole), 206},
		{fmt.Sprintf("bytes=%d-", len(whole)), 0, 0, 416},
	} {
		request, err := http.NewRequest(http.MethodGet, link, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Range", row.ask)
		response, err := w.HTTP.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "HTTP of "+row.ask, response.StatusCode, row.http)
		if row.http == 206 {
			equal(t, "the bytes of "+row.ask, string(body) == whole[row.from:row.to], true)
			equal(t, "Content-Range", response.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-%d/%d", row.from, row.to-1, len(whole)))
		}
	}
	return whole
}

// Garbage with a good head slips through the first look. It ends failed: in no
// list, and its author hears of it once, from an account nobody can answer.
func TestPublishGarbage(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		author, stranger := w.Register(t), w.Register(t)
		garbage := append(slices.Clone(head), strings.Repeat("garbage ", 5000)...)
		const title = "坏掉的视频 <b>../x"
		harness.OK(t, w.upload(t, harness.NewForm().File("data", "a.mp4", garbage).Field("token", author.Token).Field("title", title)))
		var notice harness.Message
		harness.Eventually(t, time.Minute, func() error {
			messages := w.chat(t, author, model.SystemUserID, 0)
			if len(messages) == 0 {
				return fmt.Errorf("no message")
			}
			notice = messages[0]
			return nil
		}, "the notice")
		if !strings.Contains(notice.Content, title) || !strings.HasSuffix(notice.Content, "无法识别的视频文件") || notice.FromUserID != model.SystemUserID {
			t.Errorf("the notice is %+v", notice)
		}
		equal(t, "in the author's list", len(w.works(t, author, author.ID)), 0)
		for _, v := range harness.OK(t, w.Get(t, "/douyin/feed/", "token", author.Token)).VideoList {
			equal(t, "in the feed", v.Author.ID == author.ID, false)
		}
		equal(t, "work_count", w.Profile(t, author, author.ID).WorkCount, 0)

		t.Run("the system account is a friend of those it wrote to", func(t *testing.T) {
			friends := w.friends(t, author)
			if len(friends) != 1 || friends[0].ID != model.SystemUserID || friends[0].Name != model.SystemUserName ||
				friends[0].Message != notice.Content || friends[0].MsgType != 0 {
				t.Errorf("got %+v", friends)
			}
			equal(t, "friends of others", len(w.friends(t, stranger)), 0)
			fetch(t, w, friends[0].Avatar)
		})
		t.Run("it can't be followed or written to", func(t *testing.T) {
			harness.Refused(t, w.follow(t, author, model.SystemUserID, do))
			harness.Refused(t, w.send(t, author, model.SystemUserID, "为什么？"))
			equal(t, "follows", len(w.follows(t, author, author.ID)), 0)
		})
		t.Run("it wrote once, and only of what failed", func(t *testing.T) {
			w.PublishAndAwait(t, author, harness.Clip(t, harness.ClipOptions{Seconds: 1, Silent: true, Width: 64, Height: 64}), "好视频")
			equal(t, "messages", len(w.chat(t, author, model.SystemUserID, 0)), 1)
			equal(t, "a poll since", len(w.chat(t, author, model.SystemUserID, notice.CreateTime)), 0)
		})
	})
}

// D13: what is still processing is its author's alone. A webm must be transcoded,
// which takes long enough to look, and comes out as what phones play.
func TestPublishWebm(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		author, stranger := w.Register(t), w.Register(t)
		content := read(t, harness.Clip(t, harness.ClipOptions{Codec: "vp9", Seconds: 10, Width: 720, Height: 1280}))
		harness.OK(t, w.upload(t, harness.NewForm().File("data", "a.webm", content).Field("token", author.Token).Field("title", "转码")))
		mine := w.works(t, author, author.ID)
		if len(mine) != 1 {
			t.Fatalf("its author sees %v", titles(mine))
		}
		fetch(t, w, mine[0].CoverURL)
		if original, _ := fetch(t, w, mine[0].PlayURL); original != string(content) {
			t.Error("while it is processing it plays something else than the original")
		}
		id := mine[0].ID
		harness.Refused(t, w.like(t, stranger, id, do))
		harness.Refused(t, w.comment(t, stranger, id, "我看到了"))
		harness.Refused(t, w.Get(t, "/douyin/comment/list/", "token", stranger.Token, "video_id", id))
		harness.OK(t, w.like(t, author, id, do))
		equal(t, "strangers see", len(w.works(t, stranger, author.ID)), 0)
		equal(t, "strangers see among the author's likes", len(w.likes(t, stranger, author.ID)), 0)
		equal(t, "the author sees among own likes", len(w.likes(t, author, author.ID)), 1)

		video := w.awaitWork(t, author, "转码")
		equal(t, "its id", video.ID, id)
		played := w.checkPlayable(t, video.PlayURL)
		equal(t, "codecs", codecs(t, played), "h264,aac")
		harness.OK(t, w.like(t, stranger, id, do))
		harness.OK(t, w.comment(t, stranger, id, "现在看到了"))
	})
}

// codecs asks ffprobe for the codecs of a file, video first.
func codecs(t *testing.T, content string) string {
	t.Helper()
	cmd := exec.Command("ffprobe", "-v", "error", "-show_entries", "stream=codec_name", "-of", "csv=p=0", "-")
	cmd.Stdin = strings.NewReader(content)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("ffprobe: %v\n%s", err, out)
	}
	return strings.Join(strings.Fields(string(out)), ",")
}

// Nothing but media is served under /media/, whatever a path says.
func TestMediaPaths(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		_, video := w.sharedVideo(t)
		key := strings.TrimPrefix(video.PlayURL, w.Base+"/media/")
		for _, path := range []string{
			"", "video", "video/", "nothing.mp4", "../data/token.keys", "..%2f..%2ftoken.keys", "%2e%2e/%2e%2e/etc/passwd", "video/../../../etc/passwd",
			"/etc/passwd", key + "/", key + "%00", strings.ToUpper(key), key + "/../../x", url.PathEscape(key + "\r\nX-Injected: 1"),
		} {
			t.Run(path, func(t *testing.T) {
				conn, err := net.Dial("tcp", strings.TrimPrefix(w.Base, "http://"))
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				if _, err := fmt.Fprintf(conn, "GET /media/%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", path); err != nil {
					t.Fatal(err)
				}
				response, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if err != nil {
					t.Fatal(err)
				}
				defer response.Body.Close()
				equal(t, "HTTP", response.StatusCode, 404)
				equal(t, "X-Injected", response.Header.Get("X-Injected"), "")
			})
		}
	})
}
