package accesstoken

import (
	"errors"
	"fmt"
)

// What Verify and Middleware answer. Every refusal is, by errors.Is, one of the five
// that come first; those after them say more. None of them contains anything of the
// token.
var (
	// ErrMissing: no access token was presented. RFC 6750 section 3.1: 401 without an error code.
	ErrMissing = errors.New("no access token was presented")
	// ErrRequest: a token was presented in a way that RFC 6750 section 2 or RFC 9700
	// section 4.3.2 forbids, or twice: 400 invalid_request.
	ErrRequest = errors.New("the access token was not presented as it must be")
	// ErrInvalid: the access token is no good here: 401 invalid_token.
	ErrInvalid = errors.New("invalid access token")
	// ErrScope: the access token is good, its scope does not suffice: 403 insufficient_scope.
	ErrScope = errors.New("the access token has not the scope that is needed")
	// ErrUnavailable: keys or liveness cannot be had, so that nobody can tell whether the
	// token is good: 503, never 401, which would make clients throw good tokens away.
	ErrUnavailable = errors.New("the access token cannot be checked now")
)

// Why an access token is ErrInvalid.
var (
	// ErrMalformed: not a JWS in compact serialization, longer than 8 KiB, or with a header
	// or claims that are not as the profile wants them.
	ErrMalformed = fmt.Errorf("%w: malformed", ErrInvalid)
	// ErrProfile: not an access token of the verifier's profile (RFC 8725 section 3.11): of
	// the other profile, or an ID token, a logout token or any other JWT.
	ErrProfile = fmt.Errorf("%w: not an access token of this profile", ErrInvalid)
	// ErrAlgorithm: the header's algorithm is not its key's, or not allowed (RFC 8725 section 3.1).
	ErrAlgorithm = fmt.Errorf("%w: algorithm", ErrInvalid)
	// ErrKeyUnknown: the issuer publishes no key of this identifier, or none was named.
	ErrKeyUnknown = fmt.Errorf("%w: key unknown", ErrInvalid)
	// ErrSignature: the signature is wrong.
	ErrSignature = fmt.Errorf("%w: signature", ErrInvalid)
	// ErrIssuer: `iss` is another issuer (RFC 8725 section 3.8).
	ErrIssuer = fmt.Errorf("%w: issuer", ErrInvalid)
	// ErrAudience: the token is for others (RFC 8725 section 3.9).
	ErrAudience = fmt.Errorf("%w: audience", ErrInvalid)
	// ErrExpired: `exp` has passed.
	ErrExpired = fmt.Errorf("%w: expired", ErrInvalid)
	// ErrNotYetValid: `nbf` or `iat` lies in the future, by more than the leeway.
	ErrNotYetValid = fmt.Errorf("%w: not yet valid", ErrInvalid)
	// ErrRevoked: signature and times are good, and yet the token lives no longer.
	ErrRevoked = fmt.Errorf("%w: revoked", ErrInvalid)
	// ErrSenderConstrained: the token is bound to a key (`cnf`) of which no proof was checked.
	ErrSenderConstrained = fmt.Errorf("%w: sender-constrained, and without proof", ErrInvalid)
)
