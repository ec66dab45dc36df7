package command

import (
	"context"
	"flag"
	"fmt"
	"time"

	"backbeat/app/boot"
	"backbeat/app/seed"
	"backbeat/app/video"
)

// seedDatabase fills the empty database of the configuration in bulk.
func seedDatabase(ctx context.Context, i invocation) (err error) {
	cfg, err := i.load()
	if err != nil {
		return err
	}
	o := seed.Options{
		Size:     seed.DefaultSize,
		Video:    video.WorkerConfig{FFmpeg: cfg.Media.FFmpeg, FFprobe: cfg.Media.FFprobe, MaxDuration: cfg.Media.MaxDuration},
		Progress: i.out,
	}
	flags := flag.NewFlagSet("seed", flag.ContinueOnError)
	flags.SetOutput(i.errOut)
	for name, number := range map[string]*int{
		"users": &o.Users, "videos": &o.Videos, "likes": &o.Likes,
		"comments": &o.Comments, "follows": &o.Follows, "messages": &o.Messages,
	} {
		flags.IntVar(number, name, *number, "how many "+name)
	}
	flags.Uint64Var(&o.Seed, "seed", 1, "chooses who does what: the same number, the same deeds")
	flags.StringVar(&o.Clip, "clip", "", "video file that all videos play (default one that ffmpeg draws)")
	if err := flags.Parse(i.args); err != nil || flags.NArg() > 0 {
		return fmt.Errorf("see backbeat seed -help")
	}
	if err := ensureFFmpeg(ctx, cfg.Media, i.errOut); err != nil {
		return err
	}
	started := time.Now()
	log := newLog(cfg.Log, i.errOut)
	db, media, closeStores, err := boot.OpenStores(cfg, log)
	defer func() { _ = closeStores() }() // the command is over, what counts was committed
	if err != nil {
		return err
	}
	if err := seed.Fill(ctx, seed.Deps{DB: db, Media: media, Now: time.Now, Log: log}, o); err != nil {
		return err
	}
	_, err = fmt.Fprintf(i.out, "%s, in %.1f s.\nLog in as %q with the password %q.\n",
		o.Size, time.Since(started).Seconds(), seed.Name(0, o.Users), seed.Password)
	return err
}
