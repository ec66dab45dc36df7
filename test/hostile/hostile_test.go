package hostile_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	// The program that these tests run is built of this: without it go test would show,
	// from its cache, how they went with another one.
	_ "backbeat/app/command"
	"backbeat/deploy/local"
	"backbeat/model"
	"backbeat/test/harness"
	"backbeat/test/hostile"
)

// bound is how soon a hostile file must have ended, the uploads beside it
// included, where the machine does nothing else; it usually takes a tenth of that.
// Elsewhere patience is the bound.
const (
	bound    = 20 * time.Second
	patience = time.Minute
)

// everything asks for every cut, and for the bound.
var everything = os.Getenv("BACKBEAT_HOSTILE") == "all"

// site is one embedded Backbeat that only this test speaks to.
type site struct {
	*harness.App
	server *local.Server
	admin  string
	temp   string
	good   []byte
	// mustPlay are titles that everybody must see, mayPlay those that they may.
	mustPlay, mayPlay []string
}

func check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func open(t *testing.T) *site {
	t.Helper()
	program, err := harness.Program()
	check(t, err)
	dir := harness.Folder(t)
	temp := filepath.Join(dir, "temp")
	check(t, os.Mkdir(temp, 0o755))
	admin := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	server, err := local.StartEmbedded(t.Context(), filepath.Join(dir, "embedded"), program, []string{
		"TMPDIR=" + temp, "BACKBEAT_ADMIN_LISTEN=" + admin, "BACKBEAT_RPC_READ_BUDGET=3s", "BACKBEAT_RPC_WRITE_BUDGET=5s",
	}, local.Options{})
	check(t, err)
	t.Cleanup(func() { check(t, harness.End(server)) })
	good := hostile.Clip(t, harness.ClipOptions{Seconds: 1, Silent: true, Width: 64, Height: 64})
	return &site{App: harness.NewApp(server.URL), server: server, admin: admin, temp: temp, good: good}
}

// Each hostile file ends, with a reason that its author can read, while a good
// upload beside it is published; and when all have ended nothing of them is left.
// BACKBEAT_HOSTILE=all cuts clips off everywhere instead of here and there, one
// by one, and holds each to the bound.
func TestHostileUploadsEnd(t *testing.T) {
	s := open(t)
	stride, size := 16, 5
	if everything {
		stride, size = 1, 1
	}
	files := append(hostile.Files(t), hostile.Truncations(t, stride)...)
	// What opens with the first uploads and stays open is no leak.
	s.together(t, "warming up", files[:3])
	before := s.held(t)
	for i, group := range slices.Collect(slices.Chunk(files, size)) {
		name := fmt.Sprintf("group %d", i)
		t.Run(name, func(t *testing.T) { s.together(t, name, group) })
	}
	s.checkFeed(t)
	s.checkMedia(t)
	s.checkRest(t, before)
}

// together uploads the files and a good one, and waits until all have ended as
// they must.
func (s *site) together(t *testing.T, name string, files []hostile.File) {
	t.Helper()
	start := time.Now()
	waiting := map[string]harness.Account{}
	fates := map[string]hostile.Fate{}
	for i, file := range files {
		author, title := s.Register(t), fmt.Sprintf("%s %d", file.Name, i)
		answer := s.upload(t, author, title, file.Data)
		refused := answer.StatusCode != 0
		if refused != (file.Fate == hostile.Refused) || answer.HTTP != 200 || answer.StatusMsg == "" {
			t.Errorf("%s: HTTP %d, %s", file.Name, answer.HTTP, answer.Raw)
		}
		if refused {
			t.Logf("%s: refused after %dms: %s", title, time.Since(start).Milliseconds(), answer.StatusMsg)
			continue
		}
		waiting[title], fates[title] = author, file.Fate
	}
	author, title := s.Register(t), "好视频 "+name
	if answer := s.upload(t, author, title, s.good); answer.StatusCode != 0 {
		t.Fatalf("the good upload: %s", answer.Raw)
	}
	harness.Eventually(t, patience, func() error {
		if s.published(t, author) == "" {
			return fmt.Errorf("strangers don't see it")
		}
		return nil
	}, "publishing the good upload")
	t.Logf("a good upload beside it: published after %dms", time.Since(start).Milliseconds())
	s.mustPlay = append(s.mustPlay, title)
	for title, author := range waiting {
		s.await(t, author, title, fates[title], start)
	}
}

// await waits until the upload has ended as its fate is.
func (s *site) await(t *testing.T, author harness.Account, title string, fate hostile.Fate, start time.Time) {
	t.Helper()
	var link, reason string
	harness.Eventually(t, patience, func() error {
		if reason = s.reason(t, author, title); reason != "" {
			return nil
		}
		if link = s.published(t, author); link != "" {
			return nil
		}
		return fmt.Errorf("no end of it")
	}, "ending "+title)
	took := time.Since(start)
	if everything && took > bound {
		t.Errorf("%s took %s", title, took)
	}
	if reason != "" {
		t.Logf("%s: failed after %dms: %s", title, took.Milliseconds(), reason)
		return
	}
	t.Logf("%s: published after %dms", title, took.Milliseconds())
	s.mayPlay = append(s.mayPlay, title)
	response, err := s.HTTP.Get(link)
	check(t, err)
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	check(t, err)
	if bytes.Contains(content, []byte(hostile.Payload)) || bytes.Contains(content, []byte("PK\x03\x04")) {
		t.Errorf("%s: what is published holds more than the clip", title)
	}
	if fate != hostile.Harmless {
		t.Errorf("%s was published", title)
	}
}

func (s *site) upload(t *testing.T, as harness.Account, title string, content []byte) harness.Answer {
	t.Helper()
	answer, err := s.Upload(harness.NewForm().File("data", "a.mp4", content).Field("token", as.Token).Field("title", title))
	check(t, err)
	return answer
}

// published is where strangers play the only work of an author, "" for none.
func (s *site) published(t *testing.T, author harness.Account) string {
	t.Helper()
	answer := s.Get(t, "/douyin/publish/list/", "user_id", author.ID)
	if len(answer.VideoList) == 0 {
		return ""
	}
	return answer.VideoList[0].PlayURL
}

// reason is what the system account wrote to the author of the upload, without
// its title; "" for nothing.
func (s *site) reason(t *testing.T, author harness.Account, title string) string {
	t.Helper()
	answer := s.Get(t, "/douyin/message/chat/", "token", author.Token, "to_user_id", model.SystemUserID, "pre_msg_time", 0)
	if len(answer.MessageList) == 0 {
		return ""
	}
	before, reason, found := strings.Cut(answer.MessageList[0].Content, title)
	if !found || strings.Trim(reason, "》：") == "" {
		t.Errorf("the notice is %q", before+reason)
	}
	return strings.TrimLeft(reason, "》」”：: ")
}

// checkFeed walks through all pages of the feed: everything good is there, and
// nothing else.
func (s *site) checkFeed(t *testing.T) {
	t.Helper()
	seen, cursor := map[string]bool{}, int64(0)
	for {
		page := s.Get(t, "/douyin/feed/", "latest_time", cursor)
		for _, video := range page.VideoList {
			seen[video.Title] = true
		}
		if cursor = page.NextTime; len(page.VideoList) == 0 || cursor == 0 {
			break
		}
	}
	for _, title := range s.mustPlay {
		if !seen[title] {
			t.Errorf("not in the feed: %s", title)
		}
	}
	for _, title := range append(s.mustPlay, s.mayPlay...) {
		delete(seen, title)
	}
	if len(seen) > 0 {
		t.Errorf("in the feed: %v", seen)
	}
}

// checkMedia holds what is stored against what was published: a file to play, a
// cover, and the original, which is kept for a while.
func (s *site) checkMedia(t *testing.T) {
	t.Helper()
	want := len(s.mustPlay) + len(s.mayPlay)
	harness.Eventually(t, 20*time.Second, func() error {
		kinds := map[string]int{}
		for _, path := range filesIn(t, filepath.Join(s.server.Dir, "data", "media")) {
			kind, _, _ := strings.Cut(path, string(filepath.Separator))
			kinds[kind]++
		}
		for _, kind := range []string{"video", "play", "cover"} {
			if kinds[kind] != want {
				return fmt.Errorf("%d videos are published, stored are %v", want, kinds)
			}
		}
		return nil
	}, "storing nothing but what is published")
}

// checkRest looks for what a process can leave beside what it stores.
func (s *site) checkRest(t *testing.T, before map[string]int) {
	t.Helper()
	for _, folder := range []string{s.temp, filepath.Join(s.server.Dir, "data", "staging")} {
		harness.Eventually(t, 10*time.Second, func() error {
			if left := filesIn(t, folder); len(left) > 0 {
				return fmt.Errorf("left are %v", left)
			}
			return nil
		}, "leaving nothing in "+folder)
	}
	var after map[string]int
	harness.Eventually(t, time.Minute, func() error {
		after = s.held(t)
		for what, n := range after {
			if n > before[what] {
				return fmt.Errorf("before: %v, after: %v", before, after)
			}
		}
		return nil
	}, "giving everything back")
	t.Logf("before: %v, after: %v", before, after)
}

// filesIn returns the files under a folder, by their paths in it, and the folders
// of jobs.
func filesIn(t *testing.T, root string) []string {
	t.Helper()
	var found []string
	check(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && (!entry.IsDir() || strings.HasPrefix(entry.Name(), "job-")) {
			inside, err := filepath.Rel(root, path)
			found = append(found, inside)
			return err
		}
		return nil // files come and go under the walk
	}))
	return found
}

// held counts what the process holds when nobody speaks to it.
func (s *site) held(t *testing.T) map[string]int {
	t.Helper()
	s.HTTP.CloseIdleConnections()
	response, err := http.Get("http://" + s.admin + "/metrics")
	check(t, err)
	defer response.Body.Close()
	counts := map[string]int{}
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if name == "go_goroutines" {
			n, err := strconv.ParseFloat(value, 64)
			check(t, err)
			counts["goroutines"] = int(n)
		}
	}
	if len(counts) != 1 {
		t.Fatalf("the process shows %v", counts)
	}
	counts["children"] = 0
	for _, pid := range s.server.PIDs() {
		links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
		check(t, err)
		for _, link := range links {
			target, err := os.Readlink(link)
			// One that is gone was open a moment ago. Connections to the database are a
			// bounded pool, which fills as requests happen to meet.
			if err == nil && !strings.Contains(target, "/backbeat.db") {
				kind, _, _ := strings.Cut(target, ":[")
				counts["open "+kind]++
			}
		}
		lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
		check(t, err)
		for _, list := range lists {
			if children, err := os.ReadFile(list); err == nil { // a thread may end
				counts["children"] += len(strings.Fields(string(children)))
			}
		}
	}
	return counts
}
