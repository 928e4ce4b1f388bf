// Package memory is the store in maps: the reference implementation of the ports
// oauth.Store, admin.Store, signing.Store, password.Users and feed.Store, and their test double.
//
// It owns the promises of the ports in their plainest form: one mutex, so that each
// method is one atomic step, and copies of everything that goes in or out. It
// leaves durability to package sqlstore: what it holds ends with the process.
package memory
