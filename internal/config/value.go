package config

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/internal/oauth"
	"github.com/counterfoil/counterfoil/internal/password"
)

// value is a place in a Config that can be written and read as text.
type value interface {
	set(text string) error // says what is wanted, and never repeats the text
	String() string        // empty: not set
	kind() string
}

// text is any text.
type text struct{ to *string }

func (v *text) set(s string) error { *v.to = s; return nil }
func (v *text) String() string     { return *v.to }
func (v *text) kind() string       { return "text" }

// choice is one of a few words.
type choice struct {
	to  *string
	all []string
}

func (v *choice) set(s string) error {
	if !slices.Contains(v.all, s) {
		return fmt.Errorf("want %s", strings.Join(v.all, ", "))
	}
	*v.to = s
	return nil
}
func (v *choice) String() string { return *v.to }
func (v *choice) kind() string   { return strings.Join(v.all, "|") }

// number is a whole number, at least 0.
type number struct{ to *int }

func (v *number) set(s string) error {
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil || n < 0 {
		return errors.New("want a whole number, 0 or more")
	}
	*v.to = int(n)
	return nil
}
func (v *number) String() string { return strconv.Itoa(*v.to) }
func (v *number) kind() string   { return "number" }

// boolean is true or false.
type boolean struct{ to *bool }

func (v *boolean) set(s string) error {
	if s != "true" && s != "false" {
		return errors.New("want true or false")
	}
	*v.to = s == "true"
	return nil
}
func (v *boolean) String() string { return strconv.FormatBool(*v.to) }
func (v *boolean) kind() string   { return "" }

// duration is a Go duration or whole seconds, at least 0.
type duration struct{ to *time.Duration }

// longest is more than anybody means, and far from overflowing.
const longest = 100 * 365 * 24 * time.Hour

func (v *duration) set(s string) error {
	d, err := time.ParseDuration(s)
	if seconds, plain := strconv.ParseInt(s, 10, 64); plain == nil {
		d, err = time.Duration(min(max(seconds, -1), int64(longest/time.Second)+1))*time.Second, nil
	}
	switch {
	case err != nil:
		return errors.New("want a duration such as 90s or 1h30m, or whole seconds")
	case d < 0:
		return errors.New("a duration cannot be negative")
	case d > longest:
		return errors.New("a duration cannot exceed 100 years")
	}
	*v.to = d
	return nil
}
func (v *duration) String() string { return formatDuration(*v.to) }
func (v *duration) kind() string   { return "duration" }

// formatDuration is d.String without trailing zero units: 1h, not 1h0m0s.
func formatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// optionalDuration is a duration that may be unset.
type optionalDuration struct{ to **time.Duration }

func (v *optionalDuration) set(s string) error {
	var d time.Duration
	if err := (&duration{&d}).set(s); err != nil {
		return err
	}
	*v.to = &d
	return nil
}

func (v *optionalDuration) String() string {
	if *v.to == nil {
		return ""
	}
	return formatDuration(**v.to)
}
func (v *optionalDuration) kind() string { return "duration" }

// previousAccessToken is revoke, keep or a duration.
type previousAccessToken struct{ to *oauth.PreviousAccessToken }

func (v *previousAccessToken) set(s string) error {
	switch s {
	case Revoke:
		*v.to = oauth.PreviousAccessToken{}
		return nil
	case Keep:
		*v.to = oauth.PreviousAccessToken{Keep: true}
		return nil
	}
	var d time.Duration
	if err := (&duration{&d}).set(s); err != nil {
		return errors.New("want revoke, keep, or a duration such as 90s")
	}
	*v.to = oauth.PreviousAccessToken{For: d}
	return nil
}

func (v *previousAccessToken) String() string {
	switch {
	case v.to.Keep:
		return Keep
	case v.to.For > 0:
		return formatDuration(v.to.For)
	}
	return Revoke
}
func (v *previousAccessToken) kind() string { return "revoke|keep|duration" }

// list is a list of texts, comma-separated in one text.
type list struct{ to *[]string }

func (v *list) set(s string) error {
	*v.to = split(s)
	return nil
}
func (v *list) String() string { return strings.Join(*v.to, ",") }
func (v *list) kind() string   { return "list" }

// split separates at commas; there are no empty items.
func split(s string) []string {
	items := strings.Split(s, ",")
	for i := range items {
		items[i] = strings.TrimSpace(items[i])
	}
	return slices.DeleteFunc(items, func(item string) bool { return item == "" })
}

// prefixes is a list of networks; an address is a network of its own.
type prefixes struct{ to *[]netip.Prefix }

func (v *prefixes) set(s string) error {
	var all []netip.Prefix
	for _, item := range split(s) {
		p, err := netip.ParsePrefix(item)
		if ip, single := netip.ParseAddr(item); single == nil {
			p, err = netip.PrefixFrom(ip, ip.BitLen()), nil
		}
		if err != nil {
			return errors.New("want addresses or networks such as 10.0.0.0/8")
		}
		all = append(all, p.Masked())
	}
	*v.to = all
	return nil
}

func (v *prefixes) String() string {
	var items []string
	for _, p := range *v.to {
		items = append(items, p.String())
	}
	return strings.Join(items, ",")
}
func (v *prefixes) kind() string { return "list" }

// passwordHash are argon2id's parameters, as in its encoded hashes. What is left
// out keeps its default.
type passwordHash struct{ to *password.Params }

func (v *passwordHash) set(s string) error {
	h := password.DefaultParams()
	items := strings.Split(s, ",")
	if items[0] != "argon2id" {
		return errHash
	}
	for _, item := range items[1:] {
		name, number, _ := strings.Cut(item, "=")
		n, err := strconv.ParseUint(number, 10, 32)
		switch {
		case err != nil:
			return errHash
		case name == "m":
			h.MemoryKiB = uint32(n)
		case name == "t":
			h.Time = uint32(n)
		case name == "p":
			h.Threads = uint8(min(n, 255))
		default:
			return errHash
		}
	}
	if err := h.Validate(); err != nil {
		return err
	}
	*v.to = h
	return nil
}

var errHash = errors.New("want argon2id with memory in KiB, passes and threads, such as argon2id,m=19456,t=2,p=1")

func (v *passwordHash) String() string {
	return fmt.Sprintf("argon2id,m=%d,t=%d,p=%d", v.to.MemoryKiB, v.to.Time, v.to.Threads)
}
func (v *passwordHash) kind() string { return "text" }

// secret is a secret itself, or the path of its file.
type secret struct {
	text *oauth.Secret
	file *string
	is   func(text string) error // whether a text is one; the error never repeats it
}

// set takes a path for one only if it looks like nothing else, so that a mistyped
// secret never becomes the name of a file in an error.
func (v *secret) set(s string) error {
	if strings.HasPrefix(s, "/") || strings.HasPrefix(s, "./") || strings.HasPrefix(s, "../") {
		return v.setFile(s)
	}
	if err := v.is(s); err != nil {
		return fmt.Errorf("want the secret itself (%w), or the path of its file, which begins with / or ./", err)
	}
	*v.text, *v.file = oauth.Secret(s), ""
	return nil
}

func (v *secret) setFile(path string) error {
	if path == "" {
		return errors.New("want the path of a file")
	}
	*v.text, *v.file = "", path
	return nil
}

func (v *secret) String() string {
	if *v.text != "" {
		return fmt.Sprint(*v.text)
	}
	return *v.file
}
func (v *secret) kind() string { return "file" }

// database is a secret of which all but passwords is shown.
type database struct{ secret }

func (v *database) String() string {
	if *v.text == "" {
		return *v.file
	}
	return passwords.ReplaceAllString(string(*v.text), "${1}[redacted]")
}
func (v *database) kind() string { return "text" }

// passwords are those in the URL of a database: what is before them, and they.
var passwords = regexp.MustCompile(`(://[^:/@]*:|[?&](?:ssl)?password=)[^@&]*`)

// CheckDatabase reports what is wrong with a value of the setting database. The error
// does not repeat it: it may hold a password.
func CheckDatabase(text string) error {
	scheme, rest, _ := strings.Cut(text, "://")
	if text == "sqlite" || (scheme == "postgres" || scheme == "postgresql") && rest != "" {
		return nil
	}
	return errors.New("it is neither sqlite, the embedded database, nor a URL that begins with postgres://")
}

func isPEM(text string) error {
	if !strings.HasPrefix(strings.TrimSpace(text), "-----BEGIN ") {
		return errors.New("it is not in PEM format")
	}
	return nil
}

func isMasterKey(text string) error {
	_, err := oauth.ParseKeys(text)
	return err
}
