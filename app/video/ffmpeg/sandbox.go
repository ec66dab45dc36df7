package ffmpeg

import "syscall"

// sandbox is how the programs are held by the system.
type sandbox struct {
	name string
	attr syscall.SysProcAttr
}

// Limits that hold for every run.
const (
	maxMemory = 3 << 30
	maxOutput = 512 << 20
	maxFiles  = 64
	// niceness leaves the processor to those who answer people.
	niceness = 10
)
