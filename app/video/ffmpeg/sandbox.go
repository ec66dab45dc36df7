package ffmpeg

import (
	"context"
	"fmt"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// sandbox is how the system holds the programs.
type sandbox struct {
	name string
	attr syscall.SysProcAttr
	// seclude takes from the thread that starts the programs what all of them are to
	// do without; it may be nil.
	seclude func() error
	// user picks who a job's folder belongs to, and with it who the programs run as;
	// nil is the worker's own user.
	user func() int
	// processes bounds those of that user, threads included;
	// 0 is no bound, where that user has a life beside us.
	processes int
}

// attrIn returns how the system holds a program that works in the folder.
func (s sandbox) attrIn(dir string) (*syscall.SysProcAttr, error) {
	attr := s.attr
	if s.user == nil {
		return &attr, nil
	}
	var folder syscall.Stat_t
	if err := syscall.Stat(dir, &folder); err != nil {
		return nil, err
	}
	attr.Credential = &syscall.Credential{Uid: folder.Uid, Gid: folder.Gid}
	return &attr, nil
}

// limits bound one run.
type limits struct {
	// clock and computing bound its time: a file that needs more of the latter
	// always will.
	clock, computing time.Duration
	// nice is how far it stands behind those who answer people, 0 to 19.
	nice int
}

// Limits of every run, in the units of ulimit.
const (
	maxMemory = 2 << 20   // KiB
	maxOutput = 512 << 11 // 512-byte blocks
	maxFiles  = 64
)

// shell returns the arguments with which a shell takes on the limits and becomes
// the program. A process can always lower its own limits; to lower those of
// another user's takes rights that root in a container may not have. Shells name
// the limit of processes -u or -p. When memory runs out, the system is asked to
// end the program before anybody else.
func (s sandbox) shell(l limits, program string, args []string) []string {
	script := fmt.Sprintf("ulimit -c 0; ulimit -t %d; ulimit -f %d; ulimit -n %d; ulimit -v %d 2>/dev/null; ",
		l.computing/time.Second, maxOutput, maxFiles, maxMemory)
	if s.processes > 0 {
		script += fmt.Sprintf("ulimit -u %d 2>/dev/null || ulimit -p %[1]d; ", s.processes)
	}
	script += "echo 1000 2>/dev/null >/proc/self/oom_score_adj; "
	script += fmt.Sprintf(`PATH=/usr/bin:/bin; exec nice -n %d "$@"`, l.nice)
	return append([]string{"-c", script, "sh", program}, args...)
}

// starter starts programs from one thread. They live in the world that it is in,
// and the system ends them when it dies.
type starter chan func()

// newStarter secludes a thread, which lives until ctx ends.
func newStarter(ctx context.Context, seclude func() error) (starter, error) {
	s, secluded := make(starter), make(chan error)
	go func() {
		runtime.LockOSThread() // for good, so that the thread ends with this
		if seclude != nil {
			if err := seclude(); err != nil {
				secluded <- err
				return
			}
		}
		secluded <- nil
		for {
			select {
			case start := <-s:
				start()
			case <-ctx.Done():
				return
			}
		}
	}()
	return s, <-secluded
}

// start starts a program, unless ctx ends first.
func (s starter) start(ctx context.Context, cmd *exec.Cmd) error {
	started := make(chan error, 1)
	select {
	case s <- func() { started <- cmd.Start() }:
		return <-started
	case <-ctx.Done():
		return ctx.Err()
	}
}
