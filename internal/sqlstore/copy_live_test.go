package sqlstore_test

import (
	"bytes"
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/oauth"
	"github.com/counterfoil/counterfoil/internal/signing"
	"github.com/counterfoil/counterfoil/internal/sqlstore"
)

// trusting is a directory in which every password is right.
type trusting struct{ store *sqlstore.Store }

// Lookup implements oauth.Directory.
func (d trusting) Lookup(ctx context.Context, login string) (oauth.Account, error) {
	u, err := d.store.UserByLogin(ctx, login)
	return oauth.Account{User: u, Known: err == nil}, err
}

// Verify implements oauth.Directory.
func (trusting) Verify(context.Context, oauth.Account, oauth.Secret) error { return nil }

// serverOn is an authorization server on a database, whose clock is at now.
func serverOn(t *testing.T, d database, keys *oauth.Keys, now *time.Time) *oauth.Server {
	t.Helper()
	theKeys, clock := func() *oauth.Keys { return keys }, func() time.Time { return *now }
	random := rand.NewChaCha8([32]byte{1})
	ring, err := signing.Open(t.Context(), signing.Options{Store: d.store, Keys: theKeys, Now: clock, Rand: random, Alg: signing.EdDSA})
	must(t, err)
	return &oauth.Server{
		Store: d.store, Directory: trusting{d.store}, Signer: ring, Keys: theKeys, Now: clock, Rand: random,
		Settings: oauth.Settings{
			Issuer: "https://issuer.example.com", SigningAlg: signing.EdDSA, AccessTokenLifetime: time.Hour,
			RefreshTokenLifetime: 24 * time.Hour, AbsoluteLifetime: 48 * time.Hour, RetryBudget: 100,
		},
	}
}

// ask sends a request of the client "app" to the token endpoint.
func ask(t *testing.T, s *oauth.Server, grantType, name string, value oauth.Secret) (oauth.TokenResponse, error) {
	t.Helper()
	p := oauth.Parameters{
		"grant_type": {Value: grantType}, "client_id": {Value: "app"}, "password": {Value: "any"}, name: {Value: string(value)},
	}
	return s.Token(t.Context(), oauth.TokenRequest{Profile: oauth.OroCommerce, Parameters: p, Source: "192.0.2.0/24", RequestID: "request"})
}

func refresh(t *testing.T, s *oauth.Server, token oauth.Secret) oauth.TokenResponse {
	t.Helper()
	answer, err := ask(t, s, oauth.GrantTypeRefreshToken, "refresh_token", token)
	must(t, err)
	return answer
}

// TestCopyOfLiveGrants: a session goes on at the other engine. The retry of a refresh
// whose answer was lost before the copy gives the same successor after it, which
// refreshes; access tokens stay good; and a replay is one still.
func TestCopyOfLiveGrants(t *testing.T) {
	t.Parallel()
	for _, target := range targets {
		t.Run(target.name, func(t *testing.T) {
			t.Parallel()
			from, to, now := emptySQLite(t), target.empty(t), time.Now()
			must(t, from.store.Migrate(t.Context()))
			keys, err := oauth.ParseKeys(oauth.FormatKey(7, bytes.Repeat([]byte{7}, 32)))
			must(t, err)
			must(t, from.store.CreateClient(t.Context(), oauth.Client{
				ID: "app", Name: "App", Public: true, Active: true, GrantTypes: []string{oauth.GrantTypePassword},
			}, oauth.Event{Type: "client_created"}))
			alice := oauth.User{Subject: oauth.Subject{ID: "alice-id", Username: "alice", Enabled: true, State: oauth.SubjectActive}}
			must(t, from.store.CreateUser(t.Context(), alice, oauth.Event{Type: "user_created"}))

			before := serverOn(t, from, keys, &now)
			login, err := ask(t, before, oauth.GrantTypePassword, "username", "alice")
			must(t, err)
			second := refresh(t, before, login.RefreshToken)
			copied(t, from, to, sqlstore.CopyOptions{})

			after := serverOn(t, to, keys, &now)
			retried := refresh(t, after, login.RefreshToken)
			if retried.RefreshToken != second.RefreshToken || retried.Outcome != "retried" {
				t.Errorf("the retry is %q and gives another successor than before the copy", retried.Outcome)
			}
			if _, err := after.AccessToken(t.Context(), second.AccessToken); err != nil {
				t.Errorf("the access token from before the copy: %v", err)
			}
			third := refresh(t, after, second.RefreshToken)
			if third.Outcome != "rotated" {
				t.Errorf("the refresh is %q, want rotated", third.Outcome)
			}
			fourth := refresh(t, after, third.RefreshToken)
			if _, err := ask(t, after, oauth.GrantTypeRefreshToken, "refresh_token", login.RefreshToken); err == nil {
				t.Error("a token from before the copy still refreshes, three generations later")
			}
			if _, err := ask(t, after, oauth.GrantTypeRefreshToken, "refresh_token", fourth.RefreshToken); err == nil {
				t.Error("the grant outlived the replay of a token from before the copy")
			}
		})
	}
}
