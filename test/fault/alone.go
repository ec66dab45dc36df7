package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"backbeat/deploy/local"
	"backbeat/model"
)

// aloneSize is what a single process holds.
var aloneSize = size{users: 20, videos: 5}

// alone is a world of one process that runs everything, whose data are on a small
// disk of their own.
type alone struct {
	*world
	process *local.Server
	disk    string
}

// startAlone starts it through a program in front of its own, if one is named, with
// a disk of so many megabytes.
func (r *run) startAlone(ctx context.Context, name string, megabytes int, front string) (a *alone, err error) {
	dir := filepath.Join(r.dir, name)
	a = &alone{disk: filepath.Join(dir, "disk"), world: &world{
		book: newLedger(), dir: dir, clip: r.clip, clipFile: r.clipFile, program: r.program,
	}}
	if err := os.MkdirAll(a.disk, 0o755); err != nil {
		return nil, err
	}
	if err := asRoot(ctx, "mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%dm,mode=755", megabytes), "none", a.disk); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.leave(ctx))
		}
	}()
	a.env = []string{"BACKBEAT_LOG_FORMAT=json", "BACKBEAT_DATA_DIR=" + a.disk}
	a.dsn, a.keys = "sqlite:"+filepath.Join(a.disk, "backbeat.db"), filepath.Join(a.disk, "token.keys")
	if err := a.seed(ctx, aloneSize); err != nil {
		return nil, err
	}
	program := r.program
	if front != "" {
		program = filepath.Join(dir, "start")
		if err := os.WriteFile(program, fmt.Appendf(nil, "#!/bin/sh\nexec %s %s \"$@\"\n", front, r.program), 0o755); err != nil {
			return nil, err
		}
	}
	if a.process, err = local.StartEmbedded(ctx, dir, program, a.env, local.Options{}); err != nil {
		return nil, err
	}
	a.app = newApp(a.process.URL)
	return a, a.meet(ctx, aloneSize)
}

func (a *alone) leave(ctx context.Context) error {
	var faults []error
	if a.db != nil {
		faults = append(faults, model.Close(a.db))
	}
	if a.process != nil {
		faults = append(faults, a.process.Stop(), clean(a.process))
	}
	return errors.Join(append(faults, asRoot(context.WithoutCancel(ctx), "umount", a.disk))...)
}

// asRoot runs a command that nobody else may.
func asRoot(ctx context.Context, command ...string) error {
	if os.Getuid() != 0 {
		command = append([]string{"sudo", "-n"}, command...)
	}
	if printed, err := exec.CommandContext(ctx, command[0], command[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w: %s", command, err, printed)
	}
	return nil
}

// hurt drives the load while the process suffers, then expects everything in order
// without a restart.
func (a *alone) hurt(ctx context.Context, r *run, rate int, what string, suffer func() error) (err error) {
	pid := a.process.PIDs()[0]
	r.samples, err = a.driveWhile(ctx, append(mixed, request{"upload", upload}), rate, func() error {
		if err := r.hold(ctx, 5*time.Second); err != nil {
			return err
		}
		if err := r.during(what, suffer); err != nil {
			return err
		}
		return r.hold(ctx, 15*time.Second)
	})
	if err != nil {
		return err
	}
	if now := a.process.PIDs(); len(now) == 0 || now[0] != pid || syscall.Kill(pid, 0) != nil {
		return errors.New("the process is not the one it was")
	}
	if err := within(ctx, time.Minute, func() error { return a.drained(ctx) }); err != nil {
		return err
	}
	if err := within(ctx, time.Minute, func() error { return a.audit(ctx) }); err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	var integrity string
	if err := a.db.WithContext(ctx).Raw("PRAGMA integrity_check").Scan(&integrity).Error; err != nil || integrity != "ok" {
		return fmt.Errorf("the database is damaged: %s %w", integrity, err)
	}
	refusals := those(r.samples, refused)
	why := map[string]int{}
	for _, s := range refusals {
		_, text, _ := strings.Cut(s.detail, `"status_msg":"`)
		text, _, _ = strings.Cut(text, `"`)
		why[text]++
	}
	r.notes = append(r.notes, fmt.Sprintf("%d of %d refused: %v", len(refusals), len(r.samples), why))
	return nil
}

func diskFull(ctx context.Context, r *run, rate int) error {
	a, err := r.startAlone(ctx, "disk-full", 64, "")
	if err != nil {
		return err
	}
	ballast := filepath.Join(a.disk, "ballast")
	err = a.hurt(ctx, r, rate, "disk full", func() error {
		if err := fillUp(ballast); err != nil {
			return err
		}
		return errors.Join(r.hold(ctx, 15*time.Second), os.Remove(ballast))
	})
	return errors.Join(err, a.leave(ctx))
}

// fillUp writes until the disk is full.
func fillUp(path string) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	for _, piece := range []int{1 << 20, 1 << 12} {
		for err = nil; err == nil; {
			_, err = file.Write(make([]byte, piece))
		}
	}
	if !errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("filling the disk: %w", err)
	}
	return nil
}

func fewDescriptors(ctx context.Context, r *run, rate int) error {
	a, err := r.startAlone(ctx, "fd-limit", 64, "prlimit --nofile=128:128")
	if err != nil {
		return err
	}
	err = a.hurt(ctx, r, rate, "crowd", func() error {
		var idle []net.Conn
		for range 300 {
			conn, err := net.DialTimeout("tcp", a.process.Addr, 5*time.Second)
			if err != nil {
				return err
			}
			idle = append(idle, conn)
		}
		err := r.hold(ctx, 15*time.Second)
		for _, conn := range idle {
			_ = conn.Close()
		}
		return err
	})
	return errors.Join(err, a.leave(ctx))
}

// soak lets the system work for long and looks at what grows.
func soak(ctx context.Context, r *run, rate int) (err error) {
	var looks []map[string]vitals
	r.samples, err = r.driveWhile(ctx, mixed, rate, func() (err error) {
		for range 5 {
			if err := r.hold(ctx, 4*time.Minute); err != nil { // at first pools and caches fill
				return err
			}
			look := map[string]vitals{}
			for _, part := range r.cluster.Parts {
				if look[part.Name], err = examine(ctx, part); err != nil {
					return err
				}
			}
			looks = append(looks, look)
		}
		return r.hold(ctx, 4*time.Minute)
	})
	if err != nil {
		return err
	}
	var faults []error
	for name, first := range looks[0] {
		last := looks[len(looks)-1][name]
		r.notes = append(r.notes, fmt.Sprintf("%-18s goroutines %d → %d, descriptors %d → %d, heap %d → %d MB, resident %d → %d MB", name,
			first.goroutines, last.goroutines, first.descriptors, last.descriptors, first.heap>>20, last.heap>>20, first.resident>>20, last.resident>>20))
		if last.goroutines > first.goroutines*5/4+50 || last.descriptors > first.descriptors*5/4+30 || last.resident > first.resident*5/4+32<<20 {
			faults = append(faults, fmt.Errorf("%s grew from %+v to %+v", name, first, last))
		}
	}
	return errors.Join(faults...)
}
