package console

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
)

// asset is a file that pages are made of.
type asset struct {
	body      []byte
	mediaType string
}

// Asset returns a file by its name in a page, which changes with the content, and its
// media type.
func (p *Pages) Asset(name string) (body []byte, mediaType string, ok bool) {
	a, ok := p.assets[name]
	return a.body, a.mediaType, ok
}

// addAsset returns the name of an asset: kind, hash of the content and extension.
func (p *Pages) addAsset(kind, extension string, a asset) string {
	sum := sha256.Sum256(a.body)
	name := kind + "." + hex.EncodeToString(sum[:8]) + "." + extension
	p.assets[name] = a
	return name
}

// defaultColor is that of our buttons and links.
const defaultColor = "#1f5f99"

// The backgrounds that a color is read on, in light and in dark.
const (
	lightGround = "#ffffff"
	darkGround  = "#1b1f24"
)

// leastContrast is what text needs (WCAG 2.2, 1.4.3).
const leastContrast = 4.5

// loadStyle makes the stylesheet, with the brand's color in it.
func (p *Pages) loadStyle(b Brand) error {
	text := b.Color
	if text == "" {
		text = defaultColor
	}
	c, err := parseColor(text)
	if err != nil {
		return err
	}
	light, dark := c.readableOn(mustColor(lightGround)), c.readableOn(mustColor(darkGround))
	style, err := files.ReadFile("style.css")
	if err != nil {
		return err
	}
	body := fmt.Sprintf(":root{--brand:%s;--on-brand:%s}\n@media (prefers-color-scheme:dark){:root{--brand:%s;--on-brand:%s}}\n%s",
		light, light.text(), dark, dark.text(), style)
	p.style = p.addAsset("style", "css", asset{[]byte(body), "text/css; charset=UTF-8"})
	return nil
}

// color is a color in sRGB, each part from 0 to 255.
type color struct{ r, g, b float64 }

var colorForm = regexp.MustCompile(`^#[0-9A-Fa-f]{6}$`)

func parseColor(s string) (color, error) {
	if !colorForm.MatchString(s) {
		return color{}, fmt.Errorf("%q is no color: it must be #rrggbb", s)
	}
	n, err := strconv.ParseUint(s[1:], 16, 32)
	return color{float64(n >> 16), float64(n >> 8 & 0xFF), float64(n & 0xFF)}, err
}

// mustColor is for our own colors.
func mustColor(s string) color {
	c, err := parseColor(s)
	if err != nil {
		panic(err)
	}
	return c
}

// String is the color as #rrggbb.
func (c color) String() string {
	return fmt.Sprintf("#%02x%02x%02x", int(math.Round(c.r)), int(math.Round(c.g)), int(math.Round(c.b)))
}

// luminance is the relative luminance (WCAG 2.2).
func (c color) luminance() float64 {
	linear := func(v float64) float64 {
		if v /= 255; v <= 0.04045 {
			return v / 12.92
		}
		return math.Pow((v+0.055)/1.055, 2.4)
	}
	return 0.2126*linear(c.r) + 0.7152*linear(c.g) + 0.0722*linear(c.b)
}

// contrast is the contrast ratio of two colors, from 1 to 21 (WCAG 2.2).
func (c color) contrast(other color) float64 {
	a, b := c.luminance()+0.05, other.luminance()+0.05
	return max(a, b) / min(a, b)
}

// readableOn is the color, as much darker or lighter as it takes to be read on a ground.
func (c color) readableOn(ground color) color {
	toward := color{0, 0, 0}
	if ground.luminance() < 0.2 {
		toward = color{255, 255, 255}
	}
	mixed := c
	for share := 0.0; mixed.rounded().contrast(ground) < leastContrast && share < 1; share += 0.02 {
		mixed = color{c.r + (toward.r-c.r)*share, c.g + (toward.g-c.g)*share, c.b + (toward.b-c.b)*share}
	}
	return mixed.rounded()
}

func (c color) rounded() color { return color{math.Round(c.r), math.Round(c.g), math.Round(c.b)} }

// text is the color of text on this one: white or black, whichever is read better.
func (c color) text() color {
	white, black := color{255, 255, 255}, color{0, 0, 0}
	if c.contrast(white) >= c.contrast(black) {
		return white
	}
	return black
}

// images are the kinds of logos, by how their files begin.
var images = []struct{ begins, extension, mediaType string }{
	{"\x89PNG\r\n\x1a\n", "png", "image/png"},
	{"\xff\xd8\xff", "jpg", "image/jpeg"},
	{"RIFF", "webp", "image/webp"},
	{"<svg", "svg", "image/svg+xml"},
	{"<?xml", "svg", "image/svg+xml"},
}

// maxLogo is the largest logo in bytes: every visitor loads it.
const maxLogo = 512 << 10

// loadLogo takes the logo. Browsers run no scripts of an image; one that brings some is
// refused all the same.
func (p *Pages) loadLogo(b Brand) error {
	if len(b.Logo) == 0 {
		return nil
	}
	if len(b.Logo) > maxLogo {
		return fmt.Errorf("the logo is larger than %d KiB", maxLogo>>10)
	}
	for _, kind := range images {
		if !bytes.HasPrefix(b.Logo, []byte(kind.begins)) {
			continue
		}
		if text := strings.ToLower(string(b.Logo)); kind.extension == "svg" && (!strings.Contains(text, "<svg") || strings.Contains(text, "<script")) {
			return errors.New("the logo is no SVG file without scripts")
		}
		p.logo = p.addAsset("logo", kind.extension, asset{b.Logo, kind.mediaType})
		return nil
	}
	return errors.New("the logo is no PNG, JPEG, WebP or SVG file")
}
