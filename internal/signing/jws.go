package signing

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-jose/go-jose/v4/json" // takes member names exactly, and each once
)

// The limits of what Verify looks at.
const (
	maxTokenBytes = 8 << 10
	maxKeyIDBytes = 64
)

// Why a token is not ours.
var (
	errTokenTooLong  = errors.New("the token is longer than 8 KiB")
	errTokenForm     = errors.New("the token is no JWS in compact serialization")
	errTokenHeader   = errors.New("the token's header is malformed")
	errTokenCritical = errors.New("the token's header has crit")
	errTokenKey      = errors.New("the token names no published key")
	errTokenAlg      = errors.New("the token's algorithm is not its key's")
	errTokenSigned   = errors.New("the token's signature is wrong")
)

var encoding = base64.RawURLEncoding.Strict()

// header is the JOSE header (RFC 7515 section 4), members in OroCommerce's order.
// What else a token says about where to find a key is not looked at.
type header struct {
	Type     string          `json:"typ,omitempty"`
	Alg      string          `json:"alg"`
	KeyID    string          `json:"kid"`
	Critical json.RawMessage `json:"crit,omitempty"`
}

// header returns the encoded header and the dot after it.
func (k *openKey) header(typ string) (string, error) {
	if h, ok := k.headers[typ]; ok {
		return h, nil
	}
	return k.encodeHeader(typ)
}

func (k *openKey) encodeHeader(typ string) (string, error) {
	text, err := json.Marshal(header{Type: typ, Alg: k.alg, KeyID: k.id})
	if err != nil {
		return "", fmt.Errorf("encode header: %w", err)
	}
	return encoding.EncodeToString(text) + ".", nil
}

// serialize makes the JWS compact serialization (RFC 7515 section 7.1).
func (k *openKey) serialize(random io.Reader, typ string, payload []byte) (string, error) {
	h, err := k.header(typ)
	if err != nil {
		return "", err
	}
	token := make([]byte, 0, len(h)+encoding.EncodedLen(len(payload))+1+encoding.EncodedLen(maxSignatureBytes))
	token = append(token, h...)
	token = encoding.AppendEncode(token, payload)
	signature, err := k.sign(random, k.signer, token)
	if err != nil {
		return "", fmt.Errorf("sign with %s key %s: %w", k.alg, k.id, err)
	}
	token = append(token, '.')
	token = encoding.AppendEncode(token, signature)
	return string(token), nil
}

// maxSignatureBytes is room for the signature of an RSA key of 4096 bits; a longer
// one costs an allocation.
const maxSignatureBytes = 512

// verify checks a token against the published keys. The key decides the algorithm
// (RFC 8725 section 3.1).
func verify(published map[string]*openKey, token string) (typ string, payload []byte, err error) {
	if len(token) > maxTokenBytes {
		return "", nil, errTokenTooLong
	}
	dot := strings.LastIndexByte(token, '.')
	if dot < 0 {
		return "", nil, errTokenForm
	}
	first, second, found := strings.Cut(token[:dot], ".")
	if !found || strings.Contains(second, ".") {
		return "", nil, errTokenForm
	}
	h, err := parseHeader(first)
	if err != nil {
		return "", nil, err
	}
	key, found := published[h.KeyID]
	if !found {
		return "", nil, errTokenKey
	}
	if h.Alg != key.alg {
		return "", nil, errTokenAlg
	}
	digest, known := key.verified.has(token)
	if !known {
		signature, err := decode(token[dot+1:])
		if err != nil {
			return "", nil, err
		}
		if !key.verify(key.public, []byte(token[:dot]), signature) {
			return "", nil, errTokenSigned
		}
		key.verified.add(digest)
	}
	payload, err = decode(second)
	return h.Type, payload, err
}

func parseHeader(text string) (header, error) {
	var h header
	raw, err := decode(text)
	if err != nil {
		return h, err
	}
	if err := json.Unmarshal(raw, &h); err != nil {
		return h, errTokenHeader
	}
	switch {
	case h.Critical != nil:
		return h, errTokenCritical
	case len(h.KeyID) > maxKeyIDBytes:
		return h, errTokenKey
	}
	return h, nil
}

// decode reads base64url in its one spelling: no padding, no stray bits, no line
// breaks, which encoding/base64 would skip.
func decode(text string) ([]byte, error) {
	if strings.ContainsAny(text, "\r\n") {
		return nil, errTokenForm
	}
	raw, err := encoding.DecodeString(text)
	if err != nil {
		return nil, errTokenForm
	}
	return raw, nil
}
