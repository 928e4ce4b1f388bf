package disk

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/counterfoil/counterfoil/internal/admin"
	"github.com/counterfoil/counterfoil/internal/oauth"
	"github.com/counterfoil/counterfoil/internal/password"
	"github.com/counterfoil/counterfoil/internal/signing"
	"github.com/counterfoil/counterfoil/internal/sqlstore"
)

// databaseFile is the name of the database on a disk.
const databaseFile = "counterfoil.db"

// noon is when the clocks of the checks begin, unless they are the real ones.
var noon = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// clock is a clock that stands still until it is moved.
type clock struct {
	mu   sync.Mutex
	time time.Time
	jump []time.Duration // of each further look at the clock, after it
}

func newClock() *clock { return &clock{time: noon} }

// now looks at the clock.
func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.time
	if len(c.jump) > 0 {
		c.time, c.jump = c.time.Add(c.jump[0]), c.jump[1:]
	}
	return now
}

// add moves the clock, backwards too.
func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.time = c.time.Add(d)
}

// rig is a server on the real store, with real passwords and signatures.
type rig struct {
	*oauth.Server
	store *sqlstore.Store
}

// hasher makes real hashes, as cheap as they may be.
var hasher = sync.OnceValues(func() (*password.Hasher, error) {
	return password.NewHasher(password.Params{MemoryKiB: 7 << 10, Time: 1, Threads: 1}, 2, 1000, rand.Reader)
})

// rightHorse is the hash of everybody's password.
var rightHorse = sync.OnceValues(func() (string, error) {
	h, err := hasher()
	if err != nil {
		return "", err
	}
	return h.Hash(context.Background(), "right horse")
})

// masterKeys are the master keys of all rigs: they are kept apart from the database.
var masterKeys = sync.OnceValues(func() (*oauth.Keys, error) { return oauth.ParseKeys("1 " + strings.Repeat("A", 43)) })

// openRig opens the store in a directory and a server on it, be it the first start or
// a restart. A damaged database is an error.
func openRig(ctx context.Context, dir string, now func() time.Time) (*rig, error) {
	store, err := sqlstore.OpenSQLite(ctx, filepath.Join(dir, databaseFile), sqlstore.Options{Now: now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	r := &rig{store: store}
	if err := r.begin(ctx, now); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return r, nil
}

func (r *rig) begin(ctx context.Context, now func() time.Time) error {
	if r.store.Ready(ctx) != nil {
		if err := r.store.Migrate(ctx); err != nil {
			return err
		}
	}
	if err := r.store.Check(ctx); err != nil {
		return err
	}
	keys, err := masterKeys()
	if err != nil {
		return err
	}
	if err := admin.CheckMasterKeys(ctx, r.store, keys); err != nil {
		return err
	}
	present := func() *oauth.Keys { return keys }
	ring, err := signing.Open(ctx, signing.Options{Store: r.store, Keys: present, Now: now, Rand: rand.Reader, Alg: signing.EdDSA})
	if err != nil {
		return err
	}
	h, err := hasher()
	if err != nil {
		return err
	}
	directory, err := password.NewDirectory(r.store, h)
	if err != nil {
		return err
	}
	secrets, err := password.NewClientSecrets(h, now)
	if err != nil {
		return err
	}
	r.Server = &oauth.Server{
		Store: r.store, Directory: directory, Signer: ring, Secrets: secrets, Keys: present, Now: now, Rand: rand.Reader,
		Settings: oauth.Settings{
			Issuer: "https://issuer.example.com", AccessTokenLifetime: time.Hour, RefreshTokenLifetime: 30 * 24 * time.Hour,
			AbsoluteLifetime: 365 * 24 * time.Hour, LateWindow: 10 * time.Second, RetryBudget: 100, SigningAlg: signing.EdDSA, MaxGrants: 1000,
		},
	}
	return nil
}

func (r *rig) close() error { return r.store.Close() }

// account is a user and a public client of the same name.
type account string

func (a account) userID() string { return "id-of-" + string(a) }

// create makes the user and the client.
func (r *rig) create(ctx context.Context, a account) error {
	hash, err := rightHorse()
	if err != nil {
		return err
	}
	u := oauth.User{PasswordHash: hash}
	u.Subject = oauth.Subject{ID: a.userID(), Username: string(a), Enabled: true, State: oauth.SubjectActive}
	c := oauth.Client{ID: string(a), Public: true, Active: true, GrantTypes: []string{oauth.GrantTypePassword}}
	return errors.Join(r.store.CreateUser(ctx, u, oauth.Event{}), r.store.CreateClient(ctx, c, oauth.Event{}))
}

func (r *rig) ask(ctx context.Context, requestID string, pairs ...string) (oauth.TokenResponse, error) {
	parameters := oauth.Parameters{}
	for i := 0; i < len(pairs); i += 2 {
		parameters[pairs[i]] = oauth.Parameter{Value: pairs[i+1]}
	}
	return r.Token(ctx, oauth.TokenRequest{Profile: oauth.OroCommerce, Parameters: parameters, Source: "192.0.2.0/24", RequestID: requestID})
}

func (r *rig) login(ctx context.Context, a account) (oauth.TokenResponse, error) {
	return r.ask(ctx, "login", "grant_type", "password", "client_id", string(a), "username", string(a), "password", "right horse")
}

func (r *rig) refresh(ctx context.Context, a account, token oauth.Secret) (oauth.TokenResponse, error) {
	return r.ask(ctx, "refresh", "grant_type", "refresh_token", "client_id", string(a), "refresh_token", string(token))
}

// refusalOf is the refusal that an error is, or nil: then it is a fault, or no error.
func refusalOf(err error) *oauth.Refusal {
	var refusal *oauth.Refusal
	errors.As(err, &refusal)
	return refusal
}

// asFault returns an error unless the client is told to come again.
func asFault(err error) error {
	if refusal := refusalOf(err); refusal != nil && refusal.Code != oauth.ErrBusy.Code {
		return fmt.Errorf("an honest request was refused: %w", err)
	}
	return nil
}
