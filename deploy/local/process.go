package local

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is one child that is always waited for.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{}
	err   error // how it ended; read it after ended
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// launch starts cmd in a process group of its own.
func launch(cmd *exec.Cmd, detach bool) (*process, error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	if detach {
		cmd.SysProcAttr.Setsid = true
	} else {
		cmd.SysProcAttr.Setpgid = true
		cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	}
	p := &process{cmd: cmd, ended: make(chan struct{})}
	started := make(chan error)
	go p.run(started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", cmd.Path, err)
	}
	return p, nil
}

// run starts and waits on one thread: the kernel sends Pdeathsig when the
// thread that started the child ends, so that thread must last as long as it.
func (p *process) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(p.ended)
	err := p.cmd.Start()
	started <- err
	if err == nil {
		p.err = p.cmd.Wait()
	}
}

// Terminate sends sig to a process and returns when it and its children are
// gone. After grace those that are left are killed. It serves processes of any
// parent, so that one command can stop what another has detached; a process that
// doesn't exist is no error.
func Terminate(pid int, sig syscall.Signal, grace time.Duration) error {
	tree := descendants(pid)
	if sig == syscall.SIGKILL {
		tree = held(pid)
		killAll(tree)
	} else if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("stopping process %d: %w", pid, err)
	}
	if gone(tree, grace) {
		return nil
	}
	tree = append(tree, held(pid)...)
	killAll(tree)
	if gone(tree, grace) {
		return nil
	}
	return fmt.Errorf("process %d can't be killed", pid)
}

// held stops pid and all processes below it, and returns them: a child that one of them
// starts between a look and a kill would live on, and keep the server's data locked.
func held(pid int) (tree []int) {
	for known := -1; len(tree) != known; {
		known = len(tree)
		_ = signalTree(pid, syscall.SIGSTOP) // a killing must go on
		frozen(pid, time.Second)             // so must it with one that can't be stopped
		tree = descendants(pid)
	}
	return tree
}

func killAll(pids []int) {
	for _, pid := range pids {
		// A process that is gone is what is wanted, and gone finds those that aren't.
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

func gone(pids []int, within time.Duration) bool {
	deadline := time.Now().Add(within)
	for _, pid := range pids {
		for alive(pid) {
			if time.Now().After(deadline) {
				return false
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	return true
}

func signalTree(pid int, sig syscall.Signal) error {
	for _, pid := range descendants(pid) {
		if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("sending %v to process %d: %w", sig, pid, err)
		}
	}
	return nil
}

// frozen waits until every thread of a process and its children has stopped,
// which the kernel does one by one after the signal.
func frozen(pid int, within time.Duration) bool {
	deadline := time.Now().Add(within)
	for _, pid := range descendants(pid) {
		for !stopped(pid) {
			if time.Now().After(deadline) {
				return false
			}
			time.Sleep(time.Millisecond)
		}
	}
	return true
}

func stopped(pid int) bool {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil {
		return false
	}
	for _, thread := range threads {
		if state, _ := readStat(thread); state != "" && !strings.Contains("TZX", state) {
			return false
		}
	}
	return true
}

// descendants returns pid and all processes below it, parents first. Process
// groups wouldn't do: PostgreSQL's and Erlang's children leave theirs.
func descendants(pid int) []int {
	children := map[int][]int{}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return []int{pid}
	}
	for _, entry := range entries {
		if child, err := strconv.Atoi(entry.Name()); err == nil {
			_, parent := readStat(fmt.Sprintf("/proc/%d/stat", child))
			children[parent] = append(children[parent], child)
		}
	}
	tree := []int{pid}
	for i := 0; i < len(tree); i++ {
		tree = append(tree, children[tree[i]]...)
	}
	return tree
}

func alive(pid int) bool {
	state, _ := readStat(fmt.Sprintf("/proc/%d/stat", pid))
	return state != "" && state != "Z" && state != "X"
}

// readStat returns the state letter and the parent of a process or thread, or
// "" and 0 when it is gone.
func readStat(path string) (state string, parent int) {
	line, err := os.ReadFile(path)
	if err != nil {
		return "", 0
	}
	// The name, in parentheses, may hold spaces and parentheses itself.
	fields := strings.Fields(string(line[bytes.LastIndexByte(line, ')')+1:]))
	if len(fields) < 2 {
		return "", 0
	}
	parent, err = strconv.Atoi(fields[1])
	if err != nil {
		return "", 0
	}
	return fields[0], parent
}

// tail returns the last lines of a log for an error message.
func tail(path string) string {
	const most = 4 << 10
	log, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(log[max(0, len(log)-most):])
}

// StartTime returns when the process started, as the kernel counts: together
// with its number it names a process for good. It is "" for one that is gone.
func StartTime(pid int) string {
	const startTime = 19 // field 22 of proc(5), counted from the state
	if !alive(pid) {
		return ""
	}
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	fields := strings.Fields(string(line[bytes.LastIndexByte(line, ')')+1:]))
	if len(fields) <= startTime {
		return ""
	}
	return fields[startTime]
}
