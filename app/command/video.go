package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"backbeat/app/boot"
	"backbeat/app/changes"
	"backbeat/app/video"
	"backbeat/model"
)

// moderate shows a video, hides it, shows it again or has it processed anew.
func moderate(ctx context.Context, i invocation) error {
	usage := errors.New("video takes: show ID, hide ID, unhide ID, or reprocess ID")
	if len(i.args) != 2 {
		return usage
	}
	id, err := strconv.ParseInt(i.args[1], 10, 64)
	if err != nil {
		return fmt.Errorf("%q is no id of a video", i.args[1])
	}
	return i.withDatabase(ctx, func(s session) error {
		var err error
		var done string
		switch i.args[0] {
		case "show":
			row, err := video.Find(ctx, s.db, id)
			if err != nil {
				return err
			}
			return showVideo(i.out, row)
		case "hide":
			err, done = hide(ctx, s, id), "hidden, and its files have other addresses; lists of likes may show its title for as long as cache.cards says (5m) more"
		case "unhide":
			err, done = unhide(ctx, s, id), "published again, as the newest"
		case "reprocess":
			err, done = reprocess(ctx, s, id), "queued"
		default:
			return usage
		}
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(i.out, "video %d is %s\n", id, done)
		return err
	})
}

func hide(ctx context.Context, s session, id int64) (err error) {
	files, closeMedia, err := boot.OpenMedia(s.cfg, s.log)
	defer func() { err = errors.Join(err, closeMedia()) }()
	if err != nil {
		return err
	}
	return s.counting(func(counted *changes.Announcer) error {
		return video.Hide(ctx, s.db, files, counted, id)
	})
}

func unhide(ctx context.Context, s session, id int64) error {
	return s.counting(func(counted *changes.Announcer) error {
		return video.Unhide(ctx, s.db, counted, id, time.Now())
	})
}

func reprocess(ctx context.Context, s session, id int64) (err error) {
	broker, closeBroker, err := boot.OpenBroker(s.cfg, s.log)
	defer func() { err = errors.Join(err, closeBroker()) }()
	if err != nil {
		return err
	}
	return video.Reprocess(ctx, s.db, broker, id, time.Now())
}

var stateNames = map[model.VideoState]string{
	model.VideoProcessing: "processing", model.VideoPublished: "published",
	model.VideoFailed: "failed", model.VideoHidden: "hidden",
}

func showVideo(out io.Writer, row *model.Video) error {
	published := "-"
	if row.PublishedAt != nil {
		published = time.UnixMilli(*row.PublishedAt).Format(time.RFC3339)
	}
	_, err := fmt.Fprintf(out, `id:        %d
author:    %d
title:     %q
state:     %s
reason:    %q
uploaded:  %s
published: %s
plays:     %d × %d, %v, %d bytes
file:      %s
cover:     %s
original:  %s
`, row.ID, row.AuthorID, row.Title, stateNames[row.State], row.Reason,
		time.UnixMilli(row.CreatedAt).Format(time.RFC3339), published,
		row.Width, row.Height, time.Duration(row.DurationMS)*time.Millisecond, row.Size,
		row.PlayKey, row.CoverKey, row.OriginalKey)
	return err
}
