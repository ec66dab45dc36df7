//go:build unix

package gateway

import "syscall"

// descriptors returns how many files the process may open. Go has raised that to
// the most the system allows when the process started.
func descriptors() uint64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 1024 // the usual
	}
	return uint64(limit.Cur) //nolint:unconvert // some systems have it signed
}
