// Package accesstoken verifies Counterfoil's access tokens: what the owner of an API in Go
// puts before his handlers.
//
// A [Verifier] takes the tokens of one issuer, of one [Profile] and for one API, and
// checks each by itself: signature, issuer, audience, times, scope (RFC 9068 section 4,
// RFC 8725). It fetches the issuer's keys and keeps them. [Verifier.Middleware] puts it
// before a handler, takes the token out of the request and words the refusals (RFC 6750);
// [FromContext] returns the token there.
//
// # Dead before the end
//
// A signature says nothing about what happened later: a refresh, which kills the token
// before it, a revocation, a user who was blocked. Config.Liveness does, in the way that
// an API can afford. From the cheapest to the most exact:
//
//   - nil, offline. No requests; a dead token is accepted until it expires.
//   - [Generations]. No requests; a refreshed token is refused as soon as the newer one came
//     to this process. A revoked one is accepted until it expires.
//   - [Feed]. One request that waits for news, however many tokens there are; whatever died
//     is refused within about a second, and nobody is accepted whose death could not be
//     heard of for StaleAfter. A look into a map for each token. [All] joins it with
//     Generations.
//   - [Introspection]. A request for each token, once in CacheFor, which is also how long
//     a dead token is accepted. The API is as available as its issuer.
//
// Where this cannot be told, the answer is [ErrUnavailable] and 503, never 401: a client
// that gets 401 throws its token away and, with the issuer down, cannot get another.
//
// # What it leaves to others
//
// It gets no tokens, and it knows no users: what a subject may do is the API's own
// affair. A sender-constrained token is refused, unless HTTP.Proof checks the proof, of
// which this package knows only the thumbprints. CORS stands before Middleware: a
// preflight request has no token. Nothing is logged; HTTP.Refused is told of refusals.
// Tests of handlers find an issuer of their own in package accesstokentest.
package accesstoken
