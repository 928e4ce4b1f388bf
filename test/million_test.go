package test

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/admin"
	"github.com/counterfoil/counterfoil/internal/oauth"
	"github.com/counterfoil/counterfoil/internal/signing"
	"github.com/counterfoil/counterfoil/internal/sqlstore"
	"github.com/counterfoil/counterfoil/test/program"
)

// BenchmarkRefreshAmong refreshes among a thousand and among a million grants, all
// alive, made by logins. Every round asks both, one after the other, so that they can
// be compared on a machine whose speed changes. It also reports how long the server
// takes from its start until it is ready, its memory, and the database per grant.
func BenchmarkRefreshAmong(b *testing.B) {
	const rounds = 5
	sizes := []int{1000, 1_000_000}
	installations := make([]*populated, len(sizes))
	for i, n := range sizes {
		installations[i] = populate(b, n)
	}
	for range rounds {
		for _, alg := range []string{"RS256", "EdDSA"} {
			for i, n := range sizes {
				installations[i].Env = append(installations[i].Env, "COUNTERFOIL_SIGNING_ALG="+alg) // the last one counts
				b.Run(alg+"/"+strconv.Itoa(n), installations[i].load)
			}
		}
	}
}

// populated is an installation with many grants. It holds refresh tokens of grants
// all over the database.
type populated struct {
	loaded
	grants int
	empty  float64 // size of the database without grants
}

// populate makes an installation with n grants. The logins are those of the server,
// without its passwords: hashing a million would take a day.
func populate(b *testing.B, n int) *populated {
	b.Helper()
	const users, workers, mostHeld = 1000, 64, 20_000
	p := &populated{loaded: loaded{Program: program.New(b)}, grants: n}
	p.client = p.CreateClient()
	p.Start()
	p.Stop()
	p.createUsers(b, users)
	p.empty = p.databaseBytes(b)
	quick := p.moveData(b, "/dev/shm")
	server, store := openInside(b, quick)
	held := make([][]string, workers)
	var working sync.WaitGroup
	for w := range workers {
		working.Go(func() {
			for i := w; i < n; i += workers {
				answer, err := server.Token(context.Background(), loginRequest(p.client, fmt.Sprint("user", i%users)))
				if err != nil {
					b.Error(err)
					return
				}
				if every := max(1, n/mostHeld); i/workers%every == 0 {
					held[w] = append(held[w], string(answer.RefreshToken))
				}
			}
		})
	}
	working.Wait()
	for _, tokens := range held {
		p.held = append(p.held, tokens...)
	}
	if err := store.Close(); err != nil {
		b.Fatal(err)
	}
	move(b, quick, filepath.Join(p.Dir, "data"))
	return p
}

// moveData moves the data to a new directory in memory, where a million commits take
// minutes instead of hours, and returns its path.
func (p *populated) moveData(b *testing.B, memory string) string {
	b.Helper()
	quick, err := os.MkdirTemp(memory, "counterfoil-test-")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = os.RemoveAll(quick) })
	move(b, filepath.Join(p.Dir, "data"), quick)
	return quick
}

// move moves the content of a directory, modes included, to another file system.
func move(b *testing.B, from, to string) {
	b.Helper()
	if out, err := exec.Command("cp", "-a", from+"/.", to).CombinedOutput(); err != nil {
		b.Fatalf("cp: %v\n%s", err, out)
	}
	if err := os.RemoveAll(from); err != nil {
		b.Fatal(err)
	}
}

// createUsers makes users without passwords.
func (p *populated) createUsers(b *testing.B, n int) {
	b.Helper()
	_, store := openInside(b, filepath.Join(p.Dir, "data"))
	for i := range n {
		u := oauth.User{Subject: oauth.Subject{ID: fmt.Sprintf("0192b1f0-7a5c-7000-8000-%012d", i), Username: fmt.Sprint("user", i), Enabled: true, State: oauth.SubjectActive}}
		if err := store.CreateUser(context.Background(), u, oauth.Event{}); err != nil {
			b.Fatal(err)
		}
	}
	if err := store.Close(); err != nil {
		b.Fatal(err)
	}
}

// openInside opens an installation's server inside of this process; everybody's
// password is right.
func openInside(b *testing.B, data string) (*oauth.Server, *sqlstore.Store) {
	b.Helper()
	store, err := sqlstore.OpenSQLite(context.Background(), filepath.Join(data, "counterfoil.db"), sqlstore.Options{Now: time.Now})
	if err != nil {
		b.Fatal(err)
	}
	keys, err := admin.ReadMasterKeys(filepath.Join(data, "master.key"))
	if err != nil {
		b.Fatal(err)
	}
	theKeys := func() *oauth.Keys { return keys }
	ring, err := signing.Open(context.Background(), signing.Options{Store: store, Keys: theKeys, Now: time.Now, Rand: rand.Reader, Alg: signing.EdDSA})
	if err != nil {
		b.Fatal(err)
	}
	return &oauth.Server{
		Store: store, Directory: trusting{store}, Signer: ring, Keys: theKeys, Now: time.Now, Rand: rand.Reader,
		Settings: oauth.Settings{
			Issuer: "http://127.0.0.1", AccessTokenLifetime: time.Hour, RefreshTokenLifetime: 720 * time.Hour,
			AbsoluteLifetime: 8760 * time.Hour, SigningAlg: signing.EdDSA,
		},
	}, store
}

// trusting is a directory in which every password is right.
type trusting struct{ store *sqlstore.Store }

// Lookup implements oauth.Directory.
func (d trusting) Lookup(ctx context.Context, login string) (oauth.Account, error) {
	u, err := d.store.UserByLogin(ctx, login)
	return oauth.Account{User: u, Known: err == nil}, err
}

// Verify implements oauth.Directory.
func (trusting) Verify(context.Context, oauth.Account, oauth.Secret) error { return nil }

func loginRequest(c program.Client, username string) oauth.TokenRequest {
	p := oauth.Parameters{}
	for name, value := range map[string]string{
		"grant_type": "password", "client_id": c.ID, "client_secret": c.Secret, "username": username, "password": "right",
	} {
		p[name] = oauth.Parameter{Value: value}
	}
	return oauth.TokenRequest{Profile: oauth.OroCommerce, Parameters: p, Source: "192.0.2.0/24", RequestID: rand.Text() + "000000"}
}

// load starts the server and refreshes b.N times, over 64 connections.
func (p *populated) load(b *testing.B) {
	const connections = 64
	begun := time.Now()
	p.Start()
	ready := time.Since(begun)
	before := serverCPU(b, p.Server.Process.Pid)
	b.ResetTimer()
	var working sync.WaitGroup
	for c := range connections {
		working.Go(func() { p.refreshInTurn(b, c, connections, b.N/connections) })
	}
	working.Wait()
	b.StopTimer()
	cpu := (serverCPU(b, p.Server.Process.Pid) - before) / time.Duration(b.N)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "refreshes/s")
	b.ReportMetric(float64(cpu.Nanoseconds())/1000, "server-cpu-µs")
	b.ReportMetric(float64(ready.Milliseconds()), "ready-ms")
	b.ReportMetric(mostMemory(b, p.Server.Process.Pid), "most-MiB")
	p.Stop()
	b.ReportMetric((p.databaseBytes(b)-p.empty)/float64(p.grants), "database-B/grant")
}

// refreshInTurn refreshes every so-many-th of the held tokens, n times in all.
func (p *populated) refreshInTurn(b *testing.B, first, step, n int) {
	c, err := p.connect()
	if err != nil {
		b.Error(err)
		return
	}
	defer c.close()
	for i := first; n > 0; n-- {
		if p.held[i], err = c.refresh(p.held[i]); err != nil {
			b.Error(err)
			return
		}
		if i += step; i >= len(p.held) {
			i = first
		}
	}
}

// mostMemory is the most memory that a process has had resident, in MiB.
func mostMemory(b *testing.B, pid int) float64 {
	b.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		b.Fatal(err)
	}
	return float64(kib) / 1024
}

// databaseBytes is the size of the database of a stopped server, with its journal.
func (p *populated) databaseBytes(b *testing.B) float64 {
	b.Helper()
	files, err := filepath.Glob(filepath.Join(p.Dir, "data", "counterfoil.db*"))
	if err != nil {
		b.Fatal(err)
	}
	total := int64(0)
	for _, file := range files {
		if info, err := os.Stat(file); err == nil {
			total += info.Size()
		}
	}
	return float64(total)
}

// BenchmarkGrantAfterAThousandRefreshes refreshes each of a few grants a thousand
// times and reports what each costs the database, the record of its login included.
func BenchmarkGrantAfterAThousandRefreshes(b *testing.B) {
	const grants, refreshes = 500, 1000
	p := populate(b, grants)
	p.Start()
	var working sync.WaitGroup
	for c := range 64 {
		share := (grants - c + 63) / 64
		working.Go(func() { p.refreshInTurn(b, c, 64, share*refreshes) })
	}
	working.Wait()
	p.Stop()
	b.ReportMetric((p.databaseBytes(b)-p.empty)/grants, "database-B/grant")
}
