package failover

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"text/template"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/counterfoil/counterfoil/test/postgres"
)

// cluster is three PostgreSQL under Patroni, their etcd, and an HAProxy in front.
type cluster struct {
	t        testing.TB
	dir      string
	owner    *syscall.Credential // whom all of it belongs to; nil: whoever runs the test
	etcd     string              // its address
	members  []*member
	entrance string // HAProxy's address
}

// member is a PostgreSQL and its Patroni. The others reach it, and it reaches etcd,
// through gates; so do its clients, through gates of their own.
type member struct {
	Name      string
	Dir       string
	Bin       string
	SQL, REST string // its own addresses
	// The gates in front of SQL and REST for other members and for clients, and the one
	// in front of etcd.
	Peers, PeersREST, Clients, ClientsREST, Etcd *gate
}

// newCluster starts a cluster and waits until it is whole.
func newCluster(t testing.TB) *cluster {
	t.Helper()
	dir, err := os.MkdirTemp("", "counterfoil-failover-")
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{t: t, dir: dir, owner: databaseOwner(t)}
	guard(t, dir)
	c.give(dir)
	c.startEtcd()
	bin, err := postgres.Find()
	if err != nil {
		t.Fatal(err)
	}
	for n := range 3 {
		c.members = append(c.members, c.newMember(fmt.Sprintf("pg%d", n+1), bin))
	}
	for _, m := range c.members {
		c.startMember(m)
	}
	c.startHAProxy()
	c.awaitWhole(time.Minute)
	return c
}

// databaseOwner is the user postgres if the test runs as root, as whom PostgreSQL
// refuses to run.
func databaseOwner(t testing.TB) *syscall.Credential {
	t.Helper()
	if os.Geteuid() != 0 {
		return nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		t.Fatalf("%v; `make setup` installs PostgreSQL", err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	gid, failed := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(err, failed); err != nil {
		t.Fatal(err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// give gives a file or directory to the owner of the cluster.
func (c *cluster) give(path string) {
	c.t.Helper()
	if c.owner == nil {
		return
	}
	if err := os.Chown(path, int(c.owner.Uid), int(c.owner.Gid)); err != nil {
		c.t.Fatal(err)
	}
}

// directory makes a directory of the cluster, in which a process works.
func (c *cluster) directory(name string) string {
	c.t.Helper()
	dir := filepath.Join(c.dir, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		c.t.Fatal(err)
	}
	c.give(dir)
	return dir
}

// fill writes a file from a template.
func (c *cluster) fill(path, text string, with any) {
	c.t.Helper()
	f, err := os.Create(path)
	if err == nil {
		err = errors.Join(template.Must(template.New(path).Parse(text)).Execute(f, with), f.Close())
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

// freeAddresses are addresses at which nobody listens.
func freeAddresses(t testing.TB, n int) []string {
	t.Helper()
	var addresses []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }()
		addresses = append(addresses, l.Addr().String())
	}
	return addresses
}

func (c *cluster) startEtcd() {
	c.t.Helper()
	free := freeAddresses(c.t, 2)
	c.etcd = free[0]
	client, peer := "http://"+free[0], "http://"+free[1]
	c.run(c.directory("etcd"), "etcd", "--name", "etcd", "--data-dir", "data", "--logger", "zap", "--enable-v2",
		"--listen-client-urls", client, "--advertise-client-urls", client,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "etcd="+peer)
	c.await("etcd is ready", 30*time.Second, func() error { return get(client+"/health", nil) })
}

func (c *cluster) newMember(name, bin string) *member {
	c.t.Helper()
	free := freeAddresses(c.t, 2)
	m := &member{
		Name: name, Dir: c.directory(name), Bin: bin, SQL: free[0], REST: free[1], Etcd: newGate(c.t, c.etcd),
		Peers: newGate(c.t, free[0]), PeersREST: newGate(c.t, free[1]),
		Clients: newGate(c.t, free[0]), ClientsREST: newGate(c.t, free[1]),
	}
	c.fill(filepath.Join(m.Dir, "patroni.yml"), patroniTemplate, m)
	return m
}

// startMember starts a member that does not run. Patroni starts PostgreSQL.
func (c *cluster) startMember(m *member) { c.run(m.Dir, "patroni", "patroni.yml") }

// data is where the database of a member is, and its PostgreSQL works.
func (m *member) data() string { return filepath.Join(m.Dir, "data") }

// patroniTemplate is short of time: a leader that is silent for ttl seconds is replaced.
// synchronous_mode_strict is what keeps an acknowledged rotation from being on one
// member only: docs/operations.md. The rest makes a member come back quickly.
//
// It is etcd's older API because of Patroni 3.0.2, which Debian 12 has: with the newer
// one a leader that was suspended takes the lock back from its successor, unseen, and
// with it the cluster to its own past (mended in Patroni 3.0.3).
const patroniTemplate = `
scope: counterfoil
name: {{.Name}}
restapi:
  listen: {{.REST}}
  connect_address: {{.PeersREST.Address}}
etcd:
  host: {{.Etcd.Address}}
  use_proxies: true
bootstrap:
  dcs:
    ttl: 10
    loop_wait: 1
    retry_timeout: 4
    synchronous_mode: true
    synchronous_mode_strict: true
    synchronous_node_count: 1
    postgresql:
      use_pg_rewind: true
      parameters:
        max_connections: 100
        wal_keep_size: 256MB
        wal_sender_timeout: 5s
        wal_receiver_timeout: 5s
        wal_retrieve_retry_interval: 500ms
  initdb:
    - encoding: UTF8
    - locale: C.UTF-8
    - data-checksums
    - no-sync
postgresql:
  listen: {{.SQL}}
  connect_address: {{.Peers.Address}}
  data_dir: {{.Dir}}/data
  bin_dir: {{.Bin}}
  pgpass: {{.Dir}}/pgpass
  authentication:
    superuser: {username: postgres}
    replication: {username: replicator}
  parameters:
    unix_socket_directories: ''
    shared_buffers: 32MB
    min_wal_size: 32MB
    log_line_prefix: '%m [%p] %a '
  pg_hba:
    - host all all 127.0.0.1/32 trust
    - host replication all 127.0.0.1/32 trust
  basebackup:
    - checkpoint: fast
    - no-sync
`

// Address is where the gate listens.
func (g *gate) Address() string { return g.address }

// Port is the port of Address.
func (g *gate) Port() string {
	_, port, _ := net.SplitHostPort(g.address)
	return port
}

func (c *cluster) startHAProxy() {
	c.t.Helper()
	dir := c.directory("haproxy")
	c.entrance = freeAddresses(c.t, 1)[0]
	c.fill(filepath.Join(dir, "haproxy.cfg"), haproxyTemplate, map[string]any{"Entrance": c.entrance, "Members": c.members})
	c.run(dir, "/usr/sbin/haproxy", "-db", "-f", "haproxy.cfg")
}

// haproxyTemplate leads to the member whose Patroni says that it is the primary.
const haproxyTemplate = `
defaults
    mode tcp
    timeout connect 2s
    timeout client 30m
    timeout server 30m
    timeout check 2s
listen primary
    bind {{.Entrance}}
    option httpchk OPTIONS /primary
    http-check expect status 200
    default-server inter 1s fall 2 rise 1 on-marked-down shutdown-sessions
{{range .Members}}    server {{.Name}} {{.Clients.Address}} check port {{.ClientsREST.Port}}
{{end}}`

// get asks for a JSON document, and for an answer of 200.
func get(url string, into any) error {
	response, err := (&http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}).Get(url)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: status %d", url, response.StatusCode)
	}
	if into == nil {
		return nil
	}
	return json.NewDecoder(response.Body).Decode(into)
}

// view is what a member knows of the cluster.
type view struct {
	Members []struct {
		Name, Role, State string
		Timeline          int
	}
}

// leader is the name of the present leader, or empty.
func (v *view) leader() string {
	for _, m := range v.Members {
		if m.Role == "leader" && m.State == "running" {
			return m.Name
		}
	}
	return ""
}

// incomplete says what is missing to the three members that belong together.
func (v *view) incomplete() error {
	var roles []string
	for _, m := range v.Members {
		if m.State != "running" && m.State != "streaming" || m.Timeline != v.Members[0].Timeline {
			return fmt.Errorf("%s is %s on timeline %d", m.Name, m.State, m.Timeline)
		}
		roles = append(roles, m.Role)
	}
	slices.Sort(roles)
	if want := []string{"leader", "replica", "sync_standby"}; !slices.Equal(roles, want) {
		return fmt.Errorf("roles are %q, want %q", roles, want)
	}
	return nil
}

// awaitWhole waits until there are a leader, its synchronous standby and another one,
// and everybody says so.
func (c *cluster) awaitWhole(within time.Duration) {
	c.t.Helper()
	c.await("the cluster is whole", within, func() error {
		for _, m := range c.members {
			var v view
			if err := get("http://"+m.REST+"/cluster", &v); err != nil {
				return err
			}
			if err := v.incomplete(); err != nil {
				return fmt.Errorf("%s says: %w", m.Name, err)
			}
		}
		return nil
	})
}

// awaitLeader waits until another member than old, which may be nil, leads the rest.
func (c *cluster) awaitLeader(old *member, within time.Duration) (leader *member) {
	c.t.Helper()
	c.await("there is a leader", within, func() error {
		for _, m := range c.members {
			var v view
			if m == old || get("http://"+m.REST+"/cluster", &v) != nil {
				continue
			}
			for _, candidate := range c.members {
				if candidate != old && candidate.Name == v.leader() {
					leader = candidate
					return nil
				}
			}
		}
		return errors.New("nobody knows one")
	})
	return leader
}

// databaseURL is the database counterfoil at some addresses.
func databaseURL(parameters string, addresses ...string) string {
	return "postgres://counterfoil@" + strings.Join(addresses, ",") + "/counterfoil?sslmode=disable" + parameters
}

// everyMember is the URL with which a client looks for the primary by itself.
func (c *cluster) everyMember(parameters string) string {
	var addresses []string
	for _, m := range c.members {
		addresses = append(addresses, m.Clients.address)
	}
	return databaseURL("&target_session_attrs=read-write"+parameters, addresses...)
}

// createDatabase makes the role and the database of Counterfoil, and waits until every
// member has them: a client that asks one which does not will not ask the next.
func (c *cluster) createDatabase(ctx context.Context) {
	c.t.Helper()
	leader := "postgres://postgres@" + c.awaitLeader(nil, time.Minute).SQL + "/postgres?sslmode=disable"
	for _, statement := range []string{"CREATE ROLE counterfoil LOGIN", "CREATE DATABASE counterfoil OWNER counterfoil"} {
		if err := execute(ctx, leader, statement); err != nil {
			c.t.Fatal(err)
		}
	}
	c.await("every member has the database", time.Minute, func() error {
		var errs []error
		for _, m := range c.members {
			errs = append(errs, execute(ctx, databaseURL("", m.SQL), "SELECT 1"))
		}
		return errors.Join(errs...)
	})
}

// execute runs a statement at the database of a URL.
func execute(ctx context.Context, url, statement string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, statement)
	return errors.Join(err, conn.Close(ctx))
}
