package local_test

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/redis/go-redis/v9"
	clientv3 "go.etcd.io/etcd/client/v3"

	"backbeat/deploy/local"
	"backbeat/test/harness"
)

// kept is what the tests write; every server has to give it back.
const kept = "用户🎬"

// servers are all that keep data.
var servers = []struct {
	name  string
	start func(ctx context.Context, dir string, opts local.Options) (*local.Server, error)
	write func(ctx context.Context, s *local.Server) error
	read  func(ctx context.Context, s *local.Server) (string, error)
}{
	{"mariadb", local.StartMariaDB, writeSQL, readSQL},
	{"postgres", local.StartPostgres, writeSQL, readSQL},
	{"redis", local.StartRedis, writeRedis, readRedis},
	{"etcd", local.StartEtcd, writeEtcd, readEtcd},
	{"rabbitmq", startRabbitMQ, writeRabbitMQ, readRabbitMQ},
	{"s3", startS3, writeS3, readS3},
}

func TestDataSurvives(t *testing.T) {
	ends := []struct {
		name string
		end  func(*local.Server) error
	}{
		{"kill", (*local.Server).Kill},
		{"stop", (*local.Server).Stop},
	}
	for _, server := range servers {
		t.Run(server.name, func(t *testing.T) {
			s := start(t, server.start)
			if err := server.write(t.Context(), s); err != nil {
				t.Fatal(err)
			}
			for _, e := range ends {
				pids := s.PIDs()
				if err := e.end(s); err != nil {
					t.Fatalf("%s: %v", e.name, err)
				}
				mustBeGone(t, e.name, pids)
				if _, err := net.Dial("tcp", s.Addr); err == nil {
					t.Fatalf("after %s something listens on %s still", e.name, s.Addr)
				}
				if err := s.Start(t.Context()); err != nil {
					t.Fatalf("starting after %s: %v", e.name, err)
				}
				if got, err := server.read(t.Context(), s); got != kept || err != nil {
					t.Fatalf("after %s: read %q, %v; want %q", e.name, got, err, kept)
				}
			}
		})
	}
}

// A later process finds the data of an earlier one and takes other ports.
func TestDataOutliveTheirPorts(t *testing.T) {
	for _, server := range servers {
		t.Run(server.name, func(t *testing.T) {
			first := start(t, server.start)
			if err := server.write(t.Context(), first); err != nil {
				t.Fatal(err)
			}
			if err := first.Stop(); err != nil {
				t.Fatal(err)
			}
			second, err := server.start(t.Context(), first.Dir, local.Options{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := second.Kill(); err != nil {
					t.Error(err)
				}
			})
			if second.Addr == first.Addr {
				t.Fatalf("both on %s", second.Addr)
			}
			if got, err := server.read(t.Context(), second); got != kept || err != nil {
				t.Errorf("read %q, %v; want %q", got, err, kept)
			}
		})
	}
}

func TestWipeForgets(t *testing.T) {
	for _, server := range servers {
		t.Run(server.name, func(t *testing.T) {
			s := start(t, server.start)
			if err := server.write(t.Context(), s); err != nil {
				t.Fatal(err)
			}
			if err := s.Wipe(); err != nil {
				t.Fatal(err)
			}
			if err := s.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got, err := server.read(t.Context(), s); err == nil {
				t.Fatalf("read %q after the wipe", got)
			}
			if err := server.write(t.Context(), s); err != nil {
				t.Fatalf("writing after the wipe: %v", err)
			}
		})
	}
}

func TestPausedServerIsSilentUntilResumed(t *testing.T) {
	for _, server := range servers {
		t.Run(server.name, func(t *testing.T) {
			s := start(t, server.start)
			if err := server.write(t.Context(), s); err != nil {
				t.Fatal(err)
			}
			if err := s.Pause(); err != nil {
				t.Fatal(err)
			}
			conn, err := net.Dial("tcp", s.Addr)
			if err != nil {
				t.Fatalf("a paused server refuses connections: %v", err)
			}
			defer conn.Close()
			if server.name != "mariadb" { // which speaks first
				if _, err := io.WriteString(conn, "PING\r\n\r\n\r\n\r\n"); err != nil {
					t.Fatal(err)
				}
			}
			if err := conn.SetReadDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
				t.Fatal(err)
			}
			if n, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("a paused server answered: %d bytes, %v", n, err)
			}
			if err := s.Resume(); err != nil {
				t.Fatal(err)
			}
			if got, err := server.read(t.Context(), s); got != kept || err != nil {
				t.Fatalf("resumed: read %q, %v; want %q", got, err, kept)
			}
		})
	}
}

func TestJaegerAnswersAndStops(t *testing.T) {
	j := harness.Jaeger(t)
	pids := j.PIDs()
	if err := j.Stop(); err != nil {
		t.Fatal(err)
	}
	mustBeGone(t, "stop", pids)
}

func TestFailedStartTellsWhyAndLeavesNothing(t *testing.T) {
	s, err := local.StartRedis(t.Context(), t.TempDir(), local.Options{Args: []string{"--no-such-directive", "1"}})
	if err == nil {
		t.Fatal("Redis started with a bad directive")
	}
	if !strings.Contains(err.Error(), "no-such-directive") {
		t.Errorf("the error doesn't hold what Redis printed: %v", err)
	}
	if pids := s.PIDs(); len(pids) > 0 {
		t.Errorf("processes are left: %v", pids)
	}
}

func TestStartOfARunningServerIsRefused(t *testing.T) {
	s := start(t, local.StartRedis)
	if err := s.Start(t.Context()); err == nil {
		t.Fatal("a running server was started again")
	}
	if err := writeRedis(t.Context(), s); err != nil {
		t.Fatalf("the refused start hurt the running server: %v", err)
	}
}

func TestCancelledStartLeavesNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s, err := local.StartEtcd(ctx, t.TempDir(), local.Options{})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want context.Canceled", err)
	}
	if pids := s.PIDs(); len(pids) > 0 {
		t.Fatalf("processes are left: %v", pids)
	}
}

func TestFreePortIsPromisedOnce(t *testing.T) {
	seen := map[int]bool{}
	for range 200 {
		port := harness.FreePort(t)
		if seen[port] {
			t.Fatalf("port %d was given twice", port)
		}
		seen[port] = true
	}
}

func TestInstallRefusesUnknownPackages(t *testing.T) {
	if err := local.Install(t.Context(), "no-such-package"); err == nil {
		t.Fatal("an unknown package was installed")
	}
}

// TestMain turns this program into a parent of servers when a test asks for one.
func TestMain(m *testing.M) {
	if os.Getenv("BACKBEAT_TEST_PARENT") != "" {
		parent()
		return
	}
	os.Exit(m.Run())
}

// parent starts every server, prints their process ids and waits to be killed.
func parent() {
	detach := os.Getenv("BACKBEAT_TEST_PARENT") == "detach"
	for _, server := range servers {
		dir := filepath.Join(os.Getenv("BACKBEAT_TEST_DIR"), server.name)
		s, err := server.start(context.Background(), dir, local.Options{Detach: detach})
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		for _, pid := range s.PIDs() {
			fmt.Println(pid)
		}
	}
	fmt.Println("ready")
	select {}
}

func TestServersDieWithTheirParent(t *testing.T) {
	pids := killedParentOf(t, "attach")
	mustBeGone(t, "their parent's death", pids)
}

func TestDetachedServersOutliveTheirParent(t *testing.T) {
	for _, pid := range killedParentOf(t, "detach") {
		if !running(pid) {
			t.Errorf("process %d died with its parent", pid)
		}
		if err := local.Terminate(pid, syscall.SIGTERM, 20*time.Second); err != nil {
			t.Error(err)
		}
		mustBeGone(t, "Terminate", []int{pid})
	}
}

// killedParentOf starts all servers from another process, kills that one and
// returns the servers' process ids.
func killedParentOf(t *testing.T, mode string) (pids []int) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), "BACKBEAT_TEST_PARENT="+mode, "BACKBEAT_TEST_DIR="+folder(t))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait() //nolint:errcheck // it is killed, and that is the error
	defer cmd.Process.Kill()
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "ready" {
		pid, err := strconv.Atoi(lines.Text())
		if err != nil {
			t.Fatal(lines.Text())
		}
		pids = append(pids, pid)
	}
	if lines.Text() != "ready" || len(pids) < len(servers) {
		t.Fatalf("the parent ended early, with %d processes", len(pids))
	}
	return pids
}

func start(t *testing.T, start func(context.Context, string, local.Options) (*local.Server, error)) *local.Server {
	t.Helper()
	s, err := start(t.Context(), folder(t), local.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Kill(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// folder is one that PostgreSQL's user can enter, unlike t.TempDir.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "backbeat-local-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// What a process starts while it is being killed must not live on.
func TestKillMissesNoChild(t *testing.T) {
	const script = "for i in {1..400}; do sleep 60.25 & done; wait"
	family := func() (members []string) {
		for _, command := range processes(t) {
			if strings.Contains(command, "sleep 60.25") {
				members = append(members, command)
			}
		}
		return members
	}
	for range 5 {
		parent := exec.Command("bash", "-c", script)
		if err := parent.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- parent.Wait() }()
		harness.Eventually(t, 10*time.Second, func() error {
			if members := family(); len(members) < 2 {
				return fmt.Errorf("there are %q", members)
			}
			return nil
		}, "starting")
		if err := local.Terminate(parent.Process.Pid, syscall.SIGKILL, 10*time.Second); err != nil {
			t.Fatal(err)
		}
		<-ended
		harness.Eventually(t, 10*time.Second, func() error { // a minute is what they have
			if left := family(); len(left) > 0 {
				return fmt.Errorf("%q run still", left)
			}
			return nil
		}, "killing")
	}
}

// processes returns the commands of all that run.
func processes(t *testing.T) (commands []string) {
	t.Helper()
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline") // the pattern is sound
	for _, file := range files {
		if command, err := os.ReadFile(file); err == nil && running(pidOf(file)) {
			commands = append(commands, strings.ReplaceAll(string(command), "\x00", " "))
		}
	}
	return commands
}

func pidOf(file string) int {
	pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file))) // the pattern asked for digits
	return pid
}

func mustBeGone(t *testing.T, after string, pids []int) {
	t.Helper()
	for _, pid := range pids {
		harness.Eventually(t, 5*time.Second, func() error {
			if running(pid) {
				return fmt.Errorf("process %d runs", pid)
			}
			return nil
		}, "gone after "+after)
	}
}

// running reports whether a process exists and isn't a corpse waiting for the
// machine's init to collect it.
func running(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

func startRabbitMQ(ctx context.Context, dir string, opts local.Options) (*local.Server, error) {
	s, err := local.StartRabbitMQ(ctx, dir, opts)
	if err != nil {
		return nil, err
	}
	return s.Server, nil
}

func startS3(ctx context.Context, dir string, opts local.Options) (*local.Server, error) {
	s, err := local.StartS3(ctx, dir, opts)
	if err != nil {
		return nil, err
	}
	return s.Server, nil
}

func withSQL(s *local.Server, use func(*sql.DB) error) error {
	db, err := harness.Connect(s.URL)
	if err != nil {
		return err
	}
	return errors.Join(use(db), db.Close())
}

func writeSQL(ctx context.Context, s *local.Server) error {
	return withSQL(s, func(db *sql.DB) error {
		if _, err := db.ExecContext(ctx, "CREATE TABLE words (word varchar(20))"); err != nil {
			return err
		}
		_, err := db.ExecContext(ctx, "INSERT INTO words VALUES ('"+kept+"')")
		return err
	})
}

func readSQL(ctx context.Context, s *local.Server) (word string, err error) {
	err = withSQL(s, func(db *sql.DB) error {
		return db.QueryRowContext(ctx, "SELECT word FROM words").Scan(&word)
	})
	return word, err
}

func writeRedis(ctx context.Context, s *local.Server) error {
	client := redis.NewClient(&redis.Options{Addr: s.URL})
	defer client.Close()
	return client.Set(ctx, "word", kept, 0).Err()
}

func readRedis(ctx context.Context, s *local.Server) (string, error) {
	client := redis.NewClient(&redis.Options{Addr: s.URL})
	defer client.Close()
	return client.Get(ctx, "word").Result()
}

func withEtcd(s *local.Server, use func(*clientv3.Client) error) error {
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{s.URL}, DialTimeout: 5 * time.Second})
	if err != nil {
		return err
	}
	return errors.Join(use(client), client.Close())
}

func writeEtcd(ctx context.Context, s *local.Server) error {
	return withEtcd(s, func(client *clientv3.Client) error {
		_, err := client.Put(ctx, "word", kept)
		return err
	})
}

func readEtcd(ctx context.Context, s *local.Server) (word string, err error) {
	err = withEtcd(s, func(client *clientv3.Client) error {
		got, err := client.Get(ctx, "word")
		if err != nil {
			return err
		}
		if len(got.Kvs) == 0 {
			return errors.New("no such key")
		}
		word = string(got.Kvs[0].Value)
		return nil
	})
	return word, err
}

func withRabbitMQ(s *local.Server, use func(*amqp.Channel) error) error {
	conn, err := amqp.Dial(s.URL)
	if err != nil {
		return err
	}
	defer conn.Close()
	channel, err := conn.Channel()
	if err != nil {
		return err
	}
	return use(channel)
}

func writeRabbitMQ(ctx context.Context, s *local.Server) error {
	return withRabbitMQ(s, func(channel *amqp.Channel) error {
		if _, err := channel.QueueDeclare("words-that-last", true, false, false, false, nil); err != nil {
			return err
		}
		if err := channel.Confirm(false); err != nil {
			return err
		}
		confirm, err := channel.PublishWithDeferredConfirmWithContext(ctx, "", "words-that-last", true, false,
			amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte(kept)})
		if err != nil {
			return err
		}
		if acked, err := confirm.WaitContext(ctx); !acked || err != nil {
			return fmt.Errorf("not confirmed: %w", err)
		}
		return declared(ctx, s, "words-that-last")
	})
}

// declared waits until the declaration of a queue is on disk, which RabbitMQ 3.10
// confirms some time before. It comes there in several writes, so they have to have
// ended for three seconds too: a slow machine pauses between them.
func declared(ctx context.Context, s *local.Server, queue string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	written, ended := 0, time.Now()
	for {
		tables, err := filepath.Glob(filepath.Join(s.Dir, "data", "*", "*"))
		if err != nil {
			return err
		}
		found, size := false, 0
		for _, table := range tables {
			switch filepath.Ext(table) {
			case ".LOG", ".DCD", ".DCL": // Mnesia's
				if content, err := os.ReadFile(table); err == nil {
					found = found || bytes.Contains(content, []byte(queue))
					size += len(content)
				}
			}
		}
		if !found || size != written {
			written, ended = size, time.Now()
		}
		if time.Since(ended) >= 3*time.Second {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the queue %q is not in %q: %w", queue, tables, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// readRabbitMQ looks at the message and leaves it in the queue.
func readRabbitMQ(_ context.Context, s *local.Server) (word string, err error) {
	err = withRabbitMQ(s, func(channel *amqp.Channel) error {
		message, ok, err := channel.Get("words-that-last", false)
		if err != nil {
			return err
		}
		if !ok {
			return errors.New("the queue is empty")
		}
		word = string(message.Body)
		return message.Nack(false, true)
	})
	return word, err
}

func s3Client(s *local.Server) (*minio.Client, error) {
	return minio.New(s.Addr, &minio.Options{Creds: credentials.NewStaticV4("backbeat", "backbeat-secret", "")})
}

func writeS3(ctx context.Context, s *local.Server) error {
	client, err := s3Client(s)
	if err != nil {
		return err
	}
	if err := client.MakeBucket(ctx, "words", minio.MakeBucketOptions{}); err != nil {
		return err
	}
	_, err = client.PutObject(ctx, "words", "word", strings.NewReader(kept), int64(len(kept)), minio.PutObjectOptions{})
	return err
}

func readS3(ctx context.Context, s *local.Server) (string, error) {
	client, err := s3Client(s)
	if err != nil {
		return "", err
	}
	object, err := client.GetObject(ctx, "words", "word", minio.GetObjectOptions{})
	if err != nil {
		return "", err
	}
	defer object.Close()
	word, err := io.ReadAll(object)
	return string(word), err
}
