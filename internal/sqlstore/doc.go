// Package sqlstore is the store on database/sql: hand-written SQL, one set of it
// for every engine, and per engine a file with what only that engine needs.
//
// It owns the schema, its migrations, and how writes become durable: concurrent
// writes of one process share a transaction (group commit), and each returns only
// after its COMMIT. What the steps mean is promised in the ports it implements
// (oauth.Store, admin.Store, signing.Store, password.Users) and held to by package
// storetest; it decides nothing about grants.
package sqlstore
