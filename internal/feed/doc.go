// Package feed tells resource servers which access tokens died before their time: those
// of a generation that a refresh replaced, and those of grants, users and clients that
// were cut off.
//
// It keeps what was cut off as long as a token could live that it concerns, in memory,
// and makes it anew from the store when it starts: nothing is stored for an access token.
// What administrators and users end is read from the rows they change. Rotations change
// no row that could be found again without looking at all of them, so the nodes announce
// theirs to one another in a table of fixed size; who misses some looks at all grants.
// None of this happens, and no memory is spent, until somebody follows.
//
// HTTP is package endpoint's, who may follow package oauth's.
package feed
