// Package admin is what an operator may do: clients, users, grants, clean-up and
// the reasons of refusals. It is used by the command line, and by whatever else
// offers administration; every method that changes something records an event.
// It leaves storing to its port Store and presentation to its callers.
package admin
