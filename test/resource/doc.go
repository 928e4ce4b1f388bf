// Package resource runs the real server beside an API that is protected by package
// accesstoken, in each of its ways of liveness, and measures how long a token that died is
// still accepted there: docs/resource-servers.md has the figures. Beside them stands what
// the server itself says, at /oauth2/forward-auth.
//
// With -run TestMeasure -measure 20 -v each death is repeated so often, one after the other,
// and a table is printed.
package resource
