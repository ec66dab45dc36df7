package ffmpeg

import (
	"context"
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// probeLimits bound a look into a file.
var probeLimits = limits{clock: 5 * time.Second, computing: 3 * time.Second, nice: 5}

// Info is what a file says of itself; a stranger's file may lie.
type Info struct {
	// Duration is 0 when the file does not say.
	Duration time.Duration
	// Streams counts all of them, also those we have no use for.
	Streams int
	// Video is the first video stream that is not a cover picture, Audio the first
	// audio stream; nil when there is none.
	Video, Audio *Stream
}

// Stream is one stream of a file.
type Stream struct {
	Index int
	// Codec, Profile and Pixels are ffmpeg's names, such as h264, High, yuv420p.
	Codec, Profile, Pixels string
	// Width and Height are those of the coded picture.
	Width, Height int
	// Rate is the mean number of pictures in a second, 0 when unknown.
	Rate float64
	// Turned is true when players show the picture turned by a quarter.
	Turned bool
}

// DisplaySize returns the width and height of the picture that people see.
func (s *Stream) DisplaySize() (width, height int) {
	if s.Turned {
		return s.Height, s.Width
	}
	return s.Width, s.Height
}

// probed is ffprobe's answer.
type probed struct {
	Format struct {
		Duration string `json:"duration"`
	} `json:"format"`
	Streams []struct {
		Index       int    `json:"index"`
		Type        string `json:"codec_type"`
		Codec       string `json:"codec_name"`
		Profile     string `json:"profile"`
		Pixels      string `json:"pix_fmt"`
		Width       int    `json:"width"`
		Height      int    `json:"height"`
		Rate        string `json:"avg_frame_rate"`
		Disposition struct {
			Picture int `json:"attached_pic"`
		} `json:"disposition"`
		SideData []struct {
			Rotation float64 `json:"rotation"`
		} `json:"side_data_list"`
	} `json:"streams"`
}

const probeEntries = "format=duration:stream=index,codec_type,codec_name,profile,pix_fmt,width,height,avg_frame_rate" +
	":stream_disposition=attached_pic:stream_side_data=rotation"

// Probe looks into the file called name in the folder dir.
func (t *Tools) Probe(ctx context.Context, dir, name string) (*Info, error) {
	args := append(slices.Clone(hostile), "-of", "json", "-show_entries", probeEntries, "file:"+name)
	answer, err := t.run(ctx, run{"probe", dir, probeLimits, t.ffprobe, args})
	if err != nil {
		return nil, err
	}
	var p probed
	if err := json.Unmarshal(answer, &p); err != nil {
		return nil, &BadFile{Detail: "ffprobe's answer: " + err.Error()}
	}
	return p.info(), nil
}

func (p *probed) info() *Info {
	info := &Info{Duration: seconds(p.Format.Duration), Streams: len(p.Streams)}
	for _, s := range p.Streams {
		stream := &Stream{
			Index: s.Index, Codec: s.Codec, Profile: s.Profile, Pixels: s.Pixels,
			Width: s.Width, Height: s.Height, Rate: ratio(s.Rate),
		}
		for _, side := range s.SideData {
			quarters := int(math.Round(side.Rotation / 90))
			stream.Turned = stream.Turned || quarters%2 != 0
		}
		switch {
		case s.Type == "video" && s.Disposition.Picture == 0 && info.Video == nil:
			info.Video = stream
		case s.Type == "audio" && info.Audio == nil:
			info.Audio = stream
		}
	}
	return info
}

// seconds reads a number of seconds, 0 when it is none or senseless.
func seconds(s string) time.Duration {
	number, err := strconv.ParseFloat(s, 64)
	if err != nil || !(number > 0 && number < 1e9) {
		return 0
	}
	return time.Duration(number * float64(time.Second))
}

// ratio reads a fraction such as 30000/1001, 0 when it is none.
func ratio(s string) float64 {
	above, below, _ := strings.Cut(s, "/")
	a, errA := strconv.ParseFloat(above, 64)
	b, errB := strconv.ParseFloat(below, 64)
	if errA != nil || errB != nil || b == 0 {
		return 0
	}
	return a / b
}
