package ffmpeg

import (
	"math/rand/v2"
	"os"
	"syscall"
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
			{"own user, no network", alone(plain, os.Geteuid(), os.Getegid()), nil, ownProcesses},
			{"own user", plain, nil, 0},
		}
	}
	offline := plain
	offline.Cloneflags = syscall.CLONE_NEWNET
	alone := alone(plain, nobody, nobody)
	alone.GidMappingsEnableSetgroups = true // root's other groups are given up, which takes leave to set groups
	asNobody := func() int { return nobody }
	return []sandbox{
		{"a stranger, no network", offline, stranger, ownProcesses},
		{"nobody, no network", alone, asNobody, ownProcesses},
		{"nobody among others, no network", offline, asNobody, sharedProcesses},
		{"nobody among others", plain, asNobody, sharedProcesses},
		{"own user", plain, nil, 0},
	}
}

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
