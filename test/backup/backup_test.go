package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"gorm.io/gorm"

	"backbeat/app/boot"
	"backbeat/app/command"
	"backbeat/app/seed"
	"backbeat/config"
	"backbeat/test/harness"
)

// asProgram makes this test be backbeat, for a script that calls it.
const asProgram = "AS_BACKBEAT"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) == "" {
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	err := command.Execute(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// instance is everything in one process, on a database that the environment names.
type instance struct {
	environ []string
	cfg     *config.Config
	app     *harness.App
}

func newInstance(t *testing.T, dsn string) *instance {
	t.Helper()
	address := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	i := &instance{
		environ: []string{"BACKBEAT_DB_DSN=" + dsn, "BACKBEAT_DATA_DIR=" + t.TempDir(), "BACKBEAT_HTTP_LISTEN=" + address},
		app:     harness.NewApp("http://" + address),
	}
	var err error
	if i.cfg, err = config.Load("", i.environ); err != nil {
		t.Fatal(err)
	}
	return i
}

// run has do done while everything runs.
func (i *instance) run(t *testing.T, do func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	printed := &harness.Buffer{}
	go func() { ended <- command.Execute(ctx, []string{"run"}, i.environ, printed, printed) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	harness.Eventually(t, time.Minute, func() error {
		if !strings.Contains(printed.String(), "Ctrl-C") {
			return fmt.Errorf("it prints %s", printed)
		}
		return nil
	}, "starting everything")
	do()
}

// follow runs the page's command that has this verb, as it stands there.
func (i *instance) follow(t *testing.T, verb, folder string) (said string, err error) {
	t.Helper()
	page, err := os.ReadFile("../../deploy/backup.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?m)^ *(deploy/backup\\.sh "+verb+" .*)$").FindAllSubmatch(page, -1)
	if len(found) != 1 {
		t.Fatalf("the page says %d times how to %s", len(found), verb)
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	shell := exec.CommandContext(t.Context(), "sh", "-c", string(found[0][1]))
	shell.Dir = "../.."
	shell.Env = append(i.environ, "PATH="+os.Getenv("PATH"), "FOLDER="+folder, "PROGRAM="+program, asProgram+"=1")
	output, err := shell.CombinedOutput()
	return string(output), err
}

// database opens the instance's, and closes it after do.
func (i *instance) database(t *testing.T, do func(db *gorm.DB)) {
	t.Helper()
	db, closeDB, err := boot.OpenDatabase(t.Context(), i.cfg, harness.Logger(t))
	if err != nil {
		t.Fatal(err)
	}
	do(db)
	if err := closeDB(); err != nil {
		t.Error(err)
	}
}

// rows counts those of every table.
func (i *instance) rows(t *testing.T) map[string]int64 {
	t.Helper()
	counts := map[string]int64{}
	i.database(t, func(db *gorm.DB) {
		tables, err := db.Migrator().GetTables()
		if err != nil {
			t.Fatal(err)
		}
		for _, table := range tables {
			var n int64
			if err := db.Table(table).Count(&n).Error; err != nil {
				t.Fatal(err)
			}
			counts[table] = n
		}
	})
	return counts
}

// wipe destroys what the instance keeps.
func (i *instance) wipe(t *testing.T) {
	t.Helper()
	if path, is := strings.CutPrefix(i.cfg.DB.DSN, "sqlite:"); is {
		for _, suffix := range []string{"", "-wal", "-shm"} {
			if err := os.Remove(path + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
		}
	} else {
		i.database(t, func(db *gorm.DB) {
			tables, err := db.Migrator().GetTables()
			if err != nil {
				t.Fatal(err)
			}
			for _, table := range tables {
				if err := db.Migrator().DropTable(table); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
	if err := os.RemoveAll(i.cfg.Data.Dir); err != nil {
		t.Fatal(err)
	}
}

// pages returns what the app shows to a viewer, a video's bytes among it.
func (i *instance) pages(t *testing.T, as harness.Account) map[string]string {
	t.Helper()
	shown := map[string]string{}
	feed := i.app.Get(t, "/douyin/feed/", "token", as.Token)
	if len(feed.VideoList) == 0 {
		t.Fatalf("the feed is %s", feed.Raw)
	}
	for _, path := range []string{"user", "publish/list", "favorite/list", "relation/follow/list", "relation/follower/list", "relation/friend/list"} {
		answer := i.app.Get(t, "/douyin/"+path+"/", "token", as.Token, "user_id", as.ID)
		if answer.StatusCode != 0 || answer.Header.Get("Backbeat-Degraded") != "" {
			t.Fatalf("%s: %s", path, answer.Raw)
		}
		shown[path] = answer.Raw
	}
	for _, v := range feed.VideoList {
		shown[fmt.Sprint("video ", v.ID)] = fmt.Sprintf("%+v", v)
		shown[fmt.Sprint("comments of ", v.ID)] = i.app.Get(t, "/douyin/comment/list/", "token", as.Token, "video_id", v.ID).Raw
	}
	file, err := http.Get(feed.VideoList[0].PlayURL)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Body.Close()
	var content bytes.Buffer
	if _, err := content.ReadFrom(file.Body); err != nil || file.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", feed.VideoList[0].PlayURL, file.Status, err)
	}
	shown["file"] = content.String()
	return shown
}

func TestBackup(t *testing.T) {
	clip := harness.Clip(t, harness.ClipOptions{})
	for _, database := range harness.Databases() {
		t.Run(database.Name, func(t *testing.T) {
			i := newInstance(t, database.Open(t))
			var out bytes.Buffer
			const users = 20
			err := command.Execute(t.Context(), []string{"seed", "-users", fmt.Sprint(users), "-videos", "5", "-likes", "60", "-comments", "30",
				"-follows", "60", "-messages", "30", "-clip", clip}, i.environ, &out, &out)
			if err != nil {
				t.Fatalf("%v\n%s", err, &out)
			}
			folder := filepath.Join(t.TempDir(), "backup")
			viewer := harness.Account{Name: seed.Name(0, users)}
			var before map[string]string
			i.run(t, func() {
				answer := i.app.Post(t, "/douyin/user/login/", "username", viewer.Name, "password", seed.Password)
				if viewer.ID, viewer.Token = answer.UserID, answer.Token; answer.StatusCode != 0 {
					t.Fatal(answer.Raw)
				}
				before = i.pages(t, viewer)
				if said, err := i.follow(t, "save", folder); err != nil {
					t.Fatalf("saving: %v\n%s", err, said)
				}
			})
			held := i.rows(t)
			if len(held) < 10 {
				t.Errorf("there are only the tables %v", held)
			}
			if said, err := i.follow(t, "restore", folder); err == nil {
				t.Errorf("it restores over what is there: %s", said)
			}
			if said, err := i.follow(t, "save", folder); err == nil {
				t.Errorf("it saves over an older backup: %s", said)
			}
			if after := i.rows(t); !reflect.DeepEqual(held, after) {
				t.Errorf("refusing changed %v to %v", held, after)
			}

			i.wipe(t)
			if said, err := i.follow(t, "restore", folder); err != nil {
				t.Fatalf("restoring: %v\n%s", err, said)
			}
			if after := i.rows(t); !reflect.DeepEqual(held, after) {
				t.Errorf("rows were %v and are %v", held, after)
			}
			i.run(t, func() {
				after := i.pages(t, viewer)
				for page, was := range before {
					if after[page] != was {
						t.Errorf("%s was\n%.500s\nand is\n%.500s", page, was, after[page])
					}
				}
				answer := i.app.Post(t, "/douyin/user/login/", "username", viewer.Name, "password", seed.Password)
				if answer.StatusCode != 0 {
					t.Errorf("after all that: %s", answer.Raw)
				}
			})
		})
	}
}

// What was cut off is not taken for a backup.
func TestAnIncompleteBackup(t *testing.T) {
	i := newInstance(t, harness.SQLite(t))
	if said, err := i.follow(t, "restore", t.TempDir()); err == nil || !strings.Contains(said, "no complete backup") {
		t.Errorf("%v: %s", err, said)
	}
	i = newInstance(t, "mysql://backbeat:p%40ss@127.0.0.1:1/backbeat")
	folder := filepath.Join(t.TempDir(), "backup")
	if said, err := i.follow(t, "save", folder); err == nil {
		t.Errorf("of no server: %s", said)
	}
	if _, err := os.Stat(filepath.Join(folder, "complete")); err == nil {
		t.Error("without a database it is complete")
	}
}
