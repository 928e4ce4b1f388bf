package console

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
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

// images are the kinds of logos besides SVG, by how their files begin; then a size may
// come, and another mark.
var images = []struct{ extension, mediaType, begins, mark string }{
	{"png", "image/png", "\x89PNG\r\n\x1a\n", ""},
	{"jpg", "image/jpeg", "\xff\xd8\xff", ""},
	{"webp", "image/webp", "RIFF", "WEBP"},
}

// sizeLength is the length of the size in the header of a WebP file.
const sizeLength = 4

// maxLogo is the largest logo in bytes: every visitor loads it.
const maxLogo = 512 << 10

// loadLogo takes the logo.
func (p *Pages) loadLogo(b Brand) error {
	switch {
	case len(b.Logo) == 0:
		return nil
	case len(b.Logo) > maxLogo:
		return fmt.Errorf("the logo is larger than %d KiB", maxLogo>>10)
	}
	for _, kind := range images {
		rest, begins := bytes.CutPrefix(b.Logo, []byte(kind.begins))
		if begins && (kind.mark == "" || len(rest) > sizeLength && bytes.HasPrefix(rest[sizeLength:], []byte(kind.mark))) {
			p.logo = p.addAsset("logo", kind.extension, asset{b.Logo, kind.mediaType})
			return nil
		}
	}
	if err := checkSVG(b.Logo); err != nil {
		return fmt.Errorf("the logo is no PNG, JPEG or WebP file, and no plain SVG file: %w", err)
	}
	p.logo = p.addAsset("logo", "svg", asset{b.Logo, "image/svg+xml"})
	return nil
}

// checkSVG allows an SVG file that is nothing but a drawing: it runs nothing, and loads
// nothing from elsewhere.
func checkSVG(file []byte) error {
	decoder := xml.NewDecoder(bytes.NewReader(bytes.TrimPrefix(file, []byte("\ufeff"))))
	elements := 0
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) && elements > 0 {
			return nil
		}
		if err != nil {
			return err
		}
		switch t := token.(type) {
		case xml.Directive:
			return errors.New("it has a document type")
		case xml.CharData:
			if loads(string(t)) {
				return errElsewhere
			}
		case xml.StartElement:
			if elements++; elements == 1 && t.Name.Local != "svg" {
				return errors.New("it does not begin with the element svg")
			}
			if err := checkElement(t); err != nil {
				return err
			}
		}
	}
}

var errElsewhere = errors.New("it refers to something elsewhere")

// elsewhere finds what a stylesheet loads that is not in the file itself.
var elsewhere = regexp.MustCompile(`(?i)@import|url\(\s*["']?\s*[^#"'\s]`)

func loads(style string) bool { return elsewhere.MatchString(style) }

func checkElement(e xml.StartElement) error {
	if name := strings.ToLower(e.Name.Local); name == "script" || name == "foreignobject" || name == "iframe" {
		return fmt.Errorf("it has the element %s", name)
	}
	for _, a := range e.Attr {
		switch name := strings.ToLower(a.Name.Local); {
		case strings.HasPrefix(name, "on"):
			return fmt.Errorf("it has the attribute %s", name)
		case name == "href" && !strings.HasPrefix(a.Value, "#") && !strings.HasPrefix(a.Value, "data:image/"):
			return errElsewhere
		case loads(a.Value):
			return errElsewhere
		}
	}
	return nil
}
