package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"google.golang.org/protobuf/proto"

	"backbeat/app/favorite"
	"backbeat/app/video"
	"backbeat/proto/event"
)

// poisoned puts bad messages between the good ones and waits until they are all
// among the dead, then looks at one and replays it: it must die again.
func poisoned(ctx context.Context, r *run) error {
	each, panics := max(3, int(100*r.scale.time)), max(1, int(10*r.scale.time))
	bad := 2*each + panics
	before, err := r.dead(ctx)
	if err != nil {
		return err
	}
	if err := r.during("poison", func() error { return r.poison(ctx, each, panics) }); err != nil {
		return err
	}
	buried := func() error {
		now, err := r.dead(ctx)
		if err == nil && now != before+bad {
			err = fmt.Errorf("%d of %d are among the dead", now-before, bad)
		}
		return err
	}
	if err := within(ctx, time.Minute, buried); err != nil {
		return err
	}
	first := "unreadable-0-" + strconv.Itoa(before)
	for id, reason := range map[string]string{
		first: "decoding message", "strange-0-" + strconv.Itoa(before): "unknown type",
		"strange-2-" + strconv.Itoa(before): "video", "provoked-0-" + strconv.Itoa(before): "panic: provoked",
	} {
		shown, err := r.backbeat(ctx, "dead", "show", id)
		if err != nil {
			return err
		}
		if !bytes.Contains(shown, []byte(reason)) {
			return fmt.Errorf("dead show of %s does not say %q: %s", id, reason, shown)
		}
	}
	if _, err := r.backbeat(ctx, "dead", "replay", first); err != nil {
		return err
	}
	r.notes = append(r.notes, fmt.Sprintf("%d bad messages dead, four shown, %s replayed and dead again", bad, first))
	return within(ctx, time.Minute, buried)
}

// poison publishes bad messages straight into the broker, past the service.
func (r *run) poison(ctx context.Context, each, panics int) (err error) {
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
	good, err := proto.Marshal(&event.FavoriteWrites{Writes: []*event.FavoriteWrite{{UserId: 1, VideoId: 1, AuthorId: 1, Liked: true, Version: 1}}})
	if err != nil {
		return err
	}
	missing, err := proto.Marshal(&event.VideoPublish{VideoId: 1})
	if err != nil {
		return err
	}
	// Unconfirmed, some would be lost with the connection.
	if err := channel.Confirm(false); err != nil {
		return err
	}
	var sent []*amqp.DeferredConfirmation
	put := func(queue, id string, n int, kind string, body []byte) error {
		one, err := channel.PublishWithDeferredConfirmWithContext(ctx, "", queue, false, false, amqp.Publishing{
			MessageId: fmt.Sprintf("%s-%d-%d", id, n, dead), Type: kind, Body: body, DeliveryMode: amqp.Persistent,
		})
		sent = append(sent, one)
		return err
	}
	likes := favorite.Queue.Name
	for n := range each {
		faults := []error{put(likes, "unreadable", n, "favorite.write/2", []byte("\xff\xff\xff"))}
		switch n % 3 {
		case 0:
			faults = append(faults, put(likes, "strange", n, "favorite.unheard-of/1", good))
		case 1:
			faults = append(faults, put(likes, "strange", n, "favorite.write/99", good))
		case 2:
			faults = append(faults, put(video.PublishQueue.Name, "strange", n, "video.publish/1", missing))
		}
		if n < panics {
			faults = append(faults, put(likes, "provoked", n, "panic", good))
		}
		if err := errors.Join(faults...); err != nil {
			return err
		}
	}
	for _, one := range sent {
		if taken, err := one.WaitContext(ctx); err != nil || !taken {
			return errors.Join(errors.New("the broker did not take a bad message"), err)
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
