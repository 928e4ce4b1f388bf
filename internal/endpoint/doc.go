// Package endpoint is HTTP for the protocol: it reads requests, calls
// oauth.Server and writes answers.
//
// It owns the routes, the parsers of form, JSON and multipart bodies and of Basic
// credentials, the wording and the headers of both dialects (dialect.go), CORS,
// request ids, the log line of a request and the address blocks that throttling
// counts by. It leaves every decision to package oauth, the JWK set to package
// signing, and listeners, TLS and time limits to its caller. It never sees a store
// or a key.
package endpoint
