package picture_test

import (
	"bytes"
	"image"
	"image/png"
	"testing"

	"backbeat/app/picture"
)

func TestPictures(t *testing.T) {
	for _, test := range []struct {
		name          string
		draw          func(id int64) []byte
		width, height int
	}{
		{"avatar", picture.Avatar, 256, 256},
		{"background", picture.Background, 720, 360},
		{"cover", func(int64) []byte { return picture.Cover() }, 360, 640},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, id := range []int64{1, 2, 9007199254740991, 0, -1} {
				file := test.draw(id)
				img, err := png.Decode(bytes.NewReader(file))
				if err != nil {
					t.Fatalf("id %d: %v", id, err)
				}
				if size := img.Bounds().Size(); size.X != test.width || size.Y != test.height {
					t.Errorf("id %d: %v, want %d×%d", id, size, test.width, test.height)
				}
				if len(file) > 16<<10 {
					t.Errorf("id %d: %d bytes", id, len(file))
				}
				if !bytes.Equal(file, test.draw(id)) {
					t.Errorf("id %d is drawn differently the second time", id)
				}
			}
		})
	}
}

// TestPicturesDiffer draws for neighbouring ids, which are those of one evening.
func TestPicturesDiffer(t *testing.T) {
	for name, test := range map[string]struct {
		draw  func(int64) []byte
		count int64
	}{"avatar": {picture.Avatar, 100}, "background": {picture.Background, 20}} {
		seen := map[string]int64{}
		for id := int64(1 << 40); id < 1<<40+test.count; id++ {
			file := string(test.draw(id))
			if other, ok := seen[file]; ok {
				t.Errorf("%s: %d and %d look the same", name, other, id)
			}
			seen[file] = id
		}
	}
}

// TestAvatarIsMirroredAndShowsSomething looks at the drawing itself.
func TestAvatarIsMirroredAndShowsSomething(t *testing.T) {
	for id := range int64(50) {
		decoded, err := png.Decode(bytes.NewReader(picture.Avatar(id)))
		if err != nil {
			t.Fatal(err)
		}
		img := decoded.(*image.Paletted)
		colours := map[uint8]bool{}
		for y := range 256 {
			row := img.Pix[y*img.Stride:][:256]
			for x, index := range row {
				if index != row[255-x] {
					t.Fatalf("id %d: pixel %d,%d is not mirrored", id, x, y)
				}
				colours[index] = true
			}
		}
		if len(colours) < 80 { // the gradient alone has 64
			t.Errorf("id %d: only %d colours, there is nothing on the gradient", id, len(colours))
		}
	}
}

func BenchmarkAvatar(b *testing.B) {
	for id := int64(0); b.Loop(); id++ {
		picture.Avatar(id)
	}
}

func BenchmarkBackground(b *testing.B) {
	for id := int64(0); b.Loop(); id++ {
		picture.Background(id)
	}
}
