package endpoint

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

// How deep objects and lists may stand in one another, the outermost counted, and
// how many members each may have. At OroCommerce's endpoint a list in a list gets
// the answer of any other value of the wrong type.
const (
	standardDepth = 2
	oroDepth      = 3
	maxMembers    = 64
)

// standardJSON reads a JSON object, of which the OAuth parameters must be strings.
func standardJSON(body string) (oauth.Parameters, error) {
	v, err := parseJSON(body, standardDepth)
	if err != nil {
		return nil, err
	}
	if v.kind != jsonObject {
		return nil, malformed("not an object")
	}
	parameters := make(oauth.Parameters, len(v.names))
	for i, name := range v.names {
		item := &v.items[i]
		if list, ok := item.texts(); ok && name == "resource" {
			parameters[name] = oauth.Parameter{List: list}
			continue
		}
		if item.kind != jsonString && slices.Contains(parameterNames, name) {
			return nil, oauth.ErrParameterInvalid.About(name)
		}
		parameters[name] = oauth.Parameter{Value: item.text}
	}
	return parameters, nil
}

// texts returns the elements of a list that has only strings in it.
func (v *jsonValue) texts() ([]string, bool) {
	list := make([]string, 0, len(v.items))
	for i := range v.items {
		if v.items[i].kind != jsonString {
			return nil, false
		}
		list = append(list, v.items[i].text)
	}
	return list, v.kind == jsonList
}

// oroJSON reads what OroCommerce makes of a JSON body. Nothing, and a list, are no
// parameters.
func oroJSON(body string) (oauth.Parameters, error) {
	if body == "" {
		return oauth.Parameters{}, nil
	}
	v, err := parseJSON(body, oroDepth)
	if err != nil {
		return nil, err
	}
	if v.kind != jsonObject && v.kind != jsonList {
		return nil, malformed("neither an object nor a list")
	}
	parameters := make(oauth.Parameters, len(v.names))
	for i, name := range v.names {
		if v.items[i].kind != jsonNull {
			parameters[name] = oroParameter(name, &v.items[i])
		}
	}
	return parameters, nil
}

// oroParameter is the value of a parameter: text; for a client_id also a number or
// a truth value, as PHP turns them into text; for a scope also a list.
func oroParameter(name string, v *jsonValue) oauth.Parameter {
	switch {
	case v.kind == jsonString:
		return oauth.Parameter{Value: v.text}
	case name == "client_id" && v.kind == jsonBool:
		return oauth.Parameter{Value: map[string]string{"true": "1"}[v.text]}
	case name == "client_id" && v.kind == jsonNumber:
		return oauth.Parameter{Value: phpNumber(v.text)}
	case name == "scope" && (v.kind == jsonList || v.kind == jsonObject): // both are arrays in PHP
		return oroScope(v.items)
	}
	return oauth.Parameter{Invalid: true}
}

// phpNumber is a number as text: an integer as it was written, whatever its size.
func phpNumber(text string) string {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || !strings.ContainsAny(text, ".eE") {
		return text
	}
	return strconv.FormatFloat(f, 'f', -1, 64)
}

func oroScope(items []jsonValue) oauth.Parameter {
	p := oauth.Parameter{List: make([]string, 0, len(items)), Numbers: len(items) > 0}
	for _, item := range items {
		if item.kind != jsonString && item.kind != jsonNumber {
			return oauth.Parameter{Invalid: true}
		}
		p.Numbers = p.Numbers && item.kind == jsonNumber
		p.List = append(p.List, item.text)
	}
	return p
}

type jsonKind uint8

const (
	jsonNull jsonKind = iota
	jsonBool
	jsonNumber
	jsonString
	jsonList
	jsonObject
)

// jsonValue is a JSON value (RFC 8259).
type jsonValue struct {
	kind  jsonKind
	text  string      // of a string what it says, of a number or a truth value how it is written
	names []string    // of an object's members, each once
	items []jsonValue // of an object or a list
}

// parseJSON reads a text that is one JSON value in UTF-8, with nothing around it
// but white space. encoding/json would not do: it compares names without case and
// lets the last of several equal ones win.
func parseJSON(text string, depth int) (jsonValue, error) {
	if !utf8.ValidString(text) {
		return jsonValue{}, malformed("not UTF-8")
	}
	s := &scanner{text: text}
	v, err := s.value(depth)
	if err != nil {
		return jsonValue{}, err
	}
	if s.peek() != 0 || s.at < len(s.text) {
		return jsonValue{}, malformed("something follows the value")
	}
	return v, nil
}

// malformed never says what was there.
func malformed(what string) error { return oauth.ErrBodyMalformed.Because(errors.New(what)) }

// scanner reads JSON from the front to the back.
type scanner struct {
	text string
	at   int
}

// peek skips white space and returns the next byte, or 0 at the end.
func (s *scanner) peek() byte {
	for ; s.at < len(s.text); s.at++ {
		if c := s.text[s.at]; c != ' ' && c != '\t' && c != '\n' && c != '\r' {
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

func (s *scanner) value(depth int) (jsonValue, error) {
	switch c := s.peek(); {
	case c == '"':
		text, err := s.string()
		return jsonValue{kind: jsonString, text: text}, err
	case c == '{' || c == '[':
		if depth == 0 {
			return jsonValue{}, malformed("too deep")
		}
		return s.container(c, depth-1)
	case c == '-' || '0' <= c && c <= '9':
		return s.number()
	}
	for _, word := range jsonWords {
		if strings.HasPrefix(s.text[s.at:], word.text) {
			s.at += len(word.text)
			return word, nil
		}
	}
	return jsonValue{}, malformed("a value is expected")
}

var jsonWords = []jsonValue{{kind: jsonNull, text: "null"}, {kind: jsonBool, text: "true"}, {kind: jsonBool, text: "false"}}

// container reads an object or a list.
func (s *scanner) container(opening byte, depth int) (jsonValue, error) {
	v := jsonValue{kind: jsonList}
	closing := byte(']')
	if opening == '{' {
		v.kind, closing = jsonObject, '}'
	}
	s.at++
	if s.take(closing) {
		return v, nil
	}
	for len(v.items) < maxMembers {
		if v.kind == jsonObject {
			name, err := s.name(v.names)
			if err != nil {
				return v, err
			}
			v.names = append(v.names, name)
		}
		item, err := s.value(depth)
		if err != nil {
			return v, err
		}
		v.items = append(v.items, item)
		if s.take(closing) {
			return v, nil
		}
		if !s.take(',') {
			return v, malformed("a comma is expected")
		}
	}
	return v, malformed("too many members")
}

// name reads the name of a member and the colon after it.
func (s *scanner) name(before []string) (string, error) {
	if s.peek() != '"' {
		return "", malformed("a name is expected")
	}
	name, err := s.string()
	switch {
	case err != nil:
		return "", err
	case slices.Contains(before, name):
		return "", repeated(name)
	case !s.take(':'):
		return "", malformed("a colon is expected")
	}
	return name, nil
}

func (s *scanner) number() (jsonValue, error) {
	start := s.at
	s.skip("-", 1)
	integer := s.at
	if s.skip(digits, -1) == 0 || s.text[integer] == '0' && s.at-integer > 1 {
		return jsonValue{}, malformed("a number is malformed")
	}
	if s.skip(".", 1) == 1 && s.skip(digits, -1) == 0 {
		return jsonValue{}, malformed("a number is malformed")
	}
	if s.skip("eE", 1) == 1 {
		s.skip("+-", 1)
		if s.skip(digits, -1) == 0 {
			return jsonValue{}, malformed("a number is malformed")
		}
	}
	return jsonValue{kind: jsonNumber, text: s.text[start:s.at]}, nil
}

const digits = "0123456789"

// skip moves past at most n bytes of a set (-1: all that come) and counts them.
func (s *scanner) skip(set string, n int) (skipped int) {
	for skipped != n && s.at < len(s.text) && strings.IndexByte(set, s.text[s.at]) >= 0 {
		s.at++
		skipped++
	}
	return skipped
}

// string reads a string; one without escapes is not copied.
func (s *scanner) string() (string, error) {
	s.at++
	start := s.at
	for ; s.at < len(s.text); s.at++ {
		switch c := s.text[s.at]; {
		case c == '"':
			s.at++
			return s.text[start : s.at-1], nil
		case c == '\\':
			return s.escaped([]byte(s.text[start:s.at]))
		case c < 0x20:
			return "", malformed("a control character in a string")
		}
	}
	return "", malformed("a string does not end")
}

// escaped reads on from the first escape of a string.
func (s *scanner) escaped(b []byte) (string, error) {
	for s.at < len(s.text) {
		c := s.text[s.at]
		s.at++
		switch {
		case c == '"':
			return string(b), nil
		case c < 0x20:
			return "", malformed("a control character in a string")
		case c != '\\':
			b = append(b, c)
			continue
		}
		r, ok := s.escape()
		if !ok {
			return "", malformed("an escape is malformed")
		}
		b = utf8.AppendRune(b, r)
	}
	return "", malformed("a string does not end")
}

// escape reads what follows a backslash. A surrogate must be one of a pair.
func (s *scanner) escape() (rune, bool) {
	if s.at == len(s.text) {
		return 0, false
	}
	c := s.text[s.at]
	s.at++
	if c != 'u' {
		i := strings.IndexByte(`"\/bfnrt`, c)
		if i < 0 {
			return 0, false
		}
		return rune("\"\\/\b\f\n\r\t"[i]), true
	}
	r, ok := s.hex4()
	if !ok || !utf16.IsSurrogate(r) {
		return r, ok
	}
	if !strings.HasPrefix(s.text[s.at:], `\u`) {
		return 0, false
	}
	s.at += 2
	low, ok := s.hex4()
	r = utf16.DecodeRune(r, low)
	return r, ok && r != utf8.RuneError
}

func (s *scanner) hex4() (rune, bool) {
	if s.at+4 > len(s.text) || strings.ContainsAny(s.text[s.at:s.at+4], "+-_") {
		return 0, false
	}
	n, err := strconv.ParseUint(s.text[s.at:s.at+4], 16, 16)
	s.at += 4
	return rune(n), err == nil
}
