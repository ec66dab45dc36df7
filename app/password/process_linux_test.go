package password

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"backbeat/test/harness"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// launch returns a process that runs.
func launch(t *testing.T) *process {
	p := &process{log: harness.Logger(t), patience: time.Minute}
	if err := p.start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.close)
	return p
}

// cheap is an order that costs nearly nothing.
func cheap() order {
	return order{Password: "secret", Salt: []byte("salt"), Time: 1, Memory: 8, Threads: 1, Size: 32}
}

func send(t *testing.T, p *process, s syscall.Signal) {
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

func TestALostProcessCostsNobodyAnAnswer(t *testing.T) {
	tests := map[string]struct {
		lose     func(*testing.T, *process)
		replaced bool
	}{
		"killed": {func(t *testing.T, p *process) { send(t, p, syscall.SIGKILL) }, true},
		"killed while it is late": {func(t *testing.T, p *process) {
			tire(t, p)
			send(t, p, syscall.SIGKILL)
		}, true},
		"talks nonsense": {func(_ *testing.T, p *process) {
			_, _ = p.in.Write([]byte{1, 0}) // a message of one byte that names no type: its answer is to end
		}, true},
		"told to end with the whole service": {func(t *testing.T, p *process) {
			send(t, p, syscall.SIGTERM)
			send(t, p, syscall.SIGINT)
		}, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := launch(t)
			want := p.derive(cheap())
			first := p.cmd.Process.Pid
			tt.lose(t, p)
			harness.Eventually(t, time.Minute, func() error {
				if got := p.derive(cheap()); !bytes.Equal(got, want) {
					t.Errorf("then the key is %x, not %x", got, want)
				}
				if p.cmd == nil || (p.cmd.Process.Pid != first) != tt.replaced {
					return fmt.Errorf("its process is %v, the first was %d", p.cmd, first)
				}
				return nil
			}, "replacing it")
			if got := p.derive(cheap()); !bytes.Equal(got, want) {
				t.Errorf("after that the key is %x, not %x", got, want)
			}
		})
	}
}

// tire has an order wait in vain.
func tire(t *testing.T, p *process) {
	send(t, p, syscall.SIGSTOP)
	p.patience = 50 * time.Millisecond
	p.derive(cheap())
	if !p.late {
		t.Error("a child that is stopped is not late")
	}
}

// A child that gets no time is given it again and again before the service works in its
// place. Its answer then is not the next order's.
func TestALateProcessIsWaitedFor(t *testing.T) {
	p := launch(t)
	first := p.derive(cheap())
	pid := p.cmd.Process.Pid
	tire(t, p)
	other := cheap()
	other.Password = "another"
	start := time.Now()
	if want, got := other.key(), p.derive(other); !bytes.Equal(got, want) {
		t.Errorf("a late process's service derives %x, not %x", got, want)
	}
	if took := time.Since(start); took < p.patience || !p.late {
		t.Errorf("it did so after %v, though the process has %v", took, p.patience)
	}
	p.patience = time.Minute // enough
	send(t, p, syscall.SIGCONT)
	if want, got := other.key(), p.derive(other); !bytes.Equal(got, want) || p.late {
		t.Errorf("after a late answer the key is %x, not %x; late is %v", got, want, p.late)
	}
	if got := p.derive(cheap()); !bytes.Equal(got, first) || p.cmd.Process.Pid != pid {
		t.Errorf("then the key is %x, not %x, from process %d, not %d", got, first, p.cmd.Process.Pid, pid)
	}
}

// Every thread of it yields, and none of our secrets is in it.
func TestAProcessYieldsAndKnowsNothing(t *testing.T) {
	t.Setenv("BACKBEAT_TOKEN_KEYS", "secret")
	p := launch(t)
	p.derive(cheap()) // its threads have started
	proc := fmt.Sprintf("/proc/%d", p.cmd.Process.Pid)
	threads, _ := filepath.Glob(proc + "/task/*") // the pattern is sound
	if len(threads) == 0 {
		t.Fatal("it has no threads")
	}
	for _, thread := range threads {
		id, err := strconv.Atoi(filepath.Base(thread))
		if err != nil {
			t.Fatal(err)
		}
		if has, err := unix.SchedGetAttr(id, 0); err != nil || has.Policy != unix.SCHED_IDLE {
			t.Errorf("thread %d has the policy %+v, %v", id, has, err)
		}
	}
	environ, err := os.ReadFile(proc + "/environ")
	if err != nil || strings.Contains(string(environ), "BACKBEAT") {
		t.Errorf("its environment is %q, %v", environ, err)
	}
}

func TestCloseEndsTheProcesses(t *testing.T) {
	h := New(Config{AtOnce: 2}, Deps{Log: harness.Logger(t)})
	var pids []int
	for range cap(h.slots) {
		p := (<-h.slots).(*process)
		p.derive(cheap())
		pids = append(pids, p.cmd.Process.Pid)
		h.slots <- p
	}
	h.Close()
	for _, pid := range pids {
		if err := syscall.Kill(pid, 0); err != syscall.ESRCH {
			t.Errorf("process %d: %v", pid, err)
		}
	}
}

// However a service ends, its children do too.
func TestAProcessEndsWithItsPipe(t *testing.T) {
	p := launch(t)
	if err := p.in.Close(); err != nil {
		t.Fatal(err)
	}
	p.running.Wait()
	p.cmd = nil
}
