// Package test holds tests of the whole program: the real binary, started, killed
// and restarted on a real database, and asked over HTTP.
package test
