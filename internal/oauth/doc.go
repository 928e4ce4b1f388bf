// Package oauth is the domain of Counterfoil: what an OAuth 2.0 authorization
// server decides, without knowing how it is asked or where it remembers.
//
// It owns the grant types, client authentication, the format of refresh tokens,
// the rotation decision (Present), scopes, the rules against guessing and the
// catalogue of refusals. It leaves HTTP and wording to package endpoint, durable
// state to the implementations of Store, password hashes to those of Directory
// and signatures to those of Signer. It imports the standard library only, reads
// no clock and no randomness of its own: both are fields of Server.
package oauth
