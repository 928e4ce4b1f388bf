//go:build !openssl

package signing

import (
	"crypto"
)

// Backend names what signs with RSA keys: Go, or OpenSSL and its version.
func Backend() string { return "Go" }

// accelerate returns what signs with the key: see openssl.go.
func accelerate(private crypto.Signer) (crypto.Signer, error) { return private, nil }
