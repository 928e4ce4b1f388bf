package oauth

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

const (
	codePrefix  = "cfc_"
	codeSealing = "authorization code" // what Keys.Seal knows it as
	maxCode     = 8 << 10
)

// code is what an authorization code carries, sealed, so that nothing needs to be kept
// of the request it was made for: the store has a pending grant and the hash of the
// secret. An opened one is provably ours.
type code struct {
	GrantID     GrantID       `json:"grant"`
	Secret      RefreshSecret `json:"-"` // as RawSecret: a RefreshSecret does not print
	RawSecret   []byte        `json:"secret"`
	RedirectURI *string       `json:"redirect_uri,omitempty"` // as the request had it; nil: it had none
	Challenge   string        `json:"code_challenge,omitempty"`
	Method      string        `json:"code_challenge_method,omitempty"`
}

// formatCode spells an authorization code:
//
//	cfc_ + base64url( key_id 2 | sealed JSON )
func (k *Keys) formatCode(c code) (Secret, error) {
	c.RawSecret = c.Secret[:]
	text, err := json.Marshal(c)
	if err != nil {
		return "", fmt.Errorf("encode authorization code: %w", err)
	}
	id, sealed := k.Seal(codeSealing, text)
	raw := append(binary.BigEndian.AppendUint16(nil, id), sealed...)
	return Secret(codePrefix + base64.RawURLEncoding.EncodeToString(raw)), nil
}

// parseCode opens an authorization code. It returns ErrCodeMalformed for everything
// that this installation did not make, and a fault for what was sealed under a master
// key that this node lacks.
func (k *Keys) parseCode(text Secret) (code, error) {
	body, ok := strings.CutPrefix(string(text), codePrefix)
	if !ok || len(body) > maxCode || strings.ContainsAny(body, "\r\n") { // encoding/base64 would skip them
		return code{}, ErrCodeMalformed
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(body)
	if err != nil || len(raw) < 2 {
		return code{}, ErrCodeMalformed
	}
	id := binary.BigEndian.Uint16(raw)
	if _, known := k.keys[id]; !known {
		if slices.Contains(k.missing, id) {
			return code{}, fmt.Errorf("open authorization code: %w", errKeyMissing)
		}
		return code{}, ErrCodeMalformed.Because(errKeyUnknown)
	}
	opened, err := k.Open(id, codeSealing, raw[2:])
	if err != nil {
		return code{}, ErrCodeMalformed.Because(err)
	}
	var c code
	if err := json.Unmarshal(opened, &c); err != nil || len(c.RawSecret) != len(c.Secret) {
		return code{}, fmt.Errorf("decode authorization code: %w", errors.Join(err, errors.New("it is ours and malformed")))
	}
	c.Secret, c.RawSecret = RefreshSecret(c.RawSecret), nil
	return c, nil
}

// codeHash is what the row of a pending grant keeps of its code, under its key.
func (k *Keys) codeHash(keyID uint16, id GrantID, secret RefreshSecret) ([32]byte, bool) {
	m, ok := k.keys[keyID]
	if !ok {
		return [32]byte{}, false
	}
	return refreshMAC(m.hash, "code-hash/v1", id, 0, nil, secret), true
}

// presentedCode opens the code of a request with the master keys of the moment.
func (s *Server) presentedCode(ctx context.Context, text Secret) (c code, err error) {
	err = s.withKeys(ctx, func(k *Keys) (err error) {
		c, err = k.parseCode(text)
		return err
	})
	if errors.Is(err, ErrCodeMalformed) {
		if _, refresh := s.Keys().ParseRefreshToken(text); refresh == nil {
			return c, ErrCodeIsRefreshToken
		}
	}
	return c, err
}
