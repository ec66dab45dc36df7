package local

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// The kernel hands out ports from 32768 on to outgoing connections and to
// listeners on port 0. Below it a port stays free while its server is down.
const lowestPort, highestPort = 12000, 32000

// FreePort returns a port of 127.0.0.1 that nobody listens on, on TCP or UDP,
// and that no other call returns, in any process, until this process ends.
func FreePort() (int, error) {
	locks := filepath.Join(os.TempDir(), "backbeat-ports")
	if err := os.Mkdir(locks, 0o777); err == nil {
		if err := os.Chmod(locks, 0o777); err != nil { // whatever the umask is: users share it
			return 0, fmt.Errorf("choosing a port: %w", err)
		}
	} else if !errors.Is(err, os.ErrExist) {
		return 0, fmt.Errorf("choosing a port: %w", err)
	}
	for range 1000 {
		port := lowestPort + rand.IntN(highestPort-lowestPort)
		if unused(port) && reserve(filepath.Join(locks, strconv.Itoa(port))) {
			return port, nil
		}
	}
	return 0, errors.New("choosing a port: all of 1000 tried are taken")
}

func unused(port int) bool {
	addr := loopback(port)
	tcp, err := net.Listen("tcp", addr)
	if err != nil {
		return false
	}
	defer tcp.Close()
	udp, err := net.ListenPacket("udp", addr)
	if err != nil {
		return false
	}
	return udp.Close() == nil
}

// reserve locks a file for as long as this process lives: the descriptor is
// never closed, and the kernel drops the lock with it.
func reserve(path string) bool {
	fd, err := syscall.Open(path, syscall.O_CREAT|syscall.O_RDONLY|syscall.O_CLOEXEC, 0o644)
	if err != nil {
		return false
	}
	if err := syscall.Flock(fd, syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = syscall.Close(fd) // nothing was written; the port is simply not ours
		return false
	}
	return true
}

// choose returns the wanted port, or a free one for 0.
func choose(wanted int) (int, error) {
	if wanted != 0 {
		return wanted, nil
	}
	return FreePort()
}

// choose several free ports.
func freePorts(n int) ([]int, error) {
	ports := make([]int, n)
	for i := range ports {
		var err error
		if ports[i], err = FreePort(); err != nil {
			return nil, err
		}
	}
	return ports, nil
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
