// Package failover holds the check that the promises of rotation survive the loss of
// a database. It builds a cluster on one machine: three PostgreSQL under Patroni with
// synchronous replication, etcd, HAProxy, and two Counterfoil nodes, one of which finds
// the primary by itself and one through HAProxy. Clients refresh at both while the
// primary is killed, stopped, cut off and replaced, and keep a ledger outside of what
// they were told. Networks are cut by the test's own TCP proxies, so that no privileges
// are needed.
package failover
