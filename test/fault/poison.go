package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"google.golang.org/protobuf/proto"

	"backbeat/app/favorite"
	"backbeat/proto/event"
)

// poisoned puts bad messages between the good ones and waits until they are all
// among the dead, then looks at one and replays it: it must die again.
func poisoned(ctx context.Context, r *run) error {
	each := max(2, int(100*r.scale.time))
	before, err := r.dead(ctx)
	if err != nil {
		return err
	}
	if err := r.during("poison", func() error { return r.poison(ctx, each) }); err != nil {
		return err
	}
	buried := func() error {
		now, err := r.dead(ctx)
		if err == nil && now != before+2*each {
			err = fmt.Errorf("%d of %d are among the dead", now-before, 2*each)
		}
		return err
	}
	if err := within(ctx, time.Minute, buried); err != nil {
		return err
	}
	first := "unreadable-0-" + strconv.Itoa(before)
	shown, err := r.backbeat(ctx, "dead", "show", first)
	if err != nil {
		return err
	}
	if !bytes.Contains(shown, []byte("decoding message")) {
		return fmt.Errorf("dead show tells no reason: %s", shown)
	}
	if _, err := r.backbeat(ctx, "dead", "replay", first); err != nil {
		return err
	}
	r.notes = append(r.notes, fmt.Sprintf("%d bad messages dead, %s shown and replayed", 2*each, first))
	return within(ctx, time.Minute, buried)
}

// poison publishes bad messages straight into the broker, past the service.
func (r *run) poison(ctx context.Context, each int) (err error) {
	dead, err := r.dead(ctx)
	if err != nil {
		return err
	}
	conn, err := amqp.Dial(r.server("rabbitmq").URL)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	channel, err := conn.Channel()
	if err != nil {
		return err
	}
	good, err := proto.Marshal(&event.FavoriteWrite{UserId: 1, VideoId: 1, AuthorId: 1, Liked: true, Version: 1})
	if err != nil {
		return err
	}
	for n := range each {
		for _, bad := range []amqp.Publishing{
			{MessageId: fmt.Sprintf("unreadable-%d-%d", n, dead), Type: "favorite.write/1", Body: []byte("\xff\xff\xff")},
			{MessageId: fmt.Sprintf("unknown-%d-%d", n, dead), Type: "favorite.write/99", Body: good},
		} {
			bad.DeliveryMode = amqp.Persistent
			if err := channel.PublishWithContext(ctx, "", favorite.Queue.Name, false, false, bad); err != nil {
				return err
			}
		}
	}
	return nil
}

var deadTotal = regexp.MustCompile(`(?m)^(\d+) dead$`)

// dead asks the command how many messages were given up.
func (r *run) dead(ctx context.Context) (int, error) {
	printed, err := r.backbeat(ctx, "dead", "list")
	if err != nil {
		return 0, err
	}
	total := deadTotal.FindSubmatch(printed)
	if total == nil {
		return 0, fmt.Errorf("dead list prints no total: %s", printed)
	}
	return strconv.Atoi(string(total[1]))
}

// backbeat runs a command of the program as an operator of this cluster would.
func (r *run) backbeat(ctx context.Context, args ...string) ([]byte, error) {
	var printed, complaints bytes.Buffer
	cmd := exec.CommandContext(ctx, r.program, args...)
	cmd.Env = append(os.Environ(), r.cluster.Env...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = r.dir, &printed, &complaints
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("backbeat %v: %w: %s", args, err, complaints.String())
	}
	return printed.Bytes(), nil
}
