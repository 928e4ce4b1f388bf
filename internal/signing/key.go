package signing

import (
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/go-jose/go-jose/v4"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

// ErrSealed: a signing key cannot be opened with its master key.
var ErrSealed = errors.New("cannot be opened with master key")

// openKey is a signing key ready for use. It does not change, but for what it remembers.
type openKey struct {
	algorithm
	id, alg  string
	private  crypto.Signer // what is sealed
	signer   crypto.Signer // what signs: see accelerate
	public   crypto.PublicKey
	jwk      []byte            // public members only (RFC 7517)
	headers  map[string]string // by `typ`: see header
	verified verified          // tokens of it
}

// commonTypes are the values of `typ` for which the header is encoded beforehand.
var commonTypes = []string{"JWT", "at+jwt"}

// newOpenKey prepares a private key. Its `kid` is the RFC 7638 thumbprint.
func newOpenKey(alg string, private crypto.Signer) (*openKey, error) {
	a, err := algorithmOf(alg)
	if err != nil {
		return nil, err
	}
	if !a.fits(private) {
		return nil, fmt.Errorf("the private key does not fit %s", alg)
	}
	jwk := jose.JSONWebKey{Key: private.Public(), Use: "sig", Algorithm: alg}
	thumbprint, err := jwk.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("thumbprint: %w", err)
	}
	jwk.KeyID = base64.RawURLEncoding.EncodeToString(thumbprint)
	encoded, err := jwk.MarshalJSON()
	if err != nil {
		return nil, fmt.Errorf("encode JWK: %w", err)
	}
	signer, err := accelerate(private)
	if err != nil {
		return nil, err
	}
	k := &openKey{
		algorithm: a, id: jwk.KeyID, alg: alg, private: private, signer: signer, public: private.Public(),
		jwk: encoded, headers: map[string]string{},
	}
	for _, typ := range commonTypes {
		if k.headers[typ], err = k.encodeHeader(typ); err != nil {
			return nil, err
		}
	}
	return k, nil
}

// seal returns the key as the database keeps it, without its times.
func (k *openKey) seal(keys *oauth.Keys) (Key, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k.private)
	if err != nil {
		return Key{}, fmt.Errorf("encode signing key %s: %w", k.id, err)
	}
	sealed := Key{ID: k.id, Alg: k.alg}
	sealed.MasterKeyID, sealed.Sealed = keys.Seal(sealName(k.id), der)
	return sealed, nil
}

func sealName(id string) string { return "signing key " + id }

// unseal opens a key of the database. The error names it and its master key; it is
// ErrSealed where that is missing or another one.
func (k *Key) unseal(keys *oauth.Keys) (*openKey, error) {
	der, err := keys.Open(k.MasterKeyID, sealName(k.ID), k.Sealed)
	if err != nil {
		return nil, fmt.Errorf("signing key %s %w %d: %w", k.ID, ErrSealed, k.MasterKeyID, err)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("signing key %s (master key %d) is damaged", k.ID, k.MasterKeyID)
	}
	private, err := supported(parsed)
	if err != nil {
		return nil, fmt.Errorf("signing key %s (master key %d): %w", k.ID, k.MasterKeyID, err)
	}
	opened, err := newOpenKey(k.Alg, private)
	if err != nil {
		return nil, fmt.Errorf("signing key %s (master key %d): %w", k.ID, k.MasterKeyID, err)
	}
	if opened.id != k.ID {
		return nil, fmt.Errorf("signing key %s (master key %d) is another key, %s", k.ID, k.MasterKeyID, opened.id)
	}
	return opened, nil
}
