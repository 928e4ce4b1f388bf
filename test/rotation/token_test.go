package rotation_test

import (
	"bytes"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

// token is a refresh token, as "The token" in docs/rotation.md lays it out:
//
//	cfr_ + base64url( version 1 | key_id 2 | flags 1 | grant id 16 | generation 4 | secret 32 | tag 16 | crc32 4 )
type token struct {
	keyID      uint16
	grant      oauth.GrantID
	generation uint32
	secret     [32]byte
}

// masterKey is the master key with an id, in these checks.
func masterKey(id uint16) []byte { return bytes.Repeat([]byte{byte(id)}, 32) }

// mac is HMAC-SHA-256 under the key that a master key has for a use.
func mac(keyID uint16, use string, parts ...[]byte) [32]byte {
	key, err := hkdf.Key(sha256.New, masterKey(keyID), nil, "counterfoil refresh "+use+" v1", 32)
	if err != nil {
		panic(fmt.Sprintf("derive a key: %v", err)) // the length is a constant
	}
	h := hmac.New(sha256.New, key)
	for _, part := range parts {
		h.Write(part)
	}
	return [32]byte(h.Sum(nil))
}

func bigEndian(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

// hash is H(secret) under a master key, which need not be the token's.
func (t token) hash(keyID uint16) [32]byte {
	return mac(keyID, "hash", []byte("refresh-hash/v1"), t.grant[:], bigEndian(t.generation), t.secret[:])
}

// successor is the one token that a rotation under a master key makes of t.
func (t token) successor(keyID uint16, salt [32]byte) token {
	next := token{keyID: keyID, grant: t.grant, generation: t.generation + 1}
	next.secret = mac(keyID, "next", []byte("refresh-next/v1"), t.grant[:], bigEndian(next.generation), salt[:], t.secret[:])
	return next
}

// bytes are all bytes of the token, with the tag of a master key.
func (t token) bytes(tagKey uint16) []byte {
	b := []byte{1}
	b = binary.BigEndian.AppendUint16(b, t.keyID)
	b = append(b, 0)
	b = append(b, t.grant[:]...)
	b = append(b, bigEndian(t.generation)...)
	b = append(b, t.secret[:]...)
	tag := mac(tagKey, "tag", []byte("refresh-tag/v1"), b)
	b = append(b, tag[:16]...)
	return append(b, bigEndian(crc32.ChecksumIEEE(b))...)
}

// text is how the token is spelt.
func (t token) text() oauth.Secret { return spell(t.bytes(t.keyID)) }

// forged is the token with the tag of a master key that nobody has.
func (t token) forged() oauth.Secret { return spell(t.bytes(99)) }

// spell is how the bytes of a token are written.
func spell(b []byte) oauth.Secret {
	return oauth.Secret("cfr_" + base64.RawURLEncoding.EncodeToString(b))
}

// readToken reads a token that the server made.
func readToken(t tester, text oauth.Secret) token {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(string(text[min(4, len(text)):]))
	if err != nil || len(b) != 76 {
		t.Fatalf("a refresh token of %d bytes, %v; want 76", len(b), err)
	}
	read := token{
		keyID: binary.BigEndian.Uint16(b[1:]), grant: oauth.GrantID(b[4:20]),
		generation: binary.BigEndian.Uint32(b[20:]), secret: [32]byte(b[24:56]),
	}
	if read.text() != text {
		t.Fatalf("the refresh token is not spelt as docs/rotation.md says")
	}
	return read
}
