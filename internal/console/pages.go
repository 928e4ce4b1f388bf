package console

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"io/fs"
	"path"
	"strings"
	"time"
	"unicode"

	"golang.org/x/text/language"
)

//go:embed templates texts style.css
var files embed.FS

// defaultLanguage is the one that is shown where none is asked for that we have.
const defaultLanguage = "en"

// Pages renders all pages of an installation.
type Pages struct {
	brand     string
	base      string // path that the assets are below
	style     string // name of an asset, like the next
	logo      string // empty: none
	assets    map[string]asset
	texts     map[string]texts // by language
	languages []string
	matcher   language.Matcher
	pages     map[string]*template.Template
}

// texts are the texts of a language, by name.
type texts map[string]string

// New returns the pages of a brand, or what is wrong with it. They find their assets
// below a path, which ends with a slash.
func New(b Brand, assets string) (*Pages, error) {
	p := &Pages{brand: b.Name, base: assets, assets: map[string]asset{}, texts: map[string]texts{}, pages: map[string]*template.Template{}}
	if p.brand == "" {
		p.brand = "Counterfoil"
	}
	for _, load := range []func(Brand) error{p.loadStyle, p.loadLogo} {
		if err := load(b); err != nil {
			return nil, err
		}
	}
	if err := p.loadTexts(); err != nil {
		return nil, err
	}
	return p, p.loadTemplates()
}

// loadTexts reads a file for each language; the default one is the first.
func (p *Pages) loadTexts() error {
	names, err := fs.Glob(files, "texts/*.json")
	if err != nil {
		return err
	}
	tags := []language.Tag{language.Make(defaultLanguage)}
	p.languages = []string{defaultLanguage}
	for _, name := range names {
		code := strings.TrimSuffix(path.Base(name), ".json")
		content, err := files.ReadFile(name)
		if err != nil {
			return err
		}
		var t texts
		if err := json.Unmarshal(content, &t); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		p.texts[code] = t
		if code != defaultLanguage {
			p.languages = append(p.languages, code)
			tags = append(tags, language.Make(code))
		}
	}
	p.matcher = language.NewMatcher(tags)
	return nil
}

// loadTemplates reads a file for each page. They share the layout and its parts.
func (p *Pages) loadTemplates() error {
	names, err := fs.Glob(files, "templates/page_*.html")
	if err != nil {
		return err
	}
	for _, name := range names {
		t, err := template.ParseFS(files, "templates/layout.html", name)
		if err != nil {
			return err
		}
		p.pages[strings.TrimSuffix(path.Base(name), ".html")] = t
	}
	return nil
}

// Language chooses the language of a page by an Accept-Language header (RFC 9110
// section 12.5.4).
func (p *Pages) Language(accept string) string {
	const most = 16 // a browser sends a few
	var wanted []string
	for element := range strings.SplitSeq(accept[:min(len(accept), 64*most)], ",") {
		if _, _, err := language.ParseAcceptLanguage(element); err == nil && len(wanted) < most {
			wanted = append(wanted, element)
		}
	}
	tags, _, err := language.ParseAcceptLanguage(strings.Join(wanted, ","))
	if err != nil {
		return defaultLanguage
	}
	_, i, _ := p.matcher.Match(tags...)
	return p.languages[i]
}

// view is what a template sees.
type view struct {
	Brand    string
	Style    string
	Logo     string
	Assets   string // where style and logo are
	Language string
	Kind     string // which page it is
	Page     any
	texts    texts
}

// Problem is the text of a problem.
func (v *view) Problem(p Problem) string { return v.T("problem_" + string(p)) }

// Weakness is the text of a weakness of a password.
func (v *view) Weakness(w string) string { return v.T("weak_" + w) }

// Message is a text of the kind of a message.
func (v *view) Message(part string) string {
	return v.T("message_" + string(v.Page.(Message).Kind) + "_" + part)
}

// fromRight reports whether a letter is written from right to left.
func fromRight(r rune) bool {
	return unicode.In(r, unicode.Arabic, unicode.Hebrew, unicode.Syriac, unicode.Thaana, unicode.Nko, unicode.Adlam)
}

// T is a text of the page's language, with its parameters put in. Names may be written
// in another direction than the text: marks keep that within them (UAX #9).
func (v *view) T(name string, parameters ...any) string {
	text := v.texts[name]
	if len(parameters) == 0 {
		return text
	}
	for i, p := range parameters {
		if s, ok := p.(string); ok && strings.ContainsFunc(s, fromRight) {
			parameters[i] = "\u2068" + s + "\u2069"
		}
	}
	return fmt.Sprintf(text, parameters...)
}

// Day is a day as it is written in the page's language, in UTC.
func (v *view) Day(t time.Time) string {
	t = t.UTC()
	return fmt.Sprintf(v.texts["day"], t.Day(), v.texts[fmt.Sprintf("month_%d", int(t.Month()))], t.Year(), t.Format("15:04"))
}

// Machine is a time as machines read it.
func (*view) Machine(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// Wait is a duration in words.
func (v *view) Wait(d time.Duration) string {
	if d <= 90*time.Second {
		return v.T("seconds", int(max(1, (d+time.Second-1)/time.Second)))
	}
	return v.T("minutes", int((d+time.Minute-1)/time.Minute))
}

func (p *Pages) render(name, code string, page any) []byte {
	known, ok := p.texts[code]
	if !ok {
		code, known = defaultLanguage, p.texts[defaultLanguage]
	}
	var b bytes.Buffer
	v := &view{Brand: p.brand, Style: p.style, Logo: p.logo, Assets: p.base, Language: code, Kind: strings.TrimPrefix(name, "page_"), Page: page, texts: known}
	if err := p.pages[name].Execute(&b, v); err != nil {
		panic(fmt.Sprintf("console: %s: %v", name, err)) // a template that does not fit its type: a test renders all
	}
	return b.Bytes()
}

// SignIn renders the sign-in page.
func (p *Pages) SignIn(code string, d SignIn) []byte { return p.render("page_sign_in", code, d) }

// Consent renders the consent page.
func (p *Pages) Consent(code string, d Consent) []byte { return p.render("page_consent", code, d) }

// Password renders the page for a new password.
func (p *Pages) Password(code string, d Password) []byte { return p.render("page_password", code, d) }

// Devices renders the page of a user's devices.
func (p *Pages) Devices(code string, d Devices) []byte { return p.render("page_devices", code, d) }

// Message renders a page that says what happened.
func (p *Pages) Message(code string, d Message) []byte { return p.render("page_message", code, d) }
