//go:build !openssl

package signing

import (
	"crypto"
	"runtime"
)

// Backend names what signs with RSA keys, and its version.
func Backend() string { return "crypto/rsa, " + runtime.Version() }

// accelerate returns what signs with the key: see openssl.go.
func accelerate(private crypto.Signer) (crypto.Signer, error) { return private, nil }
