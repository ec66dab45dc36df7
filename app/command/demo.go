package command

import (
	"context"
	"flag"
	"fmt"

	"backbeat/app/demo"
)

// fill fills a running instance through its public API.
func fill(ctx context.Context, i invocation) error {
	cfg, err := i.load()
	if err != nil {
		return err
	}
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.SetOutput(i.errOut)
	base := flags.String("url", "http://127.0.0.1:8080", "address of the instance")
	users := flags.Int("users", 30, "accounts, 1 to 30")
	clips := flags.Int("clips", 60, "videos, 0 to 60")
	if err := flags.Parse(i.args); err != nil {
		return fmt.Errorf("see backbeat demo -help")
	}
	if *users < 1 || *clips < 0 || flags.NArg() > 0 {
		return fmt.Errorf("demo takes -url, -users from 1 and -clips from 0")
	}
	if err := ensureFFmpeg(ctx, cfg.Media, i.errOut); err != nil {
		return err
	}
	return demo.Fill(ctx, demo.Options{Base: *base, FFmpeg: cfg.Media.FFmpeg, Users: *users, Clips: *clips, Progress: i.out})
}
