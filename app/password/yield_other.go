//go:build !linux

package password

import "syscall"

// yield lets others go before this process.
func yield() error { return syscall.Setpriority(syscall.PRIO_PROCESS, 0, 19) }
