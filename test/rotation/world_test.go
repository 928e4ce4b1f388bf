package rotation_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/counterfoil/counterfoil/internal/admin"
	"github.com/counterfoil/counterfoil/internal/oauth"
	"github.com/counterfoil/counterfoil/internal/password"
	"github.com/counterfoil/counterfoil/internal/signing"
	"github.com/counterfoil/counterfoil/internal/storetest"
)

// The server's settings in these checks, unless a check says otherwise.
const (
	accessTokenLifetime  = 10 * time.Minute
	refreshTokenLifetime = 30 * 24 * time.Hour
	absoluteLifetime     = 90 * 24 * time.Hour
	lateWindow           = 10 * time.Second
	retryBudget          = 3
)

// home is where requests come from.
const home = "192.0.2.0/24"

// everything is what every client may ask for.
var everything = oauth.Scope{"read", "write", "admin"}

func defaultSettings() oauth.Settings {
	return oauth.Settings{
		Issuer: "https://issuer.example.com", SigningAlg: signing.EdDSA,
		AccessTokenLifetime: accessTokenLifetime, RefreshTokenLifetime: refreshTokenLifetime, AbsoluteLifetime: absoluteLifetime,
		LateWindow: lateWindow, RetryBudget: retryBudget,
	}
}

// world is a server, its store and its operator.
type world struct {
	name     string
	store    storetest.Store // for a look from outside
	raw      rawRows
	faulty   *faultyStore // what the server sees
	server   *oauth.Server
	operator *admin.Operator
	keys     *oauth.Keys
}

// newWorld makes a world without clients and users. Two of them that are asked the
// same make the same tokens: their randomness begins alike.
func newWorld(t tester, e engine, now func() time.Time, settings oauth.Settings) *world {
	t.Helper()
	w := &world{name: e.name}
	w.useMasterKeys(t, 1)
	w.store, w.raw = e.open(t, now)
	w.faulty = &faultyStore{Store: w.store}
	keys := func() *oauth.Keys { return w.keys }
	random := rand.NewChaCha8([32]byte{})
	ring, err := signing.Open(t.Context(), signing.Options{Store: w.store, Keys: keys, Now: now, Rand: random, Alg: signing.EdDSA})
	must(t, err, "make signing keys")
	w.server = &oauth.Server{
		Store: w.faulty, Directory: plainDirectory{w.faulty}, Secrets: plainHasher{},
		Signer: ring, Keys: keys, Now: now, Rand: random, Settings: settings,
	}
	w.operator = &admin.Operator{Store: w.store, Keys: keys, Hasher: plainHasher{}, Rand: random, Now: now, Actor: "test"}
	return w
}

// useMasterKeys sets the master keys, the active one first.
func (w *world) useMasterKeys(t tester, ids ...uint16) {
	t.Helper()
	var lines []string
	for _, id := range ids {
		lines = append(lines, oauth.FormatKey(id, masterKey(id)))
	}
	keys, err := oauth.ParseKeys(strings.Join(lines, "\n"))
	must(t, err, "parse master keys")
	w.keys = keys
}

// addUser adds a user with an ID that the test knows.
func (w *world) addUser(t tester, id, username, secret string) {
	t.Helper()
	hash, _ := plainHasher{}.Hash(t.Context(), oauth.Secret(secret))
	u := oauth.User{PasswordHash: hash}
	u.Subject = oauth.Subject{ID: id, Username: username, Enabled: true, State: oauth.SubjectActive}
	must(t, w.store.CreateUser(t.Context(), u, oauth.Event{}), "create user")
}

// addClient registers a client; the secret of a confidential one is chosen.
func (w *world) addClient(t tester, c oauth.Client, secret string) {
	t.Helper()
	c.Name, c.GrantTypes, c.Scope = c.ID, []string{oauth.GrantTypePassword}, everything
	_, _, err := w.operator.CreateClient(t.Context(), c, oauth.Secret(secret))
	must(t, err, "create client")
}

// ask sends a request to the token endpoint; pairs are names and values, and a
// parameter with an empty value is not sent.
func (w *world) ask(t tester, profile oauth.Profile, pairs ...string) (oauth.TokenResponse, error) {
	t.Helper()
	p := oauth.Parameters{}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			p[pairs[i]] = oauth.Parameter{Value: pairs[i+1]}
		}
	}
	return w.server.Token(t.Context(), oauth.TokenRequest{Profile: profile, Parameters: p, Source: home, RequestID: "request"})
}

// rows reads the rows of all grants, by public_id.
func (w *world) rows(t tester) map[string]oauth.Grant {
	t.Helper()
	views, err := w.store.Grants(t.Context(), admin.GrantFilter{})
	must(t, err, "read all grants")
	rows := make(map[string]oauth.Grant, len(views))
	for _, v := range views {
		if len(v.Grant.Resource) == 0 {
			v.Grant.Resource = nil // none named
		}
		rows[v.Grant.PublicID] = v.Grant
	}
	return rows
}

// alive reports whether an access token is alive, by the check of userinfo.
func (w *world) alive(t tester, token oauth.Secret) bool {
	t.Helper()
	_, err := w.server.AccessToken(t.Context(), token)
	if err != nil && !errors.Is(err, oauth.ErrAccessTokenInvalid) {
		t.Fatalf("check access token: %v", err)
	}
	return err == nil
}

// reasonOf is the reason of a refusal; "" for everything else.
func reasonOf(err error) string {
	var refusal *oauth.Refusal
	if errors.As(err, &refusal) {
		return refusal.Reason
	}
	return ""
}

// clock is a clock that stands still until it is moved.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

// Now returns the time; the store asks from goroutines of its own.
func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) set(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = now
}

// plainHasher keeps passwords and secrets as they are. How they are hashed is checked
// elsewhere, and would take nearly all of the time here.
type plainHasher struct{}

const plainPrefix = "plain "

// Hash implements admin.Hasher.
func (plainHasher) Hash(_ context.Context, secret oauth.Secret) (string, error) {
	return plainPrefix + string(secret), nil
}

// VerifySecret implements oauth.SecretVerifier.
func (plainHasher) VerifySecret(_ context.Context, hash string, secret oauth.Secret) (bool, error) {
	return hash == plainPrefix+string(secret), nil
}

// plainDirectory implements oauth.Directory with such passwords.
type plainDirectory struct{ users password.Users }

// Lookup implements oauth.Directory.
func (d plainDirectory) Lookup(ctx context.Context, login string) (oauth.Account, error) {
	u, err := d.users.UserByLogin(ctx, login)
	if errors.Is(err, oauth.ErrNotFound) {
		return oauth.Account{}, nil
	}
	return oauth.Account{User: u, Known: err == nil}, err
}

// Verify implements oauth.Directory.
func (plainDirectory) Verify(_ context.Context, a oauth.Account, secret oauth.Secret) error {
	if !a.Known || a.PasswordHash != plainPrefix+string(secret) {
		return oauth.ErrPasswordIncorrect
	}
	return nil
}
