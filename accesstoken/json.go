package accesstoken

import (
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

// The limits of what scanner reads, the outermost object counted.
const (
	maxDepth   = 16
	maxMembers = 64
)

// scanner reads JSON (RFC 8259) from the front to the back, in one pass and without
// memory of its own: texts without escapes are parts of the input. It is stricter than
// encoding/json: names are exact and stand once in an object, and a text has no half of
// a surrogate pair (RFC 8725 section 2.4 is why one reading must be the only one). Its
// methods report false for what is not as they want it; then the position means nothing.
type scanner struct {
	text  string // UTF-8, which the caller has checked
	at    int
	depth int
}

// document reads an object that is all there is.
func (s *scanner) document(member func(name string) bool) bool {
	return s.object(member) && s.peek() == 0 && s.at == len(s.text)
}

// peek skips white space and returns the next byte, or 0 at the end.
func (s *scanner) peek() byte {
	for ; s.at < len(s.text); s.at++ {
		if c := s.text[s.at]; c > ' ' || c != ' ' && c != '\t' && c != '\n' && c != '\r' {
			return c
		}
	}
	return 0
}

// take moves past the next byte if it is c.
func (s *scanner) take(c byte) bool {
	if s.peek() != c || s.at == len(s.text) {
		return false
	}
	s.at++
	return true
}

// object reads an object. member reads the value of each member; nil skips it.
func (s *scanner) object(member func(name string) bool) bool {
	if !s.enter('{') {
		return false
	}
	if s.take('}') {
		return s.leave()
	}
	var room [maxMembers]string
	names := room[:0]
	for len(names) < maxMembers {
		name, ok := s.string()
		if !ok || slices.Contains(names, name) || !s.take(':') {
			return false
		}
		names = append(names, name)
		if member == nil && !s.skip() || member != nil && !member(name) {
			return false
		}
		if s.take('}') {
			return s.leave()
		}
		if !s.take(',') {
			return false
		}
	}
	return false
}

// array reads an array. element reads each element.
func (s *scanner) array(element func() bool) bool {
	if !s.enter('[') {
		return false
	}
	if s.take(']') {
		return s.leave()
	}
	for element() {
		if s.take(']') {
			return s.leave()
		}
		if !s.take(',') {
			return false
		}
	}
	return false
}

func (s *scanner) enter(opening byte) bool {
	s.depth++
	return s.take(opening) && s.depth <= maxDepth
}

func (s *scanner) leave() bool {
	s.depth--
	return true
}

// skip reads any value.
func (s *scanner) skip() bool {
	switch c := s.peek(); c {
	case '{':
		return s.object(nil)
	case '[':
		return s.array(s.skip)
	case '"':
		_, ok := s.string()
		return ok
	case 't':
		return s.word("true")
	case 'f':
		return s.word("false")
	case 'n':
		return s.word("null")
	}
	_, ok := s.number()
	return ok
}

func (s *scanner) word(word string) bool {
	if !strings.HasPrefix(s.text[s.at:], word) {
		return false
	}
	s.at += len(word)
	return true
}

// number reads a number and returns it as it is written.
func (s *scanner) number() (string, bool) {
	s.peek()
	start := s.at
	s.next("-")
	zero := s.next("0")
	if !zero && s.digits() == 0 {
		return "", false
	}
	if s.next(".") && s.digits() == 0 {
		return "", false
	}
	if s.next("eE") {
		s.next("+-")
		if s.digits() == 0 {
			return "", false
		}
	}
	return s.text[start:s.at], true
}

// next moves past the next byte if it is one of set. White space counts.
func (s *scanner) next(set string) bool {
	if s.at == len(s.text) || strings.IndexByte(set, s.text[s.at]) < 0 {
		return false
	}
	s.at++
	return true
}

// digits moves past the digits that come, and counts them.
func (s *scanner) digits() int {
	start := s.at
	for s.at < len(s.text) && '0' <= s.text[s.at] && s.text[s.at] <= '9' {
		s.at++
	}
	return s.at - start
}

// string reads a string. One without escapes is not copied.
func (s *scanner) string() (string, bool) {
	if !s.take('"') {
		return "", false
	}
	start := s.at
	for ; s.at < len(s.text); s.at++ {
		switch c := s.text[s.at]; {
		case c == '"':
			s.at++
			return s.text[start : s.at-1], true
		case c == '\\':
			return s.escaped([]byte(s.text[start:s.at]))
		case c < ' ':
			return "", false
		}
	}
	return "", false
}

// escaped reads a string on, from its first escape.
func (s *scanner) escaped(b []byte) (string, bool) {
	for s.at < len(s.text) {
		c := s.text[s.at]
		s.at++
		switch {
		case c == '"':
			return string(b), true
		case c < ' ':
			return "", false
		case c != '\\':
			b = append(b, c)
			continue
		}
		r, ok := s.escape()
		if !ok {
			return "", false
		}
		b = utf8.AppendRune(b, r)
	}
	return "", false
}

// escape reads what follows a backslash.
func (s *scanner) escape() (rune, bool) {
	if s.next("u") {
		return s.codePoint()
	}
	for i, c := range []byte(`"\/bfnrt`) {
		if s.at < len(s.text) && s.text[s.at] == c {
			s.at++
			return rune("\"\\/\b\f\n\r\t"[i]), true
		}
	}
	return 0, false
}

// codePoint reads the hexadecimal digits of an escape, and those of the second one
// where the first is half of a surrogate pair.
func (s *scanner) codePoint() (rune, bool) {
	r, ok := s.unit()
	if !ok || !utf16.IsSurrogate(r) {
		return r, ok
	}
	if !s.next(`\`) || !s.next("u") {
		return 0, false
	}
	low, ok := s.unit()
	r = utf16.DecodeRune(r, low)
	return r, ok && r != utf8.RuneError
}

func (s *scanner) unit() (r rune, ok bool) {
	for range 4 {
		if s.at == len(s.text) {
			return 0, false
		}
		digit := strings.IndexByte("0123456789abcdef", s.text[s.at]|0x20) // upper case is lower case with that bit
		if digit < 0 || s.text[s.at] < '0' {
			return 0, false
		}
		r = r<<4 | rune(digit)
		s.at++
	}
	return r, true
}

// integer reads a whole number.
func (s *scanner) integer(into *int64) bool {
	text, ok := s.number()
	if !ok {
		return false
	}
	n, err := strconv.ParseInt(text, 10, 64)
	*into = n
	return err == nil
}

// maxSeconds is the end of the year 9999, beyond which time.Time does not marshal.
const maxSeconds = 253402300799

// time reads a NumericDate (RFC 7519 section 2), whole or with a fraction, of which
// nanoseconds are kept. Dates before 1970 and powers of ten are refused.
func (s *scanner) time(into *time.Time) bool {
	text, ok := s.number()
	if !ok || strings.ContainsAny(text, "-eE") {
		return false
	}
	whole, fraction, _ := strings.Cut(text, ".")
	seconds, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || seconds > maxSeconds {
		return false
	}
	var nanoseconds int64
	for i := range 9 {
		nanoseconds *= 10
		if i < len(fraction) {
			nanoseconds += int64(fraction[i] - '0')
		}
	}
	*into = time.Unix(seconds, nanoseconds).UTC()
	return true
}
