//go:build !linux

package ffmpeg

import "syscall"

// sandboxes has no more to offer than a group of its own, to be killed together:
// other systems are for development.
func sandboxes() []sandbox {
	return []sandbox{{"own user", syscall.SysProcAttr{Setpgid: true}, nil, nil, 0}}
}

// watchEnd has nothing to wait with: exec.Cmd waits for the end of a process too.
func watchEnd(*syscall.SysProcAttr) func() { return func() {} }
