// Command counterfoil is the authorization server and everything an operator does
// with it. It owns flags, wiring and signals, and is the only package that knows
// every other; rules about tokens, grants and administration are theirs.
package main
