package ffmpeg

import (
	"os"
	"syscall"
)

// nobody is the user and group who own nothing on any Linux.
const nobody = 65534

const (
	// ownProcesses is for a user that exists for one run alone.
	ownProcesses = 64
	// sharedProcesses is for nobody, as whom others may run on the same host.
	sharedProcesses = 2048
)

// sandboxes are the ways to hold the programs, strongest first. What a host
// forbids depends on its kernel and on the container we are in.
func sandboxes() []sandbox {
	plain := syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() != 0 {
		return []sandbox{
			{"own user, no network", alone(plain, os.Geteuid(), os.Getegid()), ownProcesses},
			{"own user", plain, 0},
		}
	}
	asNobody := plain
	asNobody.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	offline := asNobody
	offline.Cloneflags = syscall.CLONE_NEWNET
	return []sandbox{
		{"nobody, no network", alone(asNobody, nobody, nobody), ownProcesses},
		{"nobody among others, no network", offline, sharedProcesses},
		{"nobody among others", asNobody, sharedProcesses},
		{"own user", plain, 0},
	}
}

// alone is in a network of its own, and in a world where there is no user but
// this one: nobody to become, and a count of processes that is its own.
func alone(attr syscall.SysProcAttr, uid, gid int) syscall.SysProcAttr {
	attr.Cloneflags = syscall.CLONE_NEWNET | syscall.CLONE_NEWUSER
	attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}}
	attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: gid, HostID: gid, Size: 1}}
	// Root's other groups are given up, which takes leave to set groups.
	attr.GidMappingsEnableSetgroups = attr.Credential != nil
	return attr
}
