package ffmpeg

import (
	"os"
	"syscall"
)

// nobody is the user and group who own nothing on any Linux.
const nobody = 65534

// sandboxes are the ways to hold the programs, strongest first. What a host
// forbids depends on its kernel and on the container we are in.
func sandboxes() []sandbox {
	plain := syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	offline := plain
	offline.Cloneflags = syscall.CLONE_NEWNET
	if os.Geteuid() == 0 {
		asNobody := plain
		asNobody.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
		offline.Credential = asNobody.Credential
		return []sandbox{{"nobody, no network", offline}, {"nobody", asNobody}, {"own user", plain}}
	}
	offline.Cloneflags |= syscall.CLONE_NEWUSER
	offline.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Geteuid(), HostID: os.Geteuid(), Size: 1}}
	offline.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getegid(), HostID: os.Getegid(), Size: 1}}
	return []sandbox{{"own user, no network", offline}, {"own user", plain}}
}
