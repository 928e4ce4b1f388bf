package browser

import (
	"bytes"
	"cmp"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/page"
)

// TestScreenshots renders every page on every screen. With the flag it writes what
// docs/pages.md shows; without, it only looks whether there is something to see.
func TestScreenshots(t *testing.T) {
	t.Parallel()
	i := install(t, "Corner Shop", "BRAND_NAME=Corner Shop Accounts")
	v := i.visitors(alice)
	for _, name := range []string{"Corner Shop", "Warehouse Sync", "Corner Shop for Android"} {
		i.client = i.createClient(name)
		v.member.grant()
	}
	i.signedIn()
	i.backTo = "https://shop.example.com/callback" // where nobody goes
	i.client = i.createClient("Corner Shop")
	for _, shown := range everyPage {
		p := v.see(shown)
		for _, screen := range screens {
			for _, scheme := range schemes {
				p.with(screen, scheme)
				name := strings.Join([]string{shown.name, screen.name, scheme}, "-") + ".png"
				p.screenshot(name)
			}
		}
	}
}

// screenshot takes a picture of the whole page.
func (p *person) screenshot(name string) {
	p.t.Helper()
	whole := true
	shot := command(p, page.CaptureScreenshot, page.CaptureScreenshotParams{Format: page.CaptureScreenshotFormatPng, CaptureBeyondViewport: &whole})
	if len(shot.Data) < emptyPicture {
		p.t.Errorf("%s has %d bytes: there is nothing to see", name, len(shot.Data))
	}
	if *screenshots == "" {
		return
	}
	picture, err := png.Decode(bytes.NewReader(shot.Data))
	check(p.t, err)
	var file bytes.Buffer
	encoder := png.Encoder{CompressionLevel: png.BestCompression}
	check(p.t, encoder.Encode(&file, reduce(picture)))
	check(p.t, os.MkdirAll(*screenshots, 0o755))
	check(p.t, os.WriteFile(filepath.Join(*screenshots, name), file.Bytes(), 0o644))
}

// emptyPicture is more bytes than a page has that shows nothing but its ground.
const emptyPicture = 6 << 10

// reduce gives a picture its most frequent colors and no others.
func reduce(picture image.Image) *image.Paletted {
	const most = 64
	count := map[color.RGBA]int{}
	bounds := picture.Bounds()
	for y := range bounds.Dy() {
		for x := range bounds.Dx() {
			count[color.RGBAModel.Convert(picture.At(x, y)).(color.RGBA)]++
		}
	}
	var palette color.Palette
	for _, c := range slices.SortedFunc(maps.Keys(count), func(a, b color.RGBA) int { return cmp.Compare(count[b], count[a]) }) {
		if len(palette) < most {
			palette = append(palette, c)
		}
	}
	reduced := image.NewPaletted(bounds, palette)
	draw.Draw(reduced, bounds, picture, image.Point{}, draw.Src)
	return reduced
}
