//go:build !linux

package ffmpeg

import "syscall"

// sandboxes has no more to offer than a group of its own, to be killed together:
// other systems are for development.
func sandboxes() []sandbox {
	return []sandbox{{"own user", syscall.SysProcAttr{Setpgid: true}, nil, 0}}
}
