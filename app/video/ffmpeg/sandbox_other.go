//go:build !linux

package ffmpeg

import (
	"syscall"
	"time"
)

// sandboxes has no more to offer than a group of its own, to be killed together:
// other systems are for development.
func sandboxes() []sandbox {
	return []sandbox{{"own user", syscall.SysProcAttr{Setpgid: true}}}
}

// restrain lowers the priority of a process that has only just started.
func restrain(pid int, _ time.Duration) {
	_ = syscall.Setpriority(syscall.PRIO_PGRP, pid, niceness)
}
