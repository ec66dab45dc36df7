package password

import (
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"golang.org/x/crypto/argon2"
)

const (
	// processName is the argument 0 by which this program knows that it is a child.
	processName = "backbeat-password"
	// patience is how long a child may take: on busy processors it never gets its turn.
	patience = 500 * time.Millisecond
)

// Whatever program holds this package is the child, tests too, so that there is
// nothing a program could forget to call first.
func init() {
	if len(os.Args) != 1 || os.Args[0] != processName {
		return
	}
	// The child ends when the parent does or closes the pipe: those who are told
	// that the whole service shall end still want their last logins.
	signal.Ignore(os.Interrupt, syscall.SIGTERM)
	if err := yield(); err != nil { // hashes in the way of others are better than none
		fmt.Fprintln(os.Stderr, processName+": it has the priority of its service:", err)
	}
	if err := serve(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, processName+":", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// order asks a child for a key.
type order struct {
	Password     string
	Salt         []byte
	Time, Memory uint32
	Threads      uint8
	Size         uint32
}

func (o order) key() []byte {
	return argon2.IDKey([]byte(o.Password), o.Salt, o.Time, o.Memory, o.Threads, o.Size)
}

// serve answers orders with keys, one after the other, until there are no more.
func serve(in io.Reader, out io.Writer) error {
	orders, keys := gob.NewDecoder(in), gob.NewEncoder(out)
	for {
		var o order
		if err := orders.Decode(&o); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := keys.Encode(o.key()); err != nil {
			return err
		}
	}
}

// process is a child that derives keys. One goroutine uses it at a time.
type process struct {
	log *slog.Logger
	// patience bounds a wait for the child.
	patience time.Duration

	cmd    *exec.Cmd // nil before start and after stop
	in     io.WriteCloser
	orders *gob.Encoder
	// keys are the child's answers, closed when it is lost. There is room for the one
	// that may be due, so that nothing waits for somebody to take it.
	keys chan []byte
	// late is true while the child owes the answer to an order that was not waited for.
	late bool
	// running are children that have not ended, and those who read from them.
	running sync.WaitGroup
}

var (
	errLate = errors.New("it got no time")
	errLost = errors.New("it ended")
)

// derive has the child derive a key, or does so itself: when the child was lost, which
// the next order replaces, and as long as it is late, since nobody lets it work. Then
// each order waits for it again: what is derived here is in everybody's way, and would
// it follow at once, that would be what keeps the child from its turn.
func (p *process) derive(o order) []byte {
	key, err := p.ask(o)
	switch {
	case err == nil:
		return key
	case errors.Is(err, errLate):
		p.log.Debug("a process that hashes passwords is late")
	default:
		p.stop()
		p.log.Warn("a process that hashes passwords was lost", "error", err)
	}
	return o.key()
}

// ask starts the child if there is none.
func (p *process) ask(o order) ([]byte, error) {
	if p.late {
		select {
		case _, alive := <-p.keys:
			p.late = false
			if !alive {
				return nil, errLost
			}
		case <-time.After(p.patience):
			return nil, errLate
		}
	}
	if p.cmd == nil {
		if err := p.start(); err != nil {
			return nil, err
		}
	}
	if err := p.orders.Encode(o); err != nil {
		return nil, err
	}
	select {
	case key, alive := <-p.keys:
		if !alive {
			return nil, errLost
		}
		return key, nil
	case <-time.After(p.patience):
		p.late = true
		return nil, errLate
	}
}

func (p *process) start() error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(program)
	cmd.Args = []string{processName}
	cmd.Env = []string{"GOMAXPROCS=1"} // one hash is one thread's work, and the secrets in ours are none of its
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	keys := make(chan []byte, 1)
	p.running.Go(func() {
		defer close(keys)
		for answers := gob.NewDecoder(out); ; {
			var key []byte
			if err := answers.Decode(&key); err != nil {
				break
			}
			keys <- key
		}
		_ = cmd.Wait() // how it ended shows in its answer, or that there is none
	})
	p.cmd, p.in, p.orders, p.keys, p.late = cmd, in, gob.NewEncoder(in), keys, false
	return nil
}

// stop ends the child: there is nothing in it to lose. It does not wait, since the end
// of a process that gets no time takes some.
func (p *process) stop() {
	if p.cmd == nil {
		return
	}
	_ = p.in.Close()
	_ = p.cmd.Process.Kill() // an error means that it has ended
	p.cmd, p.late = nil, false
}

// close ends the child and returns when it and those before it are gone.
func (p *process) close() {
	p.stop()
	p.running.Wait()
}
