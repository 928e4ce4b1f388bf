package signing

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
)

// PublicKey returns a key of the JWK set for those who want a file rather than the set:
// in PEM, SubjectPublicKeyInfo (RFC 7468 section 13). Where kid is empty it is the key
// that signs with the algorithm now; else the one of that `kid`, whatever its state, which
// must be of the algorithm unless alg is empty. It makes no keys.
func (r *Ring) PublicKey(alg, kid string) ([]byte, error) {
	v := r.view()
	key := v.published[kid]
	switch {
	case kid == "" && v.active[alg] == nil:
		return nil, fmt.Errorf("there is no %s key", alg)
	case kid == "":
		key = v.active[alg]
	case key == nil:
		return nil, fmt.Errorf("there is no key %s in the JWK set", kid)
	case alg != "" && alg != key.alg:
		return nil, fmt.Errorf("key %s is for %s, not for %s", kid, key.alg, alg)
	}
	der, err := x509.MarshalPKIXPublicKey(key.public)
	if err != nil {
		return nil, fmt.Errorf("encode public key %s: %w", key.id, err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}
