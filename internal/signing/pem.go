package signing

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// Why a file is not taken. None of the texts contains any of the file.
var (
	errNoPrivateKey   = errors.New("there is no private key in PEM format in it")
	errTwoPrivateKeys = errors.New("there is more than one private key in it")
	errEncryptedKey   = errors.New("the private key is encrypted with a passphrase: decrypt it first (openssl pkey -in FILE -out FILE)")
	errOpenSSHKey     = errors.New("the private key is in OpenSSH's own format: convert it first (ssh-keygen -p -m PKCS8 -f FILE)")
	errUnreadableKey  = errors.New("the private key is damaged, or of a kind that is not supported: RSA of 2048 bits or more, EC on P-256 and Ed25519 are")
)

// parsePEM reads the one private key of a PEM text: PKCS #8, PKCS #1 (RSA) or
// SEC 1 (EC). Other blocks, such as certificates, are skipped. The key fits one of
// the algorithms.
func parsePEM(text []byte) (crypto.Signer, error) {
	var found crypto.Signer
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if !strings.HasSuffix(block.Type, "PRIVATE KEY") {
			continue
		}
		if found != nil {
			return nil, errTwoPrivateKeys
		}
		key, err := parseBlock(block)
		if err != nil {
			return nil, err
		}
		found = key
	}
	if found == nil {
		return nil, errNoPrivateKey
	}
	return found, nil
}

func parseBlock(block *pem.Block) (crypto.Signer, error) {
	if block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "" {
		return nil, errEncryptedKey
	}
	var key any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	case "OPENSSH PRIVATE KEY":
		return nil, errOpenSSHKey
	default:
		return nil, errUnreadableKey
	}
	if err != nil {
		return nil, errUnreadableKey
	}
	return supported(key)
}

// supported refuses keys that no algorithm can use.
func supported(key any) (crypto.Signer, error) {
	switch k := key.(type) {
	case *rsa.PrivateKey:
		if k.N.BitLen() < minRSABits {
			return nil, fmt.Errorf("the RSA key has %d bits: at least %d are needed", k.N.BitLen(), minRSABits)
		}
		return k, nil
	case *ecdsa.PrivateKey:
		if !isP256(k) {
			return nil, fmt.Errorf("the EC key is on the curve %s: only P-256 is supported", k.Params().Name)
		}
		return k, nil
	case ed25519.PrivateKey:
		return k, nil
	}
	return nil, errUnreadableKey
}
