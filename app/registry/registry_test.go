package registry

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"go-micro.dev/v4/registry"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"backbeat/test/harness"
)

const soon = 5 * time.Second

// closer is what both registries are.
type closer interface {
	registry.Registry
	Close() error
}

// both runs a test on a fresh registry of either kind.
func both(t *testing.T, test func(t *testing.T, r closer)) {
	t.Run("memory", func(t *testing.T) {
		r := NewMemory()
		test(t, r)
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Run("etcd", func(t *testing.T) {
		r := open(t, harness.Etcd(t).Addr)
		test(t, r)
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
}

// leaks makes the test fail if goroutines outlive it; go-micro's memory registry
// has one for the life of the process.
func leaks(t *testing.T) {
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() {
		goleak.VerifyNone(t, append(harness.LeakOptions(), before,
			goleak.IgnoreTopFunction("go-micro.dev/v4/registry.(*memRegistry).ttlPrune"))...)
	})
}

func connect(t *testing.T, addr string) *clientv3.Client {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{addr}, DialTimeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func open(t *testing.T, addr string) *Etcd {
	t.Helper()
	r := NewEtcd(Config{Prefix: "/test", Lease: 2 * time.Second}, Deps{Client: connect(t, addr), Log: harness.Logger(t)})
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func service(name, id, address string) *registry.Service {
	return &registry.Service{Name: name, Version: "1",
		Nodes: []*registry.Node{{Id: id, Address: address, Metadata: map[string]string{"zone": "a"}}}}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// addresses returns what the registry finds, sorted.
func addresses(r registry.Registry, name string) ([]string, error) {
	found, err := r.GetService(name)
	if err != nil && !errors.Is(err, registry.ErrNotFound) {
		return nil, err
	}
	var list []string
	for _, s := range found {
		for _, n := range s.Nodes {
			list = append(list, n.Address)
		}
	}
	slices.Sort(list)
	return list, nil
}

// finds waits until the registry finds exactly these instances of a service.
func finds(t *testing.T, r registry.Registry, within time.Duration, name string, want ...string) {
	t.Helper()
	harness.Eventually(t, within, func() error { return isExactly(r, name, want) }, "finding "+name)
}

func isExactly(r registry.Registry, name string, want []string) error {
	got, err := addresses(r, name)
	if err == nil && !slices.Equal(got, want) {
		err = fmt.Errorf("got %v, want %v", got, want)
	}
	return err
}

func TestRegisteredIsFoundUntilDeregistered(t *testing.T) {
	leaks(t)
	both(t, func(t *testing.T, r closer) {
		if _, err := r.GetService("user"); !errors.Is(err, registry.ErrNotFound) {
			t.Errorf("an unknown service gives %v", err)
		}
		one, two, other := service("user", "u1", "h:1"), service("user", "u2", "h:2"), service("video", "v1", "h:3")
		for _, s := range []*registry.Service{one, two, other, one} { // once more changes nothing
			must(t, r.Register(s))
		}
		finds(t, r, soon, "user", "h:1", "h:2")
		finds(t, r, soon, "video", "h:3")
		found, err := r.GetService("user")
		must(t, err)
		if len(found) != 1 || found[0].Version != "1" || found[0].Nodes[0].Metadata["zone"] != "a" {
			t.Errorf("found %+v", found)
		}
		found[0].Nodes[0].Address = "changed by a caller"
		finds(t, r, soon, "user", "h:1", "h:2")
		all, err := r.ListServices()
		must(t, err)
		if len(all) != 2 || all[0].Name == all[1].Name {
			t.Errorf("listed %+v", all)
		}
		moved := service("user", "u1", "h:9")
		must(t, r.Register(moved))
		finds(t, r, soon, "user", "h:2", "h:9")
		must(t, r.Deregister(moved))
		finds(t, r, soon, "user", "h:2")
		must(t, r.Deregister(two))
		finds(t, r, soon, "user")
		must(t, r.Deregister(two)) // gone already
		finds(t, r, soon, "video", "h:3")
	})
}

func TestVersionsAreListedApart(t *testing.T) {
	both(t, func(t *testing.T, r closer) {
		newer := service("user", "u2", "h:2")
		newer.Version = "2"
		must(t, r.Register(service("user", "u1", "h:1")))
		must(t, r.Register(newer))
		finds(t, r, soon, "user", "h:1", "h:2")
		if found, err := r.GetService("user"); err != nil || len(found) != 2 {
			t.Errorf("found %+v, %v", found, err)
		}
	})
}

func TestNonsenseIsRefused(t *testing.T) {
	both(t, func(t *testing.T, r closer) {
		for name, s := range map[string]*registry.Service{
			"nothing":        nil,
			"no name":        service("", "u1", "h:1"),
			"name with path": service("a/b", "u1", "h:1"),
			"no node":        {Name: "user"},
			"no id":          service("user", "", "h:1"),
			"id with path":   service("user", "a/b", "h:1"),
			"no address":     service("user", "u1", ""),
		} {
			if r.Register(s) == nil {
				t.Errorf("%s was registered", name)
			}
		}
		if all, err := r.ListServices(); err != nil || len(all) > 0 {
			t.Errorf("listed %v, %v", all, err)
		}
	})
}

func TestWatchersHearEverythingThatMatters(t *testing.T) {
	leaks(t)
	both(t, func(t *testing.T, r closer) {
		_, err := r.ListServices() // etcd has answered
		must(t, err)
		w, err := r.Watch(registry.WatchService("user"))
		must(t, err)
		next := func(action, address string) {
			t.Helper()
			got, err := w.Next()
			must(t, err)
			if got.Action != action || got.Service.Name != "user" || got.Service.Nodes[0].Address != address {
				t.Fatalf("got %s %+v, want %s %s", got.Action, got.Service.Nodes[0], action, address)
			}
		}
		must(t, r.Register(service("video", "v1", "h:9")))
		must(t, r.Register(service("user", "u1", "h:1")))
		next("create", "h:1")
		must(t, r.Register(service("user", "u1", "h:2")))
		next("update", "h:2")
		must(t, r.Deregister(service("user", "u1", "h:2")))
		next("delete", "h:2")
		ended := make(chan error)
		go func() {
			_, err := w.Next()
			ended <- err
		}()
		w.Stop()
		if err := <-ended; !errors.Is(err, registry.ErrWatcherStopped) {
			t.Errorf("a stopped watcher says %v", err)
		}
		w.Stop()
		late, err := r.Watch()
		must(t, err)
		must(t, r.Close())
		if _, err := late.Next(); err == nil {
			t.Error("a watcher outlives its registry")
		}
	})
}

// A watcher that is read rarely may hear less, but must end up with the truth.
func TestAWatcherEndsUpWithTheTruth(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := NewMemory()
		defer func() { _ = m.Close() }()
		w, err := m.Watch()
		if err != nil {
			t.Fatal(err)
		}
		defer w.Stop()
		truth, heard := map[string]string{}, map[string]string{}
		behind := func() bool { return !maps.Equal(truth, heard) }
		hear := func() {
			got, err := w.Next()
			if err != nil {
				t.Fatal(err)
			}
			node := got.Service.Nodes[0]
			if got.Action == "delete" {
				delete(heard, node.Id)
			} else {
				heard[node.Id] = node.Address
			}
		}
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			id := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "id")
			address := rapid.SampledFrom([]string{"h:1", "h:2"}).Draw(t, "address")
			switch rapid.IntRange(0, 2).Draw(t, "step") {
			case 0:
				err, truth[id] = m.Register(service("user", id, address)), address
			case 1:
				err = m.Deregister(service("user", id, address))
				delete(truth, id)
			case 2:
				if behind() {
					hear()
				}
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		for results := 0; behind(); results++ {
			if results > 6 {
				t.Fatalf("heard %v of %v and still more comes", heard, truth)
			}
			hear()
		}
	})
}
