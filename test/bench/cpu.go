package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/procfs"
)

// tick is the kernel's unit of CPU time in /proc.
const tick = 10 * time.Millisecond

// account is CPU time by whom it was spent for.
type account map[string]time.Duration

// since returns what was spent after an earlier account.
func (a account) since(earlier account) account {
	spent := account{}
	for name, total := range a {
		spent[name] = total - earlier[name]
	}
	return spent
}

// beyond returns what was spent beyond what is spent anyway in that time.
func (a account) beyond(idle account, took, idled time.Duration) account {
	spent, share := account{}, took.Seconds()/idled.Seconds()
	for name, total := range a {
		spent[name] = max(0, total-time.Duration(share*float64(idle[name])))
	}
	return spent
}

// member is one process of the system under test.
type member struct {
	// name is its own; several members may share one.
	name string
	pid  int
	// children is the name that its children's time goes by, its own if it's empty.
	children string
}

// read returns what the members, their children, and those of them that have ended
// and were waited for, have spent since they started.
func read(members []member) (account, error) {
	a := account{}
	for _, m := range members {
		own, all, err := spent(m.pid)
		if err != nil {
			return nil, fmt.Errorf("the CPU time of %s: %w", m.name, err)
		}
		if m.children == "" {
			a[m.name] += all
			continue
		}
		a[m.name] += own
		a[m.children] += all - own
	}
	return a, nil
}

// spent returns the CPU time, user's and kernel's, of a process and that of it and
// all below it. The latter never falls: a child that is gone counts with whoever
// waited for it.
func spent(pid int) (own, all time.Duration, err error) {
	const utime, cstime = 11, 14 // fields 14 to 17 of proc(5), counted from the state
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, err
	}
	// The name, in parentheses, may hold spaces and parentheses itself.
	fields := strings.Fields(string(line[bytes.LastIndexByte(line, ')')+1:]))
	for i, field := range fields[utime : cstime+1] {
		ticks, err := strconv.Atoi(field)
		if err != nil {
			return 0, 0, err
		}
		all += time.Duration(ticks) * tick
		if i < 2 { // its own user's and kernel's
			own += time.Duration(ticks) * tick
		}
	}
	for _, child := range children(pid) {
		if _, below, err := spent(child); err == nil { // else it has just ended
			all += below
		}
	}
	return own, all, nil
}

func children(pid int) (pids []int) {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid)) // the pattern is sound
	for _, thread := range threads {
		list, err := os.ReadFile(thread)
		if err != nil { // it has just ended
			continue
		}
		for field := range strings.FieldsSeq(string(list)) {
			if child, err := strconv.Atoi(field); err == nil {
				pids = append(pids, child)
			}
		}
	}
	return pids
}

// machine returns how long the processors were busy, all together, for anybody.
func machine() (time.Duration, error) {
	content, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	line, _, _ := strings.Cut(string(content), "\n")
	busy := time.Duration(0)
	for i, field := range strings.Fields(line)[1:8] { // user nice system idle iowait irq softirq
		if i == 3 || i == 4 {
			continue
		}
		ticks, err := strconv.Atoi(field)
		if err != nil {
			return 0, err
		}
		busy += time.Duration(ticks) * tick
	}
	return busy, nil
}

// memory returns how much of a process lies in memory, in MiB.
func memory(pid int) (int, error) {
	process, err := procfs.NewProc(pid)
	if err != nil {
		return 0, err
	}
	stat, err := process.Stat()
	return stat.ResidentMemory() >> 20, err
}

// own returns what this process has spent.
func own() (time.Duration, error) {
	var usage syscall.Rusage
	err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()), err
}
