// Package storetest holds the promises of the storage ports in executable form.
//
// It owns what every store must do to be one: oauth.Store, admin.Store,
// signing.Store and password.Users, condition by condition, races included. A
// store that passes Run may be put under the server. It leaves what only one
// engine can do wrong, such as durability through a crash, to that engine's own
// tests.
package storetest
