package cut_test

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/admin"
	"github.com/counterfoil/counterfoil/internal/oauth"
	"github.com/counterfoil/counterfoil/internal/password"
	"github.com/counterfoil/counterfoil/internal/signing"
	"github.com/counterfoil/counterfoil/internal/sqlstore"
)

// patience is how long a node waits for the database, and slack what a busy machine may
// add to the two steps that a request waits for.
const (
	patience = 1500 * time.Millisecond
	slack    = 2 * time.Second
)

// The parties.
const (
	clientID = "shop"
	username = "user"
	pass     = "right horse staple"
	home     = "192.0.2.0/24"
)

// node is an authorization server with its operator and its store.
type node struct {
	*testing.T
	store    *witness
	server   *oauth.Server
	operator *admin.Operator
}

// newNode starts a node on a migrated database. The first one of a database makes the parties.
func newNode(t *testing.T, url string, o sqlstore.Options) *node {
	t.Helper()
	o.Log = slog.New(slog.DiscardHandler)
	store, err := sqlstore.OpenPostgres(t.Context(), url, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	keys, err := oauth.ParseKeys(oauth.FormatKey(1, make([]byte, 32)))
	if err != nil {
		t.Fatal(err)
	}
	current := func() *oauth.Keys { return keys }
	ring, err := signing.Open(t.Context(), signing.Options{Store: store, Keys: current, Now: time.Now, Rand: rand.Reader, Alg: signing.EdDSA})
	if err != nil {
		t.Fatal(err)
	}
	n := &node{T: t, store: &witness{Store: store}}
	n.server = &oauth.Server{
		Store: n.store, Directory: directory{store}, Secrets: hasher{}, Signer: ring, Keys: current, Now: time.Now, Rand: rand.Reader,
		Settings: oauth.Settings{
			Issuer: "https://issuer.example.com", SigningAlg: signing.EdDSA,
			AccessTokenLifetime: time.Hour, RefreshTokenLifetime: 24 * time.Hour, RetryBudget: 1000,
		},
	}
	n.operator = &admin.Operator{Store: n.store, Keys: current, Hasher: hasher{}, Rand: rand.Reader, Actor: "test"}
	return n
}

// addParties makes a client and a user.
func (n *node) addParties() {
	n.Helper()
	_, _, err := n.operator.CreateClient(n.Context(), oauth.Client{ID: clientID, Name: clientID, Public: true, GrantTypes: []string{oauth.GrantTypePassword}}, "")
	if err != nil {
		n.Fatal(err)
	}
	if _, err := n.operator.CreateUser(n.Context(), username, "", pass); err != nil {
		n.Fatal(err)
	}
}

// answer is what a client gets, and after which time.
type answer struct {
	oauth.TokenResponse
	err     error
	took    time.Duration
	request string // its id
}

// reason is that of a refusal; empty: a success, or a fault, after which the client
// comes again.
func (a answer) reason() string {
	var refusal *oauth.Refusal
	if errors.As(a.err, &refusal) && refusal != oauth.ErrBusy {
		return refusal.Reason
	}
	return ""
}

// ask sends a request to the token endpoint; pairs are names and values.
func (n *node) ask(pairs ...string) answer {
	p := oauth.Parameters{"client_id": {Value: clientID}}
	for i := 0; i < len(pairs); i += 2 {
		p[pairs[i]] = oauth.Parameter{Value: pairs[i+1]}
	}
	begun, request := time.Now(), rand.Text()
	response, err := n.server.Token(n.Context(), oauth.TokenRequest{Parameters: p, Source: home, RequestID: request})
	return answer{response, err, time.Since(begun), request}
}

func (n *node) login() answer {
	return n.ask("grant_type", "password", "username", username, "password", pass)
}

func (n *node) refresh(token oauth.Secret) answer {
	return n.ask("grant_type", "refresh_token", "refresh_token", string(token))
}

// session logs in and refreshes so many times; it returns all refresh tokens, and the
// grant's public name.
func (n *node) session(refreshes int) (tokens []oauth.Secret, grant string) {
	n.Helper()
	a := n.login()
	for i := 0; a.err == nil; i++ {
		tokens = append(tokens, a.RefreshToken)
		if i == refreshes {
			return tokens, a.GrantID
		}
		a = n.refresh(a.RefreshToken)
	}
	n.Fatalf("without any fault: %v", a.err)
	return nil, ""
}

// grant reads a grant, as an observer.
func (n *node) grant(publicID string) oauth.Grant {
	n.Helper()
	v, err := n.store.GrantByPublicID(n.Context(), publicID)
	if err != nil {
		n.Fatal(err)
	}
	return v.Grant
}

// witness is a store that remembers what it said became of writes.
type witness struct {
	*sqlstore.Store
	mu   sync.Mutex
	said map[string][]error
}

func (w *witness) note(what string, err error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.said == nil {
		w.said = make(map[string][]error)
	}
	w.said[what] = append(w.said[what], err)
	return err
}

// forget forgets what was said so far.
func (w *witness) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.said = nil
}

// count is how often one of the writes below was asked for and done.
func (w *witness) count(what string) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, err := range w.said[what] {
		if err == nil {
			n++
		}
	}
	return n
}

// word is what a store says of a write that may have been asked for repeatedly.
type word int

const (
	never   word = iota // not asked, or each time it said that it did not happen and never will
	perhaps             // it does not know
	done                // it is durable
)

// word returns what it said of one of the writes below.
func (w *witness) word(what string) (said word) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, err := range w.said[what] {
		switch {
		case err == nil:
			return done
		case errors.Is(err, oauth.ErrOutcomeUnknown):
			said = perhaps
		}
	}
	return said
}

// CreateGrant implements oauth.Store.
func (w *witness) CreateGrant(ctx context.Context, n oauth.NewGrant) error {
	return w.note("create", w.Store.CreateGrant(ctx, n))
}

// SwapGrant implements oauth.Store.
func (w *witness) SwapGrant(ctx context.Context, old, next *oauth.Grant, client int64) error {
	return w.note("swap", w.Store.SwapGrant(ctx, old, next, client))
}

// RetryGrant implements oauth.Store.
func (w *witness) RetryGrant(ctx context.Context, g *oauth.Grant, client int64, budget int) error {
	return w.note("retry", w.Store.RetryGrant(ctx, g, client, budget))
}

// RevokeGrant implements oauth.Store.
func (w *witness) RevokeGrant(ctx context.Context, id oauth.GrantID, reason string, e oauth.Event) error {
	return w.note("revoke", w.Store.RevokeGrant(ctx, id, reason, e))
}

// RevokeGrants implements admin.Store.
func (w *witness) RevokeGrants(ctx context.Context, f admin.GrantFilter, reason string, e oauth.Event) (int, error) {
	n, err := w.Store.RevokeGrants(ctx, f, reason, e)
	return n, w.note("revoke", err)
}

// RecordRefusal implements oauth.Store.
func (w *witness) RecordRefusal(ctx context.Context, e oauth.Event) error {
	return w.note("record", w.Store.RecordRefusal(ctx, e))
}

// hasher keeps passwords as they are: how they are hashed is not the matter here.
type hasher struct{}

// Hash implements admin.Hasher.
func (hasher) Hash(_ context.Context, secret oauth.Secret) (string, error) {
	return "plain " + string(secret), nil
}

// VerifySecret implements oauth.SecretVerifier.
func (hasher) VerifySecret(_ context.Context, hash string, secret oauth.Secret) (bool, error) {
	return hash == "plain "+string(secret), nil
}

// directory implements oauth.Directory with such passwords.
type directory struct{ users password.Users }

// Lookup implements oauth.Directory.
func (d directory) Lookup(ctx context.Context, login string) (oauth.Account, error) {
	u, err := d.users.UserByLogin(ctx, login)
	if errors.Is(err, oauth.ErrNotFound) {
		return oauth.Account{}, nil
	}
	return oauth.Account{User: u, Known: err == nil}, err
}

// Verify implements oauth.Directory.
func (directory) Verify(_ context.Context, a oauth.Account, secret oauth.Secret) error {
	if !a.Known || strings.TrimPrefix(a.PasswordHash, "plain ") != string(secret) {
		return oauth.ErrPasswordIncorrect
	}
	return nil
}

// grants counts all grants.
func (n *node) grants() int {
	n.Helper()
	views, err := n.store.Grants(n.Context(), admin.GrantFilter{})
	if err != nil {
		n.Fatal(err)
	}
	return len(views)
}

// revoke ends a grant, as an administrator does.
func (n *node) revoke(publicID string) answer {
	begun := time.Now()
	_, err := n.operator.RevokeGrants(n.Context(), admin.GrantChoice{GrantID: publicID})
	return answer{err: err, took: time.Since(begun)}
}

// recorded reports whether an event of a request is in the database.
func (n *node) recorded(a answer) bool {
	n.Helper()
	events, err := n.store.Events(n.Context(), a.request)
	if err != nil {
		n.Fatal(err)
	}
	return len(events) > 0
}
