package demo

import (
	"testing"
)

func TestNoTwoClipsAreAlike(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range clips(len(titles), len(names)) {
		looks := c.picture + c.sound
		if seen[looks] || seen[c.title] {
			t.Errorf("%q is made twice", c.title)
		}
		seen[looks], seen[c.title] = true, true
		if c.author >= len(names) {
			t.Errorf("%q has no author", c.title)
		}
	}
	if len(titles) != 60 || len(names) != 30 {
		t.Errorf("%d titles, %d names", len(titles), len(names))
	}
}

func TestEveryPictureRenders(t *testing.T) {
	for _, c := range clips(len(pictures), 1) {
		t.Run(c.picture, func(t *testing.T) {
			c.seconds = 1
			if err := c.render(t.Context(), "ffmpeg", t.TempDir()+"/clip.mp4"); err != nil {
				t.Error(err)
			}
		})
	}
}
