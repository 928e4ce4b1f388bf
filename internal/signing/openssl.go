//go:build openssl

package signing

// #cgo CFLAGS: -O2
// #cgo LDFLAGS: -lcrypto
// #include <openssl/crypto.h>
// #include <openssl/err.h>
// #include <openssl/evp.h>
// #include <openssl/rsa.h>
// #include <openssl/x509.h>
//
// // rsa_sign signs a SHA-256 digest, with PSS padding or PKCS #1 v1.5. It returns the
// // length of the signature, or 0 and OpenSSL's error, which is kept per thread.
// static size_t rsa_sign(EVP_PKEY *key, int pss, const unsigned char *digest, unsigned char *signature, size_t room, unsigned long *error) {
//     EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
//     int ok = ctx != NULL
//         && EVP_PKEY_sign_init(ctx) > 0
//         && EVP_PKEY_CTX_set_rsa_padding(ctx, pss ? RSA_PKCS1_PSS_PADDING : RSA_PKCS1_PADDING) > 0
//         && EVP_PKEY_CTX_set_signature_md(ctx, EVP_sha256()) > 0
//         && (!pss || EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST) > 0)
//         && EVP_PKEY_sign(ctx, signature, &room, digest, 32) > 0;
//     EVP_PKEY_CTX_free(ctx);
//     if (ok) return room;
//     *error = ERR_get_error();
//     ERR_clear_error();
//     return 0;
// }
//
// static EVP_PKEY *parse_key(const unsigned char *der, long length) {
//     EVP_PKEY *key = d2i_AutoPrivateKey(NULL, &der, length);
//     ERR_clear_error();
//     return key;
// }
import "C"

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"runtime"
	"unsafe"
)

// Backend names what signs with RSA keys: Go, or OpenSSL and its version.
func Backend() string { return C.GoString(C.OpenSSL_version(C.OPENSSL_VERSION)) }

// opensslKey is an RSA key that OpenSSL signs with.
type opensslKey struct {
	public crypto.PublicKey
	size   int // of a signature, in bytes
	key    *C.EVP_PKEY
}

// accelerate returns what signs with the key: OpenSSL for RSA, where it takes a third
// of the time, Go for the others, where it gains nothing.
func accelerate(private crypto.Signer) (crypto.Signer, error) {
	key, ok := private.(*rsa.PrivateKey)
	if !ok {
		return private, nil
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode key for OpenSSL: %w", err)
	}
	defer clear(der)
	parsed := C.parse_key((*C.uchar)(&der[0]), C.long(len(der)))
	if parsed == nil {
		return nil, errors.New("OpenSSL cannot read the key")
	}
	k := &opensslKey{public: key.Public(), size: key.Size(), key: parsed}
	runtime.AddCleanup(k, func(parsed *C.EVP_PKEY) { C.EVP_PKEY_free(parsed) }, parsed)
	return k, nil
}

// Public implements crypto.Signer.
func (k *opensslKey) Public() crypto.PublicKey { return k.public }

// Sign implements crypto.Signer, for SHA-256 alone. OpenSSL uses its own randomness.
func (k *opensslKey) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if opts.HashFunc() != crypto.SHA256 || len(digest) != sha256.Size {
		return nil, errors.New("OpenSSL signs SHA-256 only")
	}
	pss := C.int(0)
	if _, ok := opts.(*rsa.PSSOptions); ok {
		pss = 1
	}
	signature := make([]byte, k.size)
	var failure C.ulong
	n := C.rsa_sign(k.key, pss, (*C.uchar)(&digest[0]), (*C.uchar)(&signature[0]), C.size_t(len(signature)), &failure)
	runtime.KeepAlive(k)
	if n == 0 {
		return nil, opensslError(failure)
	}
	return signature[:n], nil
}

func opensslError(code C.ulong) error {
	var text [256]C.char
	C.ERR_error_string_n(code, &text[0], C.size_t(unsafe.Sizeof(text)))
	return errors.New("OpenSSL: " + C.GoString(&text[0]))
}
