// Package picture draws the pictures a user or a video has before it has one of
// its own: they are made from an id alone, so they always load. Each function
// returns the same PNG for the same id, in every process, smaller
// than 16 KB; it is drawn anew each time, which takes milliseconds, so whoever
// serves them remembers what was drawn.
package picture

import (
	"bytes"
	"encoding/binary"
	"hash/fnv"
	"image"
	"image/color"
	"image/png"
	"math"
	"math/bits"
)

// Avatar returns the picture of a user: light blocks, mirrored, on a gradient,
// 256×256 pixels. Two users practically never share one.
func Avatar(id int64) []byte {
	const side, cells, margin = 256, 5, 28
	const cell = float64(side-2*margin) / cells
	seed := hash("avatar", id)
	hue := float64(seed>>16&0xffff) / 0x10000
	blocks := mirrored(seed)
	return draw(side, side, theme{
		top: hsl(hue, 0.62, 0.56), bottom: hsl(hue+0.11, 0.66, 0.42), ink: color.RGBA{255, 255, 255, 235},
	}, func(x, y float64) float64 {
		// The cell below the pixel, and how far within its rounded square.
		column, row := math.Floor((x-margin)/cell), math.Floor((y-margin)/cell)
		if column < 0 || row < 0 || column >= cells || row >= cells || !blocks[int(row)][int(column)] {
			return 0
		}
		dx := math.Abs(x - margin - (column+0.5)*cell)
		dy := math.Abs(y - margin - (row+0.5)*cell)
		const half, radius = cell/2 - 1.5, 8
		outside := math.Hypot(max(dx-half+radius, 0), max(dy-half+radius, 0)) - radius
		return 0.5 - outside
	})
}

// mirrored spreads 15 bits over the left half of five rows and mirrors them. A
// face nearly empty or nearly full gets a second draw.
func mirrored(seed uint64) (blocks [5][5]bool) {
	const half = 1<<15 - 1
	face := seed & half
	if count := bits.OnesCount64(face); count < 5 || count > 11 {
		face = seed >> 32 & half
	}
	face |= 1 << 7 // the middle, so that no face is empty
	for i := range 15 {
		row, column := i/3, i%3
		set := face>>i&1 == 1
		blocks[row][column], blocks[row][4-column] = set, set
	}
	return blocks
}

// Background returns the picture behind a profile: soft circles on a gradient,
// 720×360 pixels.
func Background(id int64) []byte {
	const width, height = 720, 360
	seed := hash("background", id)
	hue := float64(seed&0xffff) / 0x10000
	type circle struct{ x, y, r float64 }
	var circles [4]circle
	for i := range circles {
		part := seed >> (16 + 12*i)
		circles[i] = circle{float64(part&0x3f) / 0x3f * width, float64(part>>3&0x3f) / 0x3f * height, 60 + float64(part>>6&0x3f)*2}
	}
	return draw(width, height, theme{
		top: hsl(hue, 0.50, 0.48), bottom: hsl(hue+0.16, 0.55, 0.26), ink: color.RGBA{255, 255, 255, 72},
	}, func(x, y float64) float64 {
		var covered float64
		for _, c := range circles {
			if dx, dy := x-c.x, y-c.y; dx*dx+dy*dy < c.r*c.r {
				covered += 1.0 / 3
			}
		}
		return covered
	})
}

// Cover returns the cover of a video that has none yet: a play sign on a dark
// gradient, 360×640 pixels.
func Cover() []byte {
	const width, height, ring, thick = 360, 640, 62, 5
	return draw(width, height, theme{
		top: color.RGBA{44, 47, 66, 255}, bottom: color.RGBA{16, 17, 26, 255}, ink: color.RGBA{255, 255, 255, 210},
	}, func(x, y float64) float64 {
		x, y = x-width/2, y-height/2
		circle := 0.5 - (math.Abs(math.Hypot(x, y)-ring) - thick/2)
		// A triangle is what lies left of its two sloping sides and right of the third.
		right, left := 34.0-x-math.Abs(y)*1.75, x+22
		return max(circle, min(right/2, left)+0.5)
	})
}

// theme is a vertical gradient and what is drawn over it.
type theme struct{ top, bottom, ink color.RGBA }

const (
	steps  = 64 // of the gradient
	levels = 4  // of the ink over it, from none to full
)

// draw returns a PNG in which every pixel shows the gradient of its row under as
// much ink as cover says, 0 to 1. A palette of steps times levels holds every
// colour, which keeps the file small.
func draw(width, height int, t theme, cover func(x, y float64) float64) []byte {
	img := image.NewPaletted(image.Rect(0, 0, width, height), t.palette())
	for y := range height {
		step := y * steps / height
		row := img.Pix[y*img.Stride:][:width]
		for x := range row {
			ink := min(max(cover(float64(x)+0.5, float64(y)+0.5), 0), 1)
			row[x] = uint8(step*levels + int(ink*(levels-1)+0.5))
		}
	}
	var out bytes.Buffer
	if err := png.Encode(&out, img); err != nil {
		panic("picture: a picture in memory cannot be encoded: " + err.Error())
	}
	return out.Bytes()
}

func (t theme) palette() color.Palette {
	palette := make(color.Palette, 0, steps*levels)
	for step := range steps {
		ground := mix(t.top, t.bottom, float64(step)/(steps-1))
		for level := range levels {
			strength := float64(level) / (levels - 1) * float64(t.ink.A) / 255
			palette = append(palette, mix(ground, t.ink, strength))
		}
	}
	return palette
}

// mix returns the opaque colour that lies share of the way from a to b.
func mix(a, b color.RGBA, share float64) color.RGBA {
	between := func(a, b uint8) uint8 { return uint8(math.Round(float64(a) + (float64(b)-float64(a))*share)) }
	return color.RGBA{between(a.R, b.R), between(a.G, b.G), between(a.B, b.B), 255}
}

// hsl returns the colour of a hue in turns, a saturation and a lightness.
func hsl(hue, saturation, lightness float64) color.RGBA {
	channel := func(n float64) uint8 {
		k := math.Mod(n+hue*12, 12)
		return uint8(math.Round(255 * (lightness - saturation*min(lightness, 1-lightness)*max(-1, min(k-3, 9-k, 1)))))
	}
	return color.RGBA{channel(0), channel(8), channel(4), 255}
}

// hash spreads an id over 64 bits, differently for each kind of picture.
func hash(kind string, id int64) uint64 {
	h := fnv.New64a()
	h.Write([]byte(kind))
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(id)))
	// FNV's high bits move little with the last bytes; one round of mixing spreads them.
	sum := h.Sum64()
	sum ^= sum >> 33
	sum *= 0xff51afd7ed558ccd
	return sum ^ sum>>33
}
