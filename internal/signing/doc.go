// Package signing signs access tokens and publishes the keys to check them with.
//
// It owns the signing keys of an installation: making, importing, sealing, rotating
// and retiring them, the JWK set, and the JWS serialization of access tokens. What
// an access token says is package oauth's, where keys are stored its port Store's.
package signing
