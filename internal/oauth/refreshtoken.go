package oauth

import (
	"crypto/hmac"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
)

// The layout of a refresh token, in bytes; numbers are big-endian.
//
//	version 1 | key_id 2 | flags 1 | grant id 16 | generation 4 | secret 32 | tag 16 | crc32 4
const (
	refreshTokenPrefix  = "cfr_"
	refreshTokenVersion = 1
	refreshTokenTagged  = 1 + 2 + 1 + 16 + 4 + 32
	refreshTokenSummed  = refreshTokenTagged + 16
	refreshTokenBytes   = refreshTokenSummed + 4
	refreshTokenLength  = len(refreshTokenPrefix) + 102
)

// RefreshToken is a parsed refresh token of which the tag was checked: it is
// provably one of ours, of whatever age.
type RefreshToken struct {
	KeyID      uint16
	GrantID    GrantID
	Generation uint32
	Secret     RefreshSecret
}

// errKeyMissing: this node does not have a master key that the database needs.
var errKeyMissing = errors.New("a master key is missing on this node")

// errKeyUnknown: nobody has the master key, as far as this node knows.
var errKeyUnknown = errors.New("unknown key id")

// ParseRefreshToken reads the one spelling of a refresh token:
//
//	cfr_ + base64url(layout above), 106 characters
//
// It returns ErrRefreshTokenMalformed for everything that this installation did
// not make (docs/rotation.md, P0), without any I/O, and a fault for a token under a
// master key that the installation has and this node lacks.
func (k *Keys) ParseRefreshToken(text Secret) (RefreshToken, error) {
	raw, err := decodeRefreshToken(string(text))
	if err != nil {
		return RefreshToken{}, ErrRefreshTokenMalformed.Because(err)
	}
	t := RefreshToken{
		KeyID:      binary.BigEndian.Uint16(raw[1:]),
		GrantID:    GrantID(raw[4:20]),
		Generation: binary.BigEndian.Uint32(raw[20:]),
		Secret:     RefreshSecret(raw[24:56]),
	}
	key, ok := k.keys[t.KeyID]
	if !ok && slices.Contains(k.missing, t.KeyID) {
		return RefreshToken{}, fmt.Errorf("parse refresh token: %w", errKeyMissing)
	}
	if !ok {
		return RefreshToken{}, ErrRefreshTokenMalformed.Because(errKeyUnknown)
	}
	if tag := key.refreshTag(raw[:refreshTokenTagged]); !hmac.Equal(tag[:], raw[refreshTokenTagged:refreshTokenSummed]) {
		return RefreshToken{}, ErrRefreshTokenMalformed.Because(errors.New("wrong tag"))
	}
	return t, nil
}

// decodeRefreshToken checks all that needs no key.
func decodeRefreshToken(text string) ([]byte, error) {
	body, ok := strings.CutPrefix(text, refreshTokenPrefix)
	if !ok || len(text) != refreshTokenLength {
		return nil, errors.New("wrong prefix or length")
	}
	if strings.ContainsAny(body, "\r\n") { // encoding/base64 would skip them
		return nil, errors.New("line break")
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(body)
	if err != nil || len(raw) != refreshTokenBytes {
		return nil, errors.New("not base64url")
	}
	switch {
	case crc32.ChecksumIEEE(raw[:refreshTokenSummed]) != binary.BigEndian.Uint32(raw[refreshTokenSummed:]):
		return nil, errors.New("wrong checksum")
	case raw[0] != refreshTokenVersion || raw[3] != 0:
		return nil, errors.New("unknown version or flags")
	}
	return raw, nil
}

// FormatRefreshToken spells a refresh token. The key must be one of k.
func (k *Keys) FormatRefreshToken(t RefreshToken) Secret {
	raw := make([]byte, 0, refreshTokenBytes)
	raw = append(raw, refreshTokenVersion)
	raw = binary.BigEndian.AppendUint16(raw, t.KeyID)
	raw = append(raw, 0)
	raw = append(raw, t.GrantID[:]...)
	raw = binary.BigEndian.AppendUint32(raw, t.Generation)
	raw = append(raw, t.Secret[:]...)
	tag := k.keys[t.KeyID].refreshTag(raw)
	raw = append(raw, tag[:]...)
	raw = binary.BigEndian.AppendUint32(raw, crc32.ChecksumIEEE(raw))
	return Secret(refreshTokenPrefix + base64.RawURLEncoding.EncodeToString(raw))
}

func (m *masterKey) refreshTag(tagged []byte) [16]byte {
	sum := m.tag.sum([]byte("refresh-tag/v1"), tagged)
	return [16]byte(sum[:16])
}

// hash is H(secret): what the row keeps of a refresh token. False: no such key.
func (k *Keys) hash(keyID uint16, id GrantID, generation uint32, secret RefreshSecret) ([32]byte, bool) {
	m, ok := k.keys[keyID]
	if !ok {
		return [32]byte{}, false
	}
	return refreshMAC(m.hash, "refresh-hash/v1", id, generation, nil, secret), true
}

// next derives the secret of a generation from its predecessor's and the salt.
func (k *Keys) next(keyID uint16, id GrantID, generation uint32, salt [32]byte, predecessor RefreshSecret) (RefreshSecret, bool) {
	m, ok := k.keys[keyID]
	if !ok {
		return RefreshSecret{}, false
	}
	return refreshMAC(m.next, "refresh-next/v1", id, generation, salt[:], predecessor), true
}

func refreshMAC(key *macKey, label string, id GrantID, generation uint32, salt []byte, secret RefreshSecret) [32]byte {
	b := append(make([]byte, 0, 128), label...)
	b = append(b, id[:]...)
	b = binary.BigEndian.AppendUint32(b, generation)
	b = append(b, salt...)
	return key.sum(append(b, secret[:]...))
}
