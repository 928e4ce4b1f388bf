// Package nodes checks, with whole programs, that many nodes on one PostgreSQL keep the
// promises of one: through the death of a node, a pooler, an administrator at any of
// them, migrations by all at once, a database that hangs, and hosts of it that come and
// go. The short form of some of it, and upgrades, are in package test; failovers are in
// test/failover.
package nodes
