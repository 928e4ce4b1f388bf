// Package crash kills the real program, at random and at every point that package
// failpoint names, and holds what is found after each restart against an outside
// ledger of what was acknowledged: the invariants I1 to I11 of docs/rotation.md, as
// far as they can be seen from outside.
package crash
