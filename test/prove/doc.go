// Command prove runs every check of the promises in docs/rotation.md for a given
// time, and prints what was checked, how much of it, and what was found:
//
//	go run ./test/prove -budget 10m
//
// It owns the list of checks, with the part of the time that each gets, and the list
// of broken variants of the server that they must catch. The checks themselves are
// tests of other packages; docs/correctness.md describes them.
package main
