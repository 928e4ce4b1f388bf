package oauth

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// MasterKeySize is the size of a master key in bytes.
const MasterKeySize = 32

// Keys is the set of master keys of an installation, kept apart from its
// database. The first is active: what is made new is made under it. The others
// are needed until nothing made under them is left.
type Keys struct {
	ids     []uint16
	keys    map[uint16]*masterKey
	missing []uint16
}

// masterKey holds what HKDF-SHA-256 (RFC 5869) derives from one master key, one
// key for each use.
type masterKey struct {
	tag, hash, next, secret, guess, check, form *macKey
	seal                                        cipher.AEAD
}

// macKey is a key of HMAC-SHA-256. It keeps what it has begun to compute, which is
// half of the work, and the memory for it.
type macKey struct{ begun sync.Pool }

// begunMAC is a computation of a MAC that has taken in the key.
type begunMAC struct {
	hash.Hash
	in  []byte
	out [sha256.Size]byte
}

func newMACKey(key []byte) *macKey {
	return &macKey{begun: sync.Pool{New: func() any { return &begunMAC{Hash: hmac.New(sha256.New, key)} }}}
}

// sum is the HMAC over the parts, one after the other.
func (m *macKey) sum(parts ...[]byte) [sha256.Size]byte {
	h := m.begun.Get().(*begunMAC)
	defer m.begun.Put(h)
	h.in = h.in[:0]
	for _, p := range parts {
		h.in = append(h.in, p...)
	}
	h.Reset()
	h.Write(h.in)
	h.Sum(h.out[:0])
	return h.out
}

// ParseKeys reads the text of a master key file: lines `key_id base64url`, where
// key_id is a number from 1 to 65535 and the key has 32 bytes, without padding.
// Empty lines and lines that begin with # are skipped. The error never contains
// the text.
func ParseKeys(text string) (*Keys, error) {
	k := &Keys{keys: map[uint16]*masterKey{}}
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if err := k.add(line); err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
	}
	if len(k.ids) == 0 {
		return nil, errors.New("there is no master key in it")
	}
	return k, nil
}

func (k *Keys) add(line string) error {
	id, secret, _ := strings.Cut(line, " ")
	number, err := strconv.ParseUint(id, 10, 16)
	if err != nil || number == 0 {
		return errors.New("the key id is not a number from 1 to 65535")
	}
	secret = strings.TrimSpace(secret)
	raw, err := base64.RawURLEncoding.Strict().DecodeString(secret)
	if err != nil || len(raw) != MasterKeySize || strings.ContainsRune(secret, '\r') { // encoding/base64 would skip it
		return errors.New("the key is not 32 bytes in base64url")
	}
	if _, twice := k.keys[uint16(number)]; twice {
		return errors.New("the key id occurs twice")
	}
	m, err := deriveMasterKey(raw)
	if err != nil {
		return err
	}
	k.ids = append(k.ids, uint16(number))
	k.keys[uint16(number)] = m
	return nil
}

// FormatKey returns the line of a master key file for a key of MasterKeySize bytes.
func FormatKey(id uint16, key []byte) string {
	return strconv.Itoa(int(id)) + " " + base64.RawURLEncoding.EncodeToString(key)
}

func deriveMasterKey(raw []byte) (*masterKey, error) {
	var failed error
	derive := func(use string) []byte {
		key, err := hkdf.Key(sha256.New, raw, nil, "counterfoil "+use+" v1", 32)
		failed = errors.Join(failed, err)
		return key
	}
	deriveMAC := func(use string) *macKey { return newMACKey(derive(use)) }
	m := &masterKey{
		tag: deriveMAC("refresh tag"), hash: deriveMAC("refresh hash"), next: deriveMAC("refresh next"),
		secret: deriveMAC("client secret"), guess: deriveMAC("guess"), check: deriveMAC("check"),
		form: deriveMAC("form"),
	}
	sealing := derive("seal")
	if failed != nil {
		return nil, failed
	}
	block, err := aes.NewCipher(sealing)
	if err != nil {
		return nil, err
	}
	m.seal, err = cipher.NewGCMWithRandomNonce(block)
	return m, err
}

// Active returns the id of the active key.
func (k *Keys) Active() uint16 { return k.ids[0] }

// IDs returns the ids of all keys, the active one first.
func (k *Keys) IDs() []uint16 { return slices.Clone(k.ids) }

// Missing returns a copy of k that knows of keys which the database needs and this
// node does not have: what was made under them is a fault of ours, no forgery.
func (k *Keys) Missing(ids []uint16) *Keys {
	c := *k
	c.missing = ids
	return &c
}

// Check returns the check value of a key, 16 bytes, by which the database
// recognises it, and whether there is such a key.
func (k *Keys) Check(id uint16) ([]byte, bool) {
	m, ok := k.keys[id]
	if !ok {
		return nil, false
	}
	sum := mac(m.check, "check/v1")
	return sum[:16], true
}

// Seal encrypts data (AES-256-GCM) under the active key, for storage in the
// database as the named thing.
func (k *Keys) Seal(name string, data []byte) (keyID uint16, sealed []byte) {
	keyID = k.Active()
	return keyID, k.keys[keyID].seal.Seal(nil, nil, data, []byte(name))
}

// Open decrypts what Seal made under the key, for the same name.
func (k *Keys) Open(keyID uint16, name string, sealed []byte) ([]byte, error) {
	m, ok := k.keys[keyID]
	if !ok {
		return nil, fmt.Errorf("there is no master key %d", keyID)
	}
	return m.seal.Open(nil, nil, sealed, []byte(name))
}

// secretHashPrefix marks the hash of a generated client secret.
const secretHashPrefix = "$hmac-sha256$"

// GenerateClientSecret makes a client secret of 256 bits, 43 characters.
func GenerateClientSecret(random io.Reader) (Secret, error) {
	var b [32]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return "", fmt.Errorf("read randomness: %w", err)
	}
	return Secret(base64.RawURLEncoding.EncodeToString(b[:])), nil
}

// HashClientSecret returns the stored form of a generated client secret,
// `$hmac-sha256$key_id$base64`: a keyed hash, so that guessing costs the server
// nothing and the database tells nothing. A chosen secret needs a password hash.
func (k *Keys) HashClientSecret(s Secret) string {
	return k.hashClientSecret(k.Active(), s)
}

func (k *Keys) hashClientSecret(id uint16, s Secret) string {
	sum := mac(k.keys[id].secret, "client-secret/v1", string(s))
	return secretHashPrefix + strconv.Itoa(int(id)) + "$" + base64.RawStdEncoding.EncodeToString(sum[:])
}

// IsGeneratedSecretHash reports whether a stored hash is of a generated client secret.
func IsGeneratedSecretHash(hash string) bool { return strings.HasPrefix(hash, secretHashPrefix) }

// SecretKeyID returns the master key of the hash of a generated client secret.
func SecretKeyID(hash string) (uint16, bool) {
	rest, ok := strings.CutPrefix(hash, secretHashPrefix)
	id, _, found := strings.Cut(rest, "$")
	number, err := strconv.ParseUint(id, 10, 16)
	return uint16(number), ok && found && err == nil
}

// verifyClientSecret compares a secret with the hash of a generated one.
func (k *Keys) verifyClientSecret(hash string, s Secret) (bool, error) {
	id, ok := SecretKeyID(hash)
	if _, known := k.keys[id]; !ok || !known {
		return false, fmt.Errorf("there is no master key %d for a client secret", id)
	}
	return hmac.Equal([]byte(k.hashClientSecret(id, s)), []byte(hash)), nil
}

// guessKey hides what was guessed at: the database keeps no names that somebody
// typed, which may well be passwords.
func (k *Keys) guessKey(parts ...string) [16]byte {
	sum := mac(k.keys[k.Active()].guess, "guess/v1", parts...)
	return [16]byte(sum[:16])
}

// mac is HMAC-SHA-256 over a label and the parts, each preceded by its length.
func mac(key *macKey, label string, parts ...string) [32]byte {
	b := append(make([]byte, 0, 128), label...)
	for _, p := range parts {
		b = binary.BigEndian.AppendUint32(b, uint32(len(p)))
		b = append(b, p...)
	}
	return key.sum(b)
}
