package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
	"unicode/utf8"

	"backbeat/app/boot"
	"backbeat/app/errs"
	"backbeat/app/terminal"
	"backbeat/mq"
)

// mostDead bounds how many dead messages of a queue are listed.
const mostDead = 1000

// dead lists, shows and replays messages that were given up.
func dead(ctx context.Context, i invocation) error {
	usage := errors.New("dead takes: list, show ID, or replay ID…")
	if len(i.args) == 0 {
		return usage
	}
	cfg, err := i.load()
	if err != nil {
		return err
	}
	broker, closeBroker, err := boot.OpenBroker(cfg, newLog(cfg.Log, i.errOut))
	defer func() { _ = closeBroker() }() // the command is over, what counts was answered
	if err != nil {
		return err
	}
	verb, ids := i.args[0], i.args[1:]
	switch {
	case verb == "list" && len(ids) == 0:
		return listDead(ctx, i.out, broker)
	case verb == "show" && len(ids) == 1:
		return showDead(ctx, i.out, broker, ids[0])
	case verb == "replay" && len(ids) > 0:
		for _, id := range ids {
			if err := replayDead(ctx, i.out, broker, id); err != nil {
				return err
			}
		}
		return nil
	default:
		return usage
	}
}

func listDead(ctx context.Context, out io.Writer, letters mq.DeadLetters) error {
	var table terminal.Table
	table.Title("ID", "QUEUE", "TYPE", "DIED", "IN", "REASON")
	total := 0
	for _, queue := range boot.Queues() {
		messages, err := letters.Dead(ctx, queue, mostDead)
		if err != nil {
			return err
		}
		for _, m := range messages {
			table.Row(m.ID, m.Queue, m.Type, m.Died.Format(time.RFC3339), m.Store, fmt.Sprintf("%.80s", m.Reason))
		}
		total += len(messages)
	}
	table.Row(fmt.Sprintf("%d dead", total))
	_, err := table.WriteTo(out)
	return err
}

func showDead(ctx context.Context, out io.Writer, letters mq.DeadLetters, id string) error {
	for _, queue := range boot.Queues() {
		messages, err := letters.Dead(ctx, queue, mostDead)
		if err != nil {
			return err
		}
		for _, m := range messages {
			if m.ID != id {
				continue
			}
			body := fmt.Sprintf("%x", m.Body)
			if utf8.Valid(m.Body) {
				body = fmt.Sprintf("%q", m.Body)
			}
			_, err := fmt.Fprintf(out, "id:       %s\nqueue:    %s (%s)\ntype:     %s\ndied:     %s\nattempts: %d\nreason:   %s\nbody:     %s\n",
				m.ID, m.Queue, m.Store, m.Type, m.Died.Format(time.RFC3339), m.Attempt, m.Reason, body)
			return err
		}
	}
	return fmt.Errorf("no dead message has the id %s", id)
}

func replayDead(ctx context.Context, out io.Writer, letters mq.DeadLetters, id string) error {
	for _, queue := range boot.Queues() {
		err := letters.Replay(ctx, queue, id)
		if errs.Is(err, errs.NotFound) {
			continue
		}
		if err == nil {
			fmt.Fprintf(out, "%s is back in %s\n", id, queue.Name)
		}
		return err
	}
	return fmt.Errorf("no dead message has the id %s", id)
}
