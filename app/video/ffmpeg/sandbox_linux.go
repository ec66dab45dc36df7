package ffmpeg

import (
	"math/rand/v2"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// nobody is the user and group who own nothing on any Linux.
const nobody = 65534

// Strangers are users whom no system gives out: the numbers that systemd names unused.
const firstStranger, strangers = 0x7000_0000, 1 << 28

const (
	// ownProcesses is for a user that exists for one job alone.
	ownProcesses = 64
	// sharedProcesses is for nobody, as whom others may run on the same host.
	sharedProcesses = 2048
)

// sandboxes are the ways to hold the programs, strongest first. What a host
// forbids depends on its kernel and on the container we are in. A new world of
// users is not the first choice: the kernel copies the worker's memory for it.
func sandboxes() []sandbox {
	plain := syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() != 0 {
		return []sandbox{
			{"own user, no network", alone(plain, os.Geteuid(), os.Getegid()), nil, nil, ownProcesses},
			{"own user", plain, nil, nil, 0},
		}
	}
	alone := alone(plain, nobody, nobody)
	alone.GidMappingsEnableSetgroups = true // root's other groups are given up, which takes leave to set groups
	asNobody := func() int { return nobody }
	return []sandbox{
		{"a stranger, no network", plain, leaveNetwork, stranger, ownProcesses},
		{"nobody, no network", alone, nil, asNobody, ownProcesses},
		{"nobody among others, no network", plain, leaveNetwork, asNobody, sharedProcesses},
		{"nobody among others", plain, nil, asNobody, sharedProcesses},
		{"own user", plain, nil, nil, 0},
	}
}

// leaveNetwork puts the thread into a network that has nothing in it: one for all
// programs, since the kernel takes its time to make one. Jobs that run at once could
// find each other there, and nobody else.
func leaveNetwork() error { return syscall.Unshare(syscall.CLONE_NEWNET) }

// stranger draws one, whom no other job has with any likelihood.
func stranger() int { return firstStranger + rand.N(strangers) }

// alone is in a network of its own, and in a world where there is no user but
// this one: nobody to become, and a count of processes that is its own.
func alone(attr syscall.SysProcAttr, uid, gid int) syscall.SysProcAttr {
	attr.Cloneflags = syscall.CLONE_NEWNET | syscall.CLONE_NEWUSER
	attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}}
	attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: gid, HostID: gid, Size: 1}}
	return attr
}

// watchEnd returns what waits until the process to be started with attr has ended.
// It waits as for a connection: a thread that waits in the system keeps the
// runtime's monitor awake, which costs more than the waiting.
func watchEnd(attr *syscall.SysProcAttr) func() {
	handle := -1 // as older kernels leave it
	attr.PidFD = &handle
	return func() {
		if handle < 0 {
			return
		}
		_ = syscall.SetNonblock(handle, true) // else there is no waiting, and exec.Cmd waits in the system
		process := os.NewFile(uintptr(handle), "process")
		defer process.Close()
		conn, err := process.SyscallConn()
		if err != nil {
			return
		}
		_ = conn.Read(func(fd uintptr) bool {
			ready, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
			return err != nil || ready > 0
		})
	}
}
