package endpoint_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha512"
	"encoding/base64"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/console"
	"github.com/counterfoil/counterfoil/internal/endpoint"
	"github.com/counterfoil/counterfoil/internal/feed"
	"github.com/counterfoil/counterfoil/internal/memory"
	"github.com/counterfoil/counterfoil/internal/oauth"
	"github.com/counterfoil/counterfoil/internal/password"
	"github.com/counterfoil/counterfoil/internal/signing"
)

const (
	issuer = "https://auth.example.com"
	web    = "https://app.example.com" // the origin that CORS allows
)

// fixture is a whole server in memory, and what it logged and observed.
type fixture struct {
	http.Handler
	store  *memory.Store
	server *oauth.Server
	feed   *feed.Feed

	mu       sync.Mutex
	log      bytes.Buffer
	observed []endpoint.Observation
}

// setup changes what newFixture puts together before it does so.
type setup struct {
	alg       string
	now       func() time.Time
	rand      io.Reader
	settings  func(*oauth.Settings)
	options   func(*endpoint.Options)
	directory func(oauth.Directory) oauth.Directory
	store     func(*memory.Store) oauth.Store
}

func newFixture(t testing.TB, s setup) *fixture {
	t.Helper()
	f := &fixture{}
	if s.now == nil {
		s.now = time.Now
	}
	if s.rand == nil {
		s.rand = rand.Reader
	}
	if s.alg == "" {
		s.alg = "ES256"
	}
	f.store = memory.New(s.now)
	keys, err := oauth.ParseKeys(oauth.FormatKey(1, bytes.Repeat([]byte{7}, oauth.MasterKeySize)))
	check(t, err)
	theKeys := func() *oauth.Keys { return keys }
	hasher, err := newHasher()
	check(t, err)
	directory, err := password.NewDirectory(f.store, hasher)
	check(t, err)
	secrets, err := password.NewClientSecrets(hasher, s.now)
	check(t, err)
	ring, err := signing.Open(t.Context(), signing.Options{Store: f.store, Keys: theKeys, Now: s.now, Rand: rand.Reader, Alg: s.alg})
	check(t, err)
	f.server = &oauth.Server{
		Store: f.store, Directory: directory, Passwords: directory, Signer: ring, Secrets: secrets, Keys: theKeys, Now: s.now, Rand: s.rand,
		Settings: oauth.Settings{
			Issuer: issuer, AccessTokenLifetime: time.Hour, RefreshTokenLifetime: 720 * time.Hour, AbsoluteLifetime: 8760 * time.Hour,
			LateWindow: 10 * time.Second, RetryBudget: 100, SigningAlg: s.alg, MaxGrants: 1000, SessionLifetime: 12 * time.Hour,
		},
	}
	if s.settings != nil {
		s.settings(&f.server.Settings)
	}
	if s.directory != nil {
		f.server.Directory = s.directory(directory)
	}
	if s.store != nil {
		f.server.Store = s.store(f.store)
	}
	revocations, err := feed.New(feed.Options{Store: f.store, Policy: f.server.AccessTokenPolicy, Now: s.now, Rand: rand.Reader})
	check(t, err)
	f.feed, f.server.Rotated = revocations, revocations.Rotated
	pages, err := console.New(console.Brand{}, "/oauth2/assets/")
	check(t, err)
	options := endpoint.Options{
		Server: f.server, Pages: pages, Feed: revocations, JWKS: ring.JWKS, Ready: func(context.Context) error { return nil }, Rand: s.rand,
		Logger: slog.New(slog.NewJSONHandler(f, &slog.HandlerOptions{Level: slog.LevelDebug})),
		CORS: endpoint.CORS{
			AllowOrigins: []string{web}, AllowHeaders: []string{"X-Foo", "X-Bar"}, PreflightMaxAge: 10 * time.Minute,
		},
		Observe: f.observe,
	}
	if s.options != nil {
		s.options(&options)
	}
	f.Handler, err = endpoint.New(options)
	check(t, err)
	f.seed(t)
	return f
}

// seed puts in the clients and users that the recordings were made with.
func (f *fixture) seed(t testing.TB) {
	t.Helper()
	hashes, err := seedHashes()
	check(t, err)
	hash := func(s oauth.Secret) string { return hashes[s] }
	symfony := func(s oauth.Secret) string { return hashes["symfony "+s] }
	secret := func(hash string) []oauth.ClientSecret { return []oauth.ClientSecret{{Hash: hash}} }
	grantTypes := []string{"password"}
	callback := []string{web + "/cb"}
	hour := time.Hour
	for _, c := range []oauth.Client{
		{ID: "OroAppConfidential00000000000001", GrantTypes: grantTypes, Secrets: secret(hash("conf-secret-1"))},
		{ID: "OroAppConfidential00000000000002", GrantTypes: grantTypes, Secrets: secret(symfony("conf-secret-2"))},
		{ID: "OroAppPublic00000000000000000001", GrantTypes: grantTypes, Public: true, RetryWindow: &hour},
		{ID: "OroAppPublic00000000000000000002", GrantTypes: grantTypes, Public: true},
		{ID: "OroAppAuthCode000000000000000001", GrantTypes: []string{"authorization_code"}, Secrets: secret(hash("ac-secret-1")), RedirectURIs: callback},
		{ID: "OroAppAuthCodePub000000000000001", GrantTypes: []string{"authorization_code"}, Public: true, SkipConsent: true, RedirectURIs: []string{web + "/cb", "http://127.0.0.1/cb"}},
		{ID: "OroAppClientCreds000000000000001", GrantTypes: []string{"client_credentials"}, Secrets: secret(hash("cc-secret-1")), Owner: "user-1"},
		{ID: "OroAppClientCreds000000000000002", GrantTypes: []string{"client_credentials"}, Secrets: secret(hash("cc-secret-2")), Owner: "user-3"},
		{ID: "OroAppAllGrants00000000000000001", Secrets: secret(hash("all-secret-1")), RedirectURIs: callback},
		{ID: "OroAppSecretUnicode0000000000001", GrantTypes: grantTypes, Secrets: secret(hash("sécret:ü%🔑"))},
		{ID: "listed", GrantTypes: grantTypes, Public: true, Scope: oauth.Scope{"read", "write"}},
		{ID: "inactive"},
		{ID: "OroAppInactive000000000000000001", GrantTypes: grantTypes, Secrets: secret(hash("inactive-secret"))},
	} {
		c.Active = !strings.Contains(strings.ToLower(c.ID), "inactive")
		check(t, f.store.CreateClient(t.Context(), c, oauth.Event{}))
	}
	for i, u := range []oauth.User{
		{Subject: oauth.Subject{Username: "admin"}, PasswordHash: hash("admin")},
		{Subject: oauth.Subject{Username: "john"}, PasswordHash: hash("john-pass"), Email: "John.Doe@example.com"},
		{Subject: oauth.Subject{Username: "disabled"}, PasswordHash: hash("disabled")},
		{Subject: oauth.Subject{Username: "locked", State: oauth.SubjectLocked}, PasswordHash: hash("locked")},
		{Subject: oauth.Subject{Username: "reset", State: oauth.SubjectReset}, PasswordHash: hash("reset")},
		{Subject: oauth.Subject{Username: "юзер"}, PasswordHash: hash("пароль🔑")},
		{Subject: oauth.Subject{Username: "legacy"}, PasswordHash: symfony("legacy-pass")},
		{Subject: oauth.Subject{Username: "deleted"}, PasswordHash: hash("deleted")},
		{Subject: oauth.Subject{Username: "a:b%c d"}, PasswordHash: hash("p:a%s s+w&d=")},
	} {
		u.ID = "user-" + string(rune('1'+i))
		u.Enabled = u.Username != "disabled"
		if u.State == "" {
			u.State = oauth.SubjectActive
		}
		check(t, f.store.CreateUser(t.Context(), u, oauth.Event{}))
	}
}

// seedHashes hashes the secrets of the seed, once for all tests.
var seedHashes = sync.OnceValues(func() (map[oauth.Secret]string, error) {
	hasher, err := newHasher()
	if err != nil {
		return nil, err
	}
	hashes := map[oauth.Secret]string{
		"symfony conf-secret-2": symfony("conf-secret-2"),
		"symfony legacy-pass":   symfony("legacy-pass"),
	}
	for _, s := range []oauth.Secret{
		"conf-secret-1", "ac-secret-1", "cc-secret-1", "cc-secret-2", "all-secret-1", "sécret:ü%🔑", "inactive-secret",
		"admin", "john-pass", "disabled", "locked", "reset", "пароль🔑", "deleted", "p:a%s s+w&d=",
	} {
		if hashes[s], err = hasher.Hash(context.Background(), s); err != nil {
			return nil, err
		}
	}
	return hashes, nil
})

// newHasher makes hashes that are as cheap as is allowed.
func newHasher() (*password.Hasher, error) {
	return password.NewHasher(password.Params{MemoryKiB: 7 << 10, Time: 1, Threads: 1}, 2, 256, rand.Reader)
}

// symfony is a salted SHA-512 hash as Symfony made them.
func symfony(secret string) string {
	const salt = "0123456789abcdefghijklmnopqrstuvwxyzABCDE"
	salted := []byte(secret + "{" + salt + "}")
	digest := sha512.Sum512(salted)
	for range 4999 {
		digest = sha512.Sum512(append(digest[:], salted...))
	}
	return password.FormatSymfonySHA512(salt, base64.StdEncoding.EncodeToString(digest[:]))
}

// Write implements io.Writer for the log.
func (f *fixture) Write(b []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.log.Write(b)
}

func (f *fixture) logged() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.log.String()
}

func (f *fixture) observe(o endpoint.Observation) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.observed = append(f.observed, o)
}

func (f *fixture) lastObserved() endpoint.Observation {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.observed[len(f.observed)-1]
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
