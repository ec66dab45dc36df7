package demo

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
)

// clip is one short video to be made.
type clip struct {
	title string
	// author is an index into the accounts.
	author int
	// picture and sound are sources of ffmpeg's lavfi.
	picture, sound string
	seconds        int
}

// pictures are moving patterns that ffmpeg draws by itself, in portrait.
var pictures = []string{
	"mandelbrot=size=360x640:rate=24:end_scale=0.02:start_x=-0.74:start_y=0.13",
	"gradients=size=360x640:rate=24:speed=0.02:nb_colors=5:seed=%d",
	"life=size=90x160:rate=12:mold=12:ratio=0.12:seed=%d:life_color=#ffcc55:death_color=#2a1a6a:mold_color=#08081a,scale=360:640:flags=neighbor",
	"cellauto=size=90x160:rate=24:rule=110:seed=%d,scale=360:640:flags=neighbor",
	"sierpinski=size=360x640:rate=24:seed=%d",
	"testsrc2=size=360x640:rate=24",
	"gradients=size=360x640:rate=24:type=radial:speed=0.04:nb_colors=4:seed=%d",
	"gradients=size=360x640:rate=24:type=spiral:speed=0.03:nb_colors=6:seed=%d",
}

// clips returns n works spread over the authors, no two alike.
func clips(n, authors int) []clip {
	made := make([]clip, n)
	for i := range made {
		picture := pictures[i%len(pictures)]
		if strings.Contains(picture, "%d") {
			picture = fmt.Sprintf(picture, i+1)
		}
		root := 110 + 15*(i%18)
		made[i] = clip{
			title:   titles[i],
			author:  i * 7 % authors,
			picture: fmt.Sprintf("%s,hue=h=%d", picture, i*47%360),
			// A chord that breathes.
			sound:   fmt.Sprintf("aevalsrc='0.12*(sin(2*PI*%d*t)+sin(2*PI*%d*t)+sin(2*PI*%d*t))*(0.6+0.4*sin(2*PI*t/2))':s=44100", root, root*5/4, root*3/2),
			seconds: 4 + i%4,
		}
	}
	return made
}

// render makes the clip at path.
func (c clip) render(ctx context.Context, ffmpeg, path string) error {
	seconds := fmt.Sprint(c.seconds)
	command := exec.CommandContext(ctx, ffmpeg, "-nostdin", "-v", "error", "-y",
		"-f", "lavfi", "-t", seconds, "-i", c.picture,
		"-f", "lavfi", "-t", seconds, "-i", c.sound,
		"-c:v", "libx264", "-preset", "ultrafast", "-crf", "28", "-pix_fmt", "yuv420p",
		"-c:a", "aac", "-b:a", "96k", "-shortest", path)
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("ffmpeg: %w: %s", err, strings.TrimSpace(string(output)))
	}
	return nil
}
