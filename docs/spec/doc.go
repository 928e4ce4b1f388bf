// Package spec is docs/rotation.md as a model that a machine can search: ONE grant,
// its client, the requests under way, the store, faults, an administrator and a
// thief. It owns the meaning of the protocol; bytes, HTTP and SQL are elsewhere.
//
//	state.go       what there is: the grant's row, requests, writes that are still under way
//	decision.go    the table of the text, row by row: P5, P6, Y2, Y1, X2, X3, X1, S, R2, R1, R3
//	store.go       the store's steps: CreateGrant, SwapGrant, RetryGrant, RevokeGrant
//	moves.go       everything that can happen next, and every way in which it can fail
//	invariants.go  I1 to I7, and the assumptions under which I7 holds
//	explore.go     the search: breadth first, so that a trace is as short as can be
//	variants.go    the honest configurations, and the broken ones that must be caught
//
// Three tests use it. TestModel searches the honest configurations and finds nothing.
// TestBrokenModels breaks one rule after another, and each time the invariant named
// for it finds that out. TestCodeFollowsModel walks through the model at random and
// makes the real server, on both stores, take every step with it.
//
// # How it is abstracted
//
// Each operation of the store is one atomic step. Reading, deciding and signing are one
// step together, because deciding and signing touch nothing that is shared. A write ends
// in one of these ways: committed; conflict; failed; outcome unknown, and it was
// committed, or never will be, or will be later. A server may crash between any two steps.
//
// A token is a generation and a value that stands for its secret: another salt gives
// another value. A retry rebuilds the successor from the row's salt, which gives the
// row's current value. The windows are two bits, open or closed; nature closes them when
// it likes. An administrator's act is acknowledged when it commits, the earliest moment
// possible and so the strictest.
//
// Not in the model: rows P0 to P4 and P7 (a request that they refuse changes nothing),
// lifetimes, master keys, access tokens, several grants, a database that loses what it
// acknowledged.
package spec
