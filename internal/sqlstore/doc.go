// Package sqlstore is the store in SQL: hand-written, one set of texts for every
// engine, and per engine what only that engine needs: SQLite, embedded, for one node;
// PostgreSQL for many.
//
// It owns the schema, its migrations, and how writes become durable: concurrent
// writes of one process share a transaction (group commit), and each returns only
// after its COMMIT, or says that nobody knows what became of it. What the steps mean is promised in the ports it implements
// (oauth.Store, admin.Store, signing.Store, password.Users) and held to by package
// storetest; it decides nothing about grants.
package sqlstore
