package ffmpeg

import (
	"fmt"
	"syscall"
	"time"
)

// sandbox is how the system holds the programs.
type sandbox struct {
	name string
	attr syscall.SysProcAttr
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
	maxMemory = 3 << 20   // KiB
	maxOutput = 512 << 11 // 512-byte blocks
	maxFiles  = 64
)

// shell returns the arguments with which a shell takes on the limits and becomes
// the program. A process can always lower its own limits; to lower those of
// another user's takes rights that root in a container may not have.
func (l limits) shell(program string, args []string) []string {
	script := fmt.Sprintf("ulimit -c 0; ulimit -t %d; ulimit -f %d; ulimit -n %d; ulimit -v %d 2>/dev/null; "+
		`PATH=/usr/bin:/bin; exec nice -n %d "$@"`,
		l.computing/time.Second, maxOutput, maxFiles, maxMemory, l.nice)
	return append([]string{"-c", script, "sh", program}, args...)
}
