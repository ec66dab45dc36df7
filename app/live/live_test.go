package live

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"

	"backbeat/config"
	"backbeat/deploy/local"
	"backbeat/test/harness"
)

// within is what is promised: a change applies in a second. A machine that is busy
// with -race gets some more.
const within = 2 * time.Second

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// process is one that follows live settings.
type process struct {
	rate atomic.Int64 // limits.user_rate in force
	log  harness.Buffer
}

// follow has the process follow what watch watches, until the test ends.
func follow(t *testing.T, base *config.Config, watch func(*Values)) *process {
	t.Helper()
	p := &process{}
	v := New(base, slog.New(slog.NewTextHandler(&p.log, nil)))
	must(t, v.Follow(func(cfg *config.Config) error {
		p.rate.Store(int64(cfg.Limits.UserRate))
		return nil
	}))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		watch(v)
	}()
	t.Cleanup(func() { <-ended })
	return p
}

func (p *process) has(t *testing.T, rate int64) {
	t.Helper()
	harness.Eventually(t, within, func() error {
		if now := p.rate.Load(); now != rate {
			return fmt.Errorf("the rate is %d", now)
		}
		return nil
	}, fmt.Sprint("a rate of ", rate))
}

func (p *process) says(t *testing.T, what string) {
	t.Helper()
	harness.Eventually(t, 10*time.Second, func() error {
		if !strings.Contains(p.log.String(), what) {
			return errors.New(p.log.String())
		}
		return nil
	}, "saying "+what)
}

// cluster is an etcd with processes that follow it.
type cluster struct {
	*Store
	etcd   *local.Server
	client *clientv3.Client
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	etcd := harness.Etcd(t)
	client := connect(t, etcd.Addr)
	return &cluster{NewStore(client, "/test", config.Default(), time.Now), etcd, client}
}

func connect(t *testing.T, addr string) *clientv3.Client {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{addr}, DialTimeout: time.Second})
	must(t, err)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func (c *cluster) process(t *testing.T) *process {
	t.Helper()
	store := NewStore(connect(t, c.etcd.Addr), "/test", config.Default(), time.Now)
	return follow(t, config.Default(), func(v *Values) { v.WatchStore(t.Context(), store) })
}

func (c *cluster) set(t *testing.T, key, value string) Change {
	t.Helper()
	change, _, err := c.Set(t.Context(), key, &value, "alice@ops", AnyRevision)
	must(t, err)
	return change
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, harness.LeakOptions()...) }

// What is set is in force everywhere in a second, and stays while etcd is away, lost
// its data or holds nonsense.
func TestWhatIsSetAppliesEverywhereAndStays(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	here, there := c.process(t), c.process(t)
	here.has(t, 50)
	c.set(t, "limits.user_rate", "80")
	here.has(t, 80)
	there.has(t, 80)
	here.says(t, "key=limits.user_rate old=50 new=80 by=alice@ops")
	c.process(t).has(t, 80) // one that starts later

	steps := []struct {
		name, key, value string
	}{
		{"no change at all", "limits.user_rate", "100"},
		{"another type", "limits.user_rate", `{"revision":9,"new":"many"}`},
		{"out of bounds", "limits.user_rate", `{"revision":9,"new":"-1"}`},
		{"an unknown key", "limits.rate", `{"revision":1,"new":"1"}`},
		{"a key of the start", "http.listen", `{"revision":1,"new":":1"}`},
		{"a secret", "token.keys", `{"revision":1,"new":"k1:hush"}`},
		{"a secret as it is", "redis.password", "hush"},
	}
	for _, step := range steps {
		t.Run(step.name, func(t *testing.T) {
			_, err := c.client.Put(t.Context(), c.values+step.key, step.value)
			must(t, err)
			here.says(t, "key="+step.key)
			burst := fmt.Sprint(200 + len(step.name))
			c.set(t, "limits.user_burst", burst) // what is sound applies beside it
			here.says(t, "new="+burst)
			here.has(t, 80)
		})
	}
	for _, step := range steps[3:] {
		if n := strings.Count(here.log.String(), "ignored, its last good value stays\" key="+step.key); n != 1 {
			t.Errorf("the fault of %s is logged %d times", step.key, n)
		}
	}
	if strings.Contains(here.log.String(), "hush") {
		t.Error("a secret is in the log")
	}

	must(t, c.etcd.Kill())
	here.says(t, "etcd is away")
	here.has(t, 80)
	must(t, c.etcd.Start(t.Context()))
	here.says(t, "etcd is back")
	change := c.set(t, "limits.user_rate", "90")
	here.has(t, 90)
	if change.Old == nil || change.Revision < 2 {
		t.Errorf("after the nonsense the change is %+v", change)
	}
	must(t, c.etcd.Wipe())
	must(t, c.etcd.Start(t.Context()))
	here.says(t, "etcd has lost it")
	there.says(t, "etcd has lost it")
	here.has(t, 90)
	c.set(t, "limits.user_rate", "95")
	here.has(t, 95)
	there.has(t, 95)
}

// A watch whose revision is compacted away goes on from what there is.
func TestCompactionHidesNothing(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	p := c.process(t)
	for rate := int64(60); rate < 65; rate++ {
		c.set(t, "limits.user_rate", fmt.Sprint(rate))
		put, err := c.client.Put(t.Context(), "/elsewhere", "")
		must(t, err)
		_, err = c.client.Compact(t.Context(), put.Header.Revision)
		must(t, err)
		p.has(t, rate)
	}
}

func TestUnsoundChangesAreNotStored(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	for _, row := range []struct{ name, key, value, fault string }{
		{"an unknown key", "limits.user_rat", "1", "no such key"},
		{"a key of the start", "http.listen", ":1", "at the start only"},
		{"a secret", "db.dsn", "mysql://a:hush@b/c", "at the start only"},
		{"no number", "limits.user_rate", "many", `"many" is no int`},
		{"out of bounds", "limits.user_rate", "-1", "limits.user_rate"},
		{"unsound beside another", "jaeger.sampler", "probabilistic", "jaeger.sampler_param"},
		{"no network", "limits.exempt", "127.0.0.1", "limits.exempt"},
		{"a path", "../values/x", "1", "no such key"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, _, err := c.Set(t.Context(), row.key, &row.value, "mallory", AnyRevision)
			if err == nil || !strings.Contains(err.Error(), row.fault) || strings.Contains(err.Error(), "hush") {
				t.Errorf("got %v", err)
			}
		})
	}
	found, err := c.client.Get(t.Context(), "/", clientv3.WithPrefix())
	must(t, err)
	if len(found.Kvs) > 0 {
		t.Errorf("stored: %v", found.Kvs)
	}
	c.set(t, "jaeger.sampler_param", "0.5")
	c.set(t, "jaeger.sampler", "probabilistic") // sound beside that
}

func TestHistoryAndRollback(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	const key = "limits.user_rate"
	for _, value := range []string{"60", "70", "070", "80"} { // the third is the second
		c.set(t, key, value)
	}
	back := func(to int64, revision int64, value string) {
		t.Helper()
		change, changed, err := c.Rollback(t.Context(), key, to, "bob")
		must(t, err)
		got := "file"
		if change.New != nil {
			got = *change.New
		}
		if !changed || change.Revision != revision || got != value || change.By != "bob" {
			t.Errorf("revision %d by %s is %s, want %d and %s", change.Revision, change.By, got, revision, value)
		}
	}
	back(AnyRevision, 4, "70")
	back(1, 5, "60")
	back(0, 6, "file")
	held, err := c.Read(t.Context())
	must(t, err)
	if held.Config.Limits.UserRate != 50 || held.Changes[key].Revision != 6 {
		t.Errorf("after the rollback to the file it is %d, revision %d", held.Config.Limits.UserRate, held.Changes[key].Revision)
	}
	back(3, 7, "80")
	past, err := c.History(t.Context(), key)
	must(t, err)
	if len(past) != 7 || past[0].Revision != 7 || past[6].Old != nil || *past[6].New != "60" || past[6].By != "alice@ops" || time.Since(past[6].At) > time.Minute {
		t.Errorf("the history is %+v", past)
	}
	for name, ask := range map[string]func() error{
		"no such revision": func() error { _, _, err := c.Rollback(t.Context(), key, 8, "bob"); return err },
		"never changed":    func() error { _, _, err := c.Rollback(t.Context(), "log.level", AnyRevision, "bob"); return err },
		"no such key":      func() error { _, _, err := c.Rollback(t.Context(), "log", AnyRevision, "bob"); return err },
	} {
		if err := ask(); err == nil {
			t.Errorf("%s: rolled back", name)
		}
	}
	if _, changed, err := c.Rollback(t.Context(), key, 7, "bob"); err != nil || changed {
		t.Errorf("to what it is: changed %v, %v", changed, err)
	}
	for n := range mostKept + 5 {
		c.set(t, key, fmt.Sprint(100+n))
	}
	past, err = c.History(t.Context(), key)
	must(t, err)
	if len(past) != mostKept || past[0].Revision != mostKept+12 {
		t.Errorf("%d are kept, the latest is %d", len(past), past[0].Revision)
	}
}

// Operators at the same time: each change follows one that its author saw, of the
// same key only one is made, and other keys do not disturb.
func TestNobodyIsOverwrittenUnseen(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	const key = "limits.user_rate"
	results := make(chan error, 20)
	for n := range cap(results) / 2 {
		go func() {
			value := fmt.Sprint(100 + n)
			_, _, err := c.Set(t.Context(), key, &value, "somebody", 0)
			results <- err
		}()
		go func() {
			value := fmt.Sprint(100 + n)
			_, _, err := c.Set(t.Context(), []string{"limits.user_burst", "limits.address_rate", "limits.address_burst", "limits.registrations", "limits.login_failures", "circuit.requests", "circuit.error_percent", "cache.counts", "cache.pages", "cache.cards"}[n], text(n, value), "another", AnyRevision)
			results <- err
		}()
	}
	conflicts := 0
	for range cap(results) {
		if err := <-results; errors.Is(err, ErrConflict) {
			conflicts++
		} else if err != nil {
			t.Error(err)
		}
	}
	past, err := c.History(t.Context(), key)
	must(t, err)
	if conflicts != cap(results)/2-1 || len(past) != 1 {
		t.Errorf("%d conflicts and %d changes of one key", conflicts, len(past))
	}
	value := "1"
	if _, _, err := c.Set(t.Context(), key, &value, "late", 0); !errors.Is(err, ErrConflict) || !strings.Contains(err.Error(), "somebody") {
		t.Errorf("after another's change: %v", err)
	}
	if _, _, err := c.Set(t.Context(), key, &value, "in time", 1); err != nil {
		t.Errorf("after the one that was seen: %v", err)
	}
}

// text is a value that the n'th key of the test above takes.
func text(n int, value string) *string {
	if n == 6 {
		value = "20"
	}
	if n > 6 {
		value = "1s"
	}
	return &value
}

// What is in the file is in force in a second, however it got there, or not at all.
func TestTheFileIsFollowed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "backbeat.yaml")
	write := func(t *testing.T, content string) { must(t, os.WriteFile(path, []byte(content), 0o600)) }
	write(t, "limits: {user_rate: 60}\n")
	environ := []string{"BACKBEAT_LIMITS_USER_BURST=7"}
	base, err := config.Load(path, environ)
	must(t, err)
	p := follow(t, base, func(v *Values) { v.WatchFile(t.Context(), path, environ) })
	p.has(t, 60)
	for _, row := range []struct {
		name string
		do   func(t *testing.T)
		rate int64
		says string
	}{
		{"written", func(t *testing.T) { write(t, "limits: {user_rate: 61}\n") }, 61, "key=limits.user_rate old=60 new=61"},
		{"renamed", func(t *testing.T) {
			must(t, os.WriteFile(path+".new", []byte("limits: {user_rate: 62}\n"), 0o600))
			must(t, os.Rename(path+".new", path))
		}, 62, "old=61 new=62"},
		{"an unknown key", func(t *testing.T) { write(t, "limits: {user_rat: 1}\n") }, 62, "field user_rat not found"},
		{"out of bounds", func(t *testing.T) { write(t, "limits: {user_rate: -3}\n") }, 62, "must be 0"},
		{"cut off", func(t *testing.T) { write(t, "") }, 62, "it is empty"},
		{"removed", func(t *testing.T) { must(t, os.Remove(path)) }, 62, "no such file"},
		{"back", func(t *testing.T) { write(t, "limits: {user_rate: 63}\n") }, 63, "old=62 new=63"},
		{"a variable goes before", func(t *testing.T) { write(t, "limits: {user_rate: 63, user_burst: 9}\n") }, 63, "nothing that is in force did"},
		{"a key of the start", func(t *testing.T) { write(t, "http: {listen: ':9'}\nlimits: {user_rate: 64}\n") }, 64, "keys=http.listen"},
		{"linked, as a ConfigMap is", func(t *testing.T) {
			for folder, rate := range map[string]string{"..1": "65", "..2": "66"} {
				must(t, os.Mkdir(filepath.Join(dir, folder), 0o700))
				must(t, os.WriteFile(filepath.Join(dir, folder, "backbeat.yaml"), []byte("limits: {user_rate: "+rate+"}\n"), 0o600))
			}
			must(t, os.Symlink("..1", filepath.Join(dir, "..data")))
			must(t, os.Remove(path))
			must(t, os.Symlink("..data/backbeat.yaml", path))
		}, 65, "old=64 new=65"},
		{"the link swapped", func(t *testing.T) {
			must(t, os.Symlink("..2", filepath.Join(dir, "..data_tmp")))
			must(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
		}, 66, "old=65 new=66"},
	} {
		t.Run(row.name, func(t *testing.T) {
			row.do(t)
			p.says(t, row.says)
			p.has(t, row.rate)
		})
	}
	if lines := bytes.Count([]byte(p.log.String()), []byte("\n")); lines != 12 {
		t.Errorf("eleven changes made %d lines:\n%s", lines, p.log.String())
	}
}
