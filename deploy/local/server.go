package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

const (
	startWithin = 90 * time.Second // a cold RabbitMQ on a busy machine takes half of it
	stopWithin  = 15 * time.Second
	askEvery    = 20 * time.Millisecond
)

// Options says how a server runs. The zero value is right for tests.
type Options struct {
	// Port is the main port; 0 takes a free one.
	Port int
	// Detach lets the server outlive the process that starts it, in a session
	// of its own, so that a terminal's Ctrl-C doesn't reach it.
	Detach bool
	// Args are added to the server's command line.
	Args []string
}

// Server is one real server. Its methods may be called from any goroutine, one
// after the other.
type Server struct {
	// Name is the server's name in messages: mariadb, postgres, redis …
	Name string
	// Addr is 127.0.0.1:PORT, where clients connect. It stays the same for the
	// life of the Server.
	Addr string
	// URL is Addr as Backbeat's configuration names it: a DSN, an AMQP URL, an
	// HTTP base URL, or Addr itself where the configuration takes addresses.
	URL string
	// Metrics is the base URL of what it shows at /metrics to Prometheus, and a part
	// of Backbeat of its profiles beside that; "" for servers that show nothing.
	Metrics string
	// Dir holds the data (in data) and everything the server printed (in log).
	Dir string

	spec spec
	opts Options

	mu        sync.Mutex
	processes []*process
}

// spec is what tells one kind of server from another.
type spec struct {
	// prepare fills the empty data folder before the first start; may be nil.
	prepare func(ctx context.Context) error
	// configure writes what names the ports, before each start: the data may come
	// from an earlier life on others. It may be nil.
	configure func() error
	// commands are started in order. The last one is the server, those before
	// it are what it leans on.
	commands func() []*exec.Cmd
	// ready returns nil once the server answers its own protocol.
	ready func(ctx context.Context) error
	// quit asks the server to end soon and cleanly; 0 is SIGTERM.
	quit syscall.Signal
}

func start(ctx context.Context, s *Server) error {
	dir, err := filepath.Abs(s.Dir)
	if err != nil {
		return err
	}
	s.Dir = dir
	return s.Start(ctx)
}

func (s *Server) data() string { return filepath.Join(s.Dir, "data") }

func (s *Server) path(name string) string { return filepath.Join(s.Dir, name) }

// Start starts a stopped or killed server again, on the same port and with the
// data it left, and returns when it answers. If it doesn't, the error holds the
// last lines it printed, and nothing is left running.
func (s *Server) Start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.processes) > 0 {
		return fmt.Errorf("starting %s: it runs already", s.Name)
	}
	if err := s.start(ctx); err != nil {
		return errors.Join(fmt.Errorf("starting %s: %w", s.Name, err), s.kill())
	}
	return nil
}

func (s *Server) start(ctx context.Context) error {
	if err := s.prepare(ctx); err != nil {
		return err
	}
	if s.spec.configure != nil {
		if err := s.spec.configure(); err != nil {
			return err
		}
	}
	log, err := os.OpenFile(s.path("log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close() // the children hold their own copies
	for _, cmd := range s.spec.commands() {
		cmd.Stdout, cmd.Stderr = log, log
		p, err := launch(cmd, s.opts.Detach)
		if err != nil {
			return err
		}
		s.processes = append(s.processes, p)
	}
	return s.await(ctx)
}

// prepare makes the data folder unless an earlier start has completed it.
func (s *Server) prepare(ctx context.Context) error {
	done := s.path("prepared")
	if _, err := os.Stat(done); err == nil {
		return nil
	}
	if err := os.RemoveAll(s.data()); err != nil {
		return err
	}
	if err := os.MkdirAll(s.data(), 0o755); err != nil {
		return err
	}
	if s.spec.prepare != nil {
		if err := s.spec.prepare(ctx); err != nil {
			return fmt.Errorf("preparing %s: %w", s.data(), err)
		}
	}
	return os.WriteFile(done, nil, 0o644)
}

func (s *Server) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	main := s.processes[len(s.processes)-1]
	for {
		attempt, cancel := context.WithTimeout(ctx, 2*time.Second)
		err := s.spec.ready(attempt)
		cancel()
		select {
		case <-main.ended:
			return fmt.Errorf("it ended by itself: %w\n%s", main.err, tail(s.path("log")))
		case <-ctx.Done():
			return fmt.Errorf("%w; its last answer: %w\n%s", ctx.Err(), err, tail(s.path("log")))
		case <-time.After(askEvery):
		}
		if err == nil {
			return nil
		}
	}
}

// PIDs returns the processes that make up the running server, the one that
// serves last; none when it is down.
func (s *Server) PIDs() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	var pids []int
	for _, p := range s.processes {
		pids = append(pids, p.pid())
	}
	return pids
}

// Stop ends the server cleanly, by force after 15 seconds, and returns when it
// is gone. Data and port are kept for Start. Stopping what is down is no error.
func (s *Server) Stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	quit := s.spec.quit
	if quit == 0 {
		quit = syscall.SIGTERM
	}
	var faults []error
	for i := len(s.processes) - 1; i >= 0; i-- {
		faults = append(faults, Terminate(s.processes[i].pid(), quit, stopWithin))
		<-s.processes[i].ended
	}
	s.processes = nil
	return errors.Join(faults...)
}

// Kill ends the server and all its children with SIGKILL and returns when they
// are gone. Data and port are kept for Start.
func (s *Server) Kill() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kill()
}

func (s *Server) kill() error {
	var faults []error
	for i := len(s.processes) - 1; i >= 0; i-- {
		faults = append(faults, Terminate(s.processes[i].pid(), syscall.SIGKILL, stopWithin))
		<-s.processes[i].ended
	}
	s.processes = nil
	return errors.Join(faults...)
}

// Wipe kills the server and deletes its data: the next Start is a first one.
func (s *Server) Wipe() error {
	if err := s.Kill(); err != nil {
		return err
	}
	return errors.Join(os.RemoveAll(s.path("prepared")), os.RemoveAll(s.data()))
}

// Pause freezes the server with SIGSTOP: connections stay open and new ones are
// accepted by the kernel, but from its return on nothing is answered until Resume.
func (s *Server) Pause() error {
	if err := s.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	for _, pid := range s.PIDs() {
		if !frozen(pid, stopWithin) {
			return fmt.Errorf("pausing %s: process %d goes on", s.Name, pid)
		}
	}
	return nil
}

// Resume lets a paused server go on.
func (s *Server) Resume() error { return s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig syscall.Signal) error {
	var faults []error
	for _, pid := range s.PIDs() {
		faults = append(faults, signalTree(pid, sig))
	}
	return errors.Join(faults...)
}

// Log returns everything the server printed since its folder was made.
func (s *Server) Log() (string, error) {
	log, err := os.ReadFile(s.path("log"))
	return string(log), err
}

// LogTail returns the last lines the server printed.
func (s *Server) LogTail() string { return tail(s.path("log")) }
