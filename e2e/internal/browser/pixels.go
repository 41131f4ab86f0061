package browser

import (
	"fmt"
	"image"
	"image/color"
	"image/draw"
)

// Tolerance is the allowed difference between two pictures of the same page: the same browser draws the same page with
// the same pixels, except for the edges of scaled pictures.
type Tolerance struct {
	// Channel is the largest ignored difference of a color channel, out of 255.
	Channel int
	// Share is the maximum share of the pixels that may differ by more.
	Share float64
}

// DefaultTolerance returns a tolerance of 8 out of 255 and one pixel in 10,000.
func DefaultTolerance() Tolerance { return Tolerance{Channel: 8, Share: 0.0001} }

// Differ describes how two pictures differ by more than the tolerance, or returns "".
func Differ(one, other image.Image, tolerance Tolerance) string {
	if one.Bounds().Size() != other.Bounds().Size() {
		return fmt.Sprintf("the picture is %v and should be %v pixels", one.Bounds().Size(), other.Bounds().Size())
	}
	first, second := pixels(one), pixels(other)
	differing := 0
	var where image.Point
	for i := 0; i < len(first.Pix); i += 4 {
		for channel := range 3 {
			difference := int(first.Pix[i+channel]) - int(second.Pix[i+channel])
			if difference > tolerance.Channel || -difference > tolerance.Channel {
				if differing == 0 {
					where = image.Pt(i%first.Stride/4, i/first.Stride)
				}
				differing++
				break
			}
		}
	}
	total := len(first.Pix) / 4
	if float64(differing) <= tolerance.Share*float64(total) {
		return ""
	}
	return fmt.Sprintf("%d of %d pixels differ, the first at %v: %v and should be %v", differing, total, where,
		color.RGBAModel.Convert(one.At(where.X, where.Y)), color.RGBAModel.Convert(other.At(where.X, where.Y)))
}

// pixels converts a picture to RGBA.
func pixels(picture image.Image) *image.RGBA {
	if already, ok := picture.(*image.RGBA); ok && already.Rect.Min == (image.Point{}) {
		return already
	}
	size := picture.Bounds()
	copied := image.NewRGBA(image.Rect(0, 0, size.Dx(), size.Dy()))
	draw.Draw(copied, copied.Rect, picture, size.Min, draw.Src)
	return copied
}
