package spec

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"testing"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

// formulas are those of docs/rotation.md, "The token", written down a second time and
// independently of the code that they check. The key id is 1.
type formulas struct{ tagKey, hashKey, nextKey []byte }

func newFormulas(t *testing.T, masterKey []byte) *formulas {
	t.Helper()
	derive := func(info string) []byte {
		key, err := hkdf.Key(sha256.New, masterKey, nil, info, 32)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	return &formulas{
		tagKey:  derive("counterfoil refresh tag v1"),
		hashKey: derive("counterfoil refresh hash v1"),
		nextKey: derive("counterfoil refresh next v1"),
	}
}

// hmacSHA256 is HMAC-SHA-256 over the parts, one after the other.
func hmacSHA256(key []byte, parts ...[]byte) []byte {
	mac := hmac.New(sha256.New, key)
	for _, part := range parts {
		mac.Write(part)
	}
	return mac.Sum(nil)
}

func bigEndian(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

// hash is H(secret).
func (f *formulas) hash(grant oauth.GrantID, generation uint8, secret []byte) []byte {
	return hmacSHA256(f.hashKey, []byte("refresh-hash/v1"), grant[:], bigEndian(uint32(generation)), secret)
}

// successor is secret n+1, of secret n.
func (f *formulas) successor(grant oauth.GrantID, next uint8, salt [32]byte, secret []byte) []byte {
	return hmacSHA256(f.nextKey, []byte("refresh-next/v1"), grant[:], bigEndian(uint32(next)), salt[:], secret)
}

// spell is the refresh token as it is sent.
func (f *formulas) spell(grant oauth.GrantID, generation uint8, secret []byte) string {
	raw := append([]byte{1, 0, 1, 0}, grant[:]...)
	raw = append(raw, bigEndian(uint32(generation))...)
	raw = append(raw, secret...)
	raw = append(raw, hmacSHA256(f.tagKey, []byte("refresh-tag/v1"), raw)[:16]...)
	raw = append(raw, bigEndian(crc32.ChecksumIEEE(raw))...)
	return "cfr_" + base64.RawURLEncoding.EncodeToString(raw)
}

// secretOf takes the secret out of a refresh token.
func secretOf(t *testing.T, token oauth.Secret) []byte {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(string(token)[4:])
	if err != nil || len(raw) != 76 {
		t.Fatalf("a refresh token of %d bytes, %v", len(raw), err)
	}
	return raw[24:56]
}
