package endpoint

import (
	"errors"
	"io"
	"iter"
	"mime"
	"mime/multipart"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

// pairs yields the names and values of a form, still encoded. Only & separates.
func pairs(body string) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for pair := range strings.SplitSeq(body, "&") {
			name, value, _ := strings.Cut(pair, "=")
			if pair != "" && !yield(name, value) {
				return
			}
		}
	}
}

// standardForm reads a form as the standard has it: percent-encoded UTF-8.
func standardForm(body string) (oauth.Parameters, error) {
	parameters := make(oauth.Parameters, 8)
	for encodedName, encodedValue := range pairs(body) {
		name, err := decodeStrictly(encodedName)
		if err != nil {
			return nil, err
		}
		value, err := decodeStrictly(encodedValue)
		if err != nil {
			return nil, err
		}
		before, twice := parameters[name]
		switch {
		case !twice:
			parameters[name] = oauth.Parameter{Value: value}
		case name != "resource": // the one that may be repeated (RFC 8707 section 2)
			return nil, repeated(name)
		case before.List == nil:
			parameters[name] = oauth.Parameter{List: []string{before.Value, value}}
		default:
			parameters[name] = oauth.Parameter{List: append(before.List, value)}
		}
	}
	return parameters, nil
}

var errEncoding = errors.New("not percent-encoded UTF-8")

func decodeStrictly(encoded string) (string, error) {
	decoded, err := url.QueryUnescape(encoded)
	if err != nil || !utf8.ValidString(decoded) {
		return "", oauth.ErrBodyMalformed.Because(errEncoding) // err would repeat what was sent
	}
	return decoded, nil
}

// oroForm reads a form as PHP does.
func oroForm(body string) (oauth.Parameters, error) {
	fields := make(phpFields, 8)
	for name, value := range pairs(body) {
		if err := fields.add(decodeLikePHP(name), decodeLikePHP(value)); err != nil {
			return nil, err
		}
	}
	return fields.parameters(), nil
}

// decodeLikePHP decodes a form's text; what is no percent-encoding stays as it is.
func decodeLikePHP(encoded string) string {
	if !strings.ContainsAny(encoded, "%+") {
		return encoded
	}
	b := make([]byte, 0, len(encoded))
	for i := 0; i < len(encoded); i++ {
		switch c := encoded[i]; {
		case c == '+':
			b = append(b, ' ')
		case c == '%' && i+2 < len(encoded) && isHex(encoded[i+1]) && isHex(encoded[i+2]):
			b = append(b, unhex(encoded[i+1])<<4|unhex(encoded[i+2]))
			i += 2
		default:
			b = append(b, c)
		}
	}
	return string(b)
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c&^0x20 - 'A' + 10
}

// oroMultipart reads the text fields of a multipart body (RFC 7578). Of one that
// breaks off, or has no boundary, nothing is taken.
func oroMultipart(contentType, body string) (oauth.Parameters, error) {
	_, attributes, err := mime.ParseMediaType(contentType)
	if err != nil || attributes["boundary"] == "" {
		return oauth.Parameters{}, nil
	}
	fields := make(phpFields, 8)
	reader := multipart.NewReader(strings.NewReader(body), attributes["boundary"])
	for {
		part, err := reader.NextRawPart() // PHP does not look at Content-Transfer-Encoding
		if errors.Is(err, io.EOF) {
			return fields.parameters(), nil
		}
		if err != nil {
			return oauth.Parameters{}, nil
		}
		value, err := io.ReadAll(part)
		if err != nil {
			return oauth.Parameters{}, nil
		}
		if part.FileName() != "" {
			continue
		}
		if err := fields.add(part.FormName(), string(value)); err != nil {
			return nil, err
		}
	}
}

// phpFields are the fields of a form by the variable they fill in PHP.
type phpFields map[string]*phpField

// phpField is a text, or an array with its elements in the order of the request.
type phpField struct {
	value  string
	array  bool
	nested bool // the array has an array in it
	list   []string
	keys   map[string]bool
}

// add takes a field in, under the name that PHP gives it. PHP lets the last of
// several win; we refuse them.
func (f phpFields) add(name, value string) error {
	variable, key, array, nested := phpName(name)
	if variable == "" {
		return nil
	}
	field, known := f[variable]
	if !array {
		if known {
			return repeated(variable)
		}
		f[variable] = &phpField{value: value}
		return nil
	}
	if !known {
		field = &phpField{array: true, list: []string{}, keys: map[string]bool{}}
		f[variable] = field
	}
	if !field.array || key != "" && !nested && field.keys[key] {
		return repeated(variable)
	}
	field.nested = field.nested || nested
	field.list = append(field.list, value)
	field.keys[key] = true
	return nil
}

// phpName splits a field's name as PHP does: `a[k]` is element k of the array a,
// `a[]` its next one; blanks and dots in a name become underscores.
func phpName(name string) (variable, key string, array, nested bool) {
	name, _, _ = strings.Cut(name, "\x00")
	name = strings.TrimLeft(name, " ")
	variable, index, array := strings.Cut(name, "[")
	key, rest, closed := strings.Cut(index, "]")
	if array && closed && variable == "" {
		return "", "", false, false
	}
	if !array || !closed {
		return underscores.Replace(name), "", false, false
	}
	return underscores.Replace(variable), key, true, strings.HasPrefix(rest, "[")
}

var underscores = strings.NewReplacer(" ", "_", ".", "_", "[", "_")

// parameters turns the fields into parameters. Only a scope may be a list.
func (f phpFields) parameters() oauth.Parameters {
	parameters := make(oauth.Parameters, len(f))
	for name, field := range f {
		switch {
		case !field.array:
			parameters[name] = oauth.Parameter{Value: field.value}
		case name == "scope" && !field.nested:
			parameters[name] = oauth.Parameter{List: field.list}
		default:
			parameters[name] = oauth.Parameter{Invalid: true}
		}
	}
	return parameters
}
