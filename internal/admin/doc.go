// Package admin is what an operator may do: clients, users, grants, clean-up, the
// reasons of refusals, and the master keys and their file. It is used by the
// command line, and by whatever else offers administration; every method that
// changes something checks what it is given and records an event.
// It leaves storing to its port Store, password hashes to its Hasher, and
// presentation to its callers.
package admin
