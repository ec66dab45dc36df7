package command

import (
	"regexp"
	"strings"
	"testing"

	"backbeat/app/boot"
	"backbeat/config"
	"backbeat/test/harness"
)

// An operator looks after people, videos and counters from the command line.
func TestOperating(t *testing.T) {
	environ := []string{"BACKBEAT_DATA_DIR=" + t.TempDir()}
	if _, err := execute(t, environ, "doctor"); err == nil || !strings.Contains(err.Error(), "migrate up") {
		t.Errorf("of an empty folder the doctor says %v", err)
	}
	shown, err := execute(t, environ, "seed", "-users", "3", "-videos", "2", "-likes", "2", "-comments", "2", "-follows", "2", "-messages", "2",
		"-clip", harness.Clip(t, harness.ClipOptions{}))
	if err != nil {
		t.Fatalf("%s, %v", shown, err)
	}
	name := regexp.MustCompile(`Log in as "(\w+)"`).FindStringSubmatch(shown)[1]
	cfg, err := config.Load("", environ)
	if err != nil {
		t.Fatal(err)
	}
	db, _, closeStores, err := boot.OpenStores(cfg, harness.Logger(t))
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	if err := db.Table("videos").Pluck("id", &ids).Error; err != nil {
		t.Fatal(err)
	}
	if err := db.Exec("UPDATE favorite_videos SET likes = likes + 5").Error; err != nil {
		t.Fatal(err)
	}
	if err := closeStores(); err != nil {
		t.Fatal(err)
	}
	unreachable := append([]string{"BACKBEAT_REDIS_ADDR=127.0.0.1:1"}, environ...)
	if _, err := execute(t, unreachable, "doctor"); err == nil || !strings.Contains(err.Error(), "shared-cache") {
		t.Errorf("without Redis the doctor says %v", err)
	}
	for _, row := range []struct {
		name  string
		args  []string
		shows string
		fails string
	}{
		{"an account", []string{"user", "show", name}, name, ""},
		{"nobody", []string{"user", "show", "nobody"}, "", "用户不存在"},
		{"log out", []string{"user", "log-out", name}, "log in again", ""},
		{"log out nobody", []string{"user", "log-out", "nobody"}, "", "用户不存在"},
		{"a password", []string{"user", "reset-password", name}, "is now", ""},
		{"no such verb", []string{"user", "delete", name}, "", "user takes"},
		{"a video", []string{"video", "show", ids[0]}, "state:     published", ""},
		{"no video", []string{"video", "show", "1"}, "", "reading video 1"},
		{"hide", []string{"video", "hide", ids[0]}, "hidden", ""},
		{"it is hidden", []string{"video", "show", ids[0]}, "state:     hidden", ""},
		{"hide it twice", []string{"video", "hide", ids[0]}, "", "视频未发布"},
		{"show it again", []string{"video", "unhide", ids[0]}, "published again", ""},
		{"process it anew", []string{"video", "reprocess", ids[0]}, "", "视频不在处理中"},
		{"what is wrong", []string{"doctor"}, "favorite_videos.likes says", "findings"},
		{"mend it", []string{"doctor", "-fix"}, "mended", ""},
		{"servers are looked at", []string{"doctor"}, "media: sound", ""},
		{"nothing is wrong", []string{"doctor"}, "counters: sound", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			shown, err := execute(t, environ, row.args...)
			if (err != nil) != (row.fails != "") || err != nil && !strings.Contains(err.Error(), row.fails) {
				t.Fatalf("got %v", err)
			}
			if !strings.Contains(shown, row.shows) {
				t.Errorf("got %s", shown)
			}
		})
	}
}

// In a cluster the doctor asks every server, also those it has only begun to connect
// to.
func TestTheDoctorOfACluster(t *testing.T) {
	environ := []string{
		"BACKBEAT_DATA_DIR=" + t.TempDir(), "BACKBEAT_AMQP_URL=" + harness.RabbitMQ(t),
		"BACKBEAT_REDIS_ADDR=" + harness.Redis(t).URL, "BACKBEAT_ETCD_ENDPOINTS=" + harness.Etcd(t).URL,
	}
	if said, err := execute(t, environ, "doctor", "-fix"); err != nil {
		t.Fatalf("%s, %v", said, err)
	}
	said, err := execute(t, environ, "doctor")
	if err != nil {
		t.Fatalf("%s, %v", said, err)
	}
	for _, sound := range []string{"discovery", "database", "queue", "pending-likes", "shared-cache", "media", "counters"} {
		if !strings.Contains(said, sound+": sound\n") {
			t.Errorf("of %s it says nothing good:\n%s", sound, said)
		}
	}
	if strings.Contains(said, "INFO") {
		t.Errorf("it tells of its connections:\n%s", said)
	}
}
