package accesstoken

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"
)

// The limits of what is looked at.
const (
	maxTokenBytes = 8 << 10
	maxKeyIDBytes = 64
)

// compact is a JWS in compact serialization (RFC 7515 section 7.1), its parts still
// encoded.
type compact struct {
	raw                        string
	header, payload, signature string
}

// parseCompact takes a token apart.
func parseCompact(raw string) (compact, error) {
	if len(raw) > maxTokenBytes {
		return compact{}, fmt.Errorf("%w: longer than 8 KiB", ErrMalformed)
	}
	header, rest, _ := strings.Cut(raw, ".")
	payload, signature, found := strings.Cut(rest, ".")
	if !found { // a third dot would not be base64url
		return compact{}, fmt.Errorf("%w: not a JWS in compact serialization", ErrMalformed)
	}
	return compact{raw: raw, header: header, payload: payload, signature: signature}, nil
}

// header is what a JOSE header says (RFC 7515 section 4), as far as it counts. What a
// token says about where to find its key is not looked at (RFC 8725 section 3.10).
type header struct{ typ, alg, kid string }

// parseHeader decodes a header. The critical extensions of RFC 7515 section 4.1.11,
// unencoded payloads (RFC 7797) and compression are not for access tokens.
func parseHeader(encoded string) (header, error) {
	var h header
	raw, ok := decode(make([]byte, base64.RawURLEncoding.DecodedLen(len(encoded))), []byte(encoded))
	if !ok || !utf8.Valid(raw) {
		return h, fmt.Errorf("%w: header", ErrMalformed)
	}
	s := scanner{text: string(raw)}
	text := func(into *string) (ok bool) {
		*into, ok = s.string()
		return ok
	}
	ok = s.document(func(name string) bool {
		switch name {
		case "typ":
			return text(&h.typ)
		case "alg":
			return text(&h.alg)
		case "kid":
			return text(&h.kid)
		case "crit", "b64", "zip":
			return false
		}
		return s.skip()
	})
	if !ok {
		return h, fmt.Errorf("%w: header", ErrMalformed)
	}
	return h, nil
}

// headerTypes are the values of `typ` by which a profile's access tokens are known
// (RFC 9068 section 4; OroCommerce's).
var headerTypes = map[Profile][]string{
	Standard:    {"at+jwt", "application/at+jwt"},
	OroCommerce: {"JWT"},
}

// check refuses what no key could make good, before a key is looked for.
func (h *header) check(profile Profile, algorithms []string) error {
	switch {
	case !slices.Contains(headerTypes[profile], h.typ):
		return ErrProfile
	case !slices.Contains(algorithms, h.alg):
		return ErrAlgorithm
	case h.kid == "" || len(h.kid) > maxKeyIDBytes:
		return ErrKeyUnknown
	}
	return nil
}

var encoding = base64.RawURLEncoding.Strict()

// decode reads base64url in its one spelling into room, which must suffice: no padding,
// no stray bits, and no line breaks, which encoding/base64 would skip.
func decode(room, text []byte) ([]byte, bool) {
	if bytes.IndexByte(text, '\n') >= 0 || bytes.IndexByte(text, '\r') >= 0 {
		return nil, false
	}
	n, err := encoding.Decode(room, text)
	return room[:n], err == nil
}

// scratch is room for one verification, used again by the next: nothing of it may be
// kept.
type scratch struct {
	token, payload, signature [maxTokenBytes]byte
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// open checks the signature by the key and returns the payload.
func (c *compact) open(k *key) (string, error) {
	room := scratches.Get().(*scratch)
	defer scratches.Put(room)
	token := append(room.token[:0], c.raw...)
	signed := token[:len(c.header)+1+len(c.payload)]
	signature, ok := decode(room.signature[:], token[len(signed)+1:])
	if !ok {
		return "", fmt.Errorf("%w: base64url of the signature", ErrMalformed)
	}
	if !k.verify(signed, signature) {
		return "", ErrSignature
	}
	payload, ok := decode(room.payload[:], signed[len(c.header)+1:])
	if !ok {
		return "", fmt.Errorf("%w: base64url of the claims", ErrMalformed)
	}
	return string(payload), nil
}
