package oauth_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/oauth"
	"github.com/counterfoil/counterfoil/internal/signing"
)

func (r *rig) revokeWith(pairs ...string) (oauth.Revocation, error) {
	return r.Revoke(r.t.Context(), oauth.TokenRequest{Parameters: parameters(pairs...), Source: home, RequestID: "revocation"})
}

func (r *rig) revoke(client string, token oauth.Secret) error {
	_, err := r.revokeWith(r.as(client, "token", string(token))...)
	return err
}

// lives reports whether an access token does.
func (r *rig) lives(token oauth.Secret) bool {
	r.t.Helper()
	_, err := r.AccessToken(r.t.Context(), token)
	if isFault(err) {
		r.t.Fatal(err)
	}
	return err == nil
}

// revocations are the events of revocations.
func (r *rig) revocations() []oauth.Event {
	r.t.Helper()
	events, err := r.memory.Events(r.t.Context(), "revocation")
	if err != nil {
		r.t.Fatal(err)
	}
	return events
}

// TestRevoke: any token of a grant, of whatever generation, ends the whole grant (RFC 7009
// section 2.1, docs/rotation.md), and the audit says whose.
func TestRevoke(t *testing.T) {
	t.Parallel()
	oro, standard := oauth.OroCommerce, oauth.Standard
	for name, c := range map[string]struct {
		profile oauth.Profile
		refresh bool // the refresh token is presented
		age     int  // in generations
		later   time.Duration
	}{
		"access token":                    {standard, false, 0, 0},
		"access token, OroCommerce":       {oro, false, 0, 0},
		"dead access token":               {standard, false, 1, time.Minute},
		"dead access token, OroCommerce":  {oro, false, 3, time.Minute},
		"refresh token":                   {standard, true, 0, 0},
		"refresh token, OroCommerce":      {oro, true, 0, 0},
		"predecessor":                     {standard, true, 1, 0},
		"straggler":                       {standard, true, 2, 0},
		"predecessor, the window closed":  {standard, true, 1, time.Hour},
		"of an old generation":            {oro, true, 5, 20 * 24 * time.Hour},
		"of a grant that expired already": {standard, true, 1, 31 * 24 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			chain := []oauth.TokenResponse{r.tokens(c.profile, "confidential", "grant_type", "password", "username", "user", "password", "right horse")}
			for n := range c.age {
				chain = append(chain, r.refreshed(chain[n].RefreshToken))
			}
			r.clock.add(c.later)
			other := r.ofUser()
			token, last := chain[0].AccessToken, chain[c.age]
			if c.refresh {
				token = chain[0].RefreshToken
			}
			revocation, err := r.revokeWith(r.as("confidential", "token", string(token))...)
			if err != nil || revocation.ClientID != "confidential" || revocation.GrantID != last.GrantID {
				t.Fatalf("got %+v, %v; want grant %s of confidential", revocation, err, last.GrantID)
			}
			if r.lives(last.AccessToken) {
				t.Error("the access token lives")
			}
			_, err = r.ask(oauth.Standard, home, r.as("confidential", "grant_type", "refresh_token", "refresh_token", string(last.RefreshToken))...)
			if !errors.Is(err, oauth.ErrGrantRevoked) && !errors.Is(err, oauth.ErrGrantExpired) {
				t.Errorf("the newest refresh token: %v", err)
			}
			if !r.lives(other.AccessToken) {
				t.Error("another grant of the same user ended")
			}
			events := r.revocations()
			if len(events) != 1 {
				t.Fatalf("%d events, want 1", len(events))
			}
			e := events[0]
			if e.Type != oauth.EventRevocation || e.Reason != "revoked_by_client" || e.ClientID != "confidential" || e.Subject != "id-of-user" || e.GrantID != last.GrantID || e.Source != home {
				t.Errorf("the event is %+v", e)
			}
			if err := r.revoke("confidential", token); err != nil || len(r.revocations()) != 1 {
				t.Errorf("once more: %v, %d events; want nothing to happen", err, len(r.revocations()))
			}
		})
	}
}

// TestRevokeNothing: what is not the client's to revoke, or no token at all, is answered
// like a revocation (RFC 7009 section 2.2), and nothing ends.
func TestRevokeNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	tokens, visitor := r.ofUser("resource", "machine"), r.login()
	machines := r.tokens(oauth.Standard, "machine", "grant_type", "client_credentials", "resource", "site")
	forged := strings.Replace(string(tokens.RefreshToken), "cfr_", "cfr_A", 1)[:len(tokens.RefreshToken)]
	for name, c := range map[string]struct{ client, token string }{
		"another's access token":            {"reusable", string(tokens.AccessToken)},
		"another's refresh token":           {"reusable", string(tokens.RefreshToken)},
		"a public client's":                 {"confidential", string(visitor.RefreshToken)},
		"who it is for":                     {"machine", string(tokens.AccessToken)},
		"another's own":                     {"site", string(machines.AccessToken)},
		"garbage":                           {"confidential", "garbage"},
		"a JWT of nobody":                   {"confidential", "eyJhbGciOiJub25lIn0.e30."},
		"a forged refresh token":            {"confidential", forged},
		"tampered with":                     {"confidential", string(tokens.AccessToken) + "x"},
		"a code":                            {"confidential", r.code()},
		"the prefix of refresh tokens":      {"confidential", "cfr_"},
		"an access token's beginning":       {"confidential", string(tokens.AccessToken[:40])},
		"whatever the hint says":            {"confidential", "refresh_token"},
		"another's token of another client": {"machine", string(visitor.AccessToken)},
	} {
		revocation, err := r.revokeWith(r.as(c.client, "token", c.token)...)
		if err != nil || revocation.ClientID != c.client || revocation.GrantID != "" {
			t.Errorf("%s: got %+v, %v; want success and no grant", name, revocation, err)
		}
	}
	for name, token := range map[string]oauth.Secret{"confidential": tokens.AccessToken, "public": visitor.AccessToken, "machine": machines.AccessToken} {
		if !r.lives(token) {
			t.Errorf("the token of %s ended", name)
		}
	}
	if events := r.revocations(); len(events) != 0 {
		t.Errorf("%d events, want none: %+v", len(events), events)
	}
	r.refreshed(tokens.RefreshToken)
}

// TestRevokeUnknown: of a grant that was cleaned up there is nothing to end.
func TestRevokeUnknown(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	tokens := r.ofUser()
	for _, token := range []oauth.Secret{tokens.AccessToken, tokens.RefreshToken} {
		r.Store = &cutOff{Store: r.memory, blind: 2}
		if err := r.revoke("confidential", token); err != nil {
			t.Errorf("got %v, want success", err)
		}
	}
}

// TestRevokeCaller: any client may, but as itself (RFC 7009 section 2).
func TestRevokeCaller(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	secret := string(r.secret)
	for name, c := range map[string]struct {
		pairs []string
		want  error
	}{
		"nobody":                {nil, oauth.ErrClientUnauthenticated},
		"an unknown client":     {[]string{"client_id", "nobody"}, oauth.ErrClientUnauthenticated},
		"no secret":             {[]string{"client_id", "confidential"}, oauth.ErrClientUnauthenticated},
		"a wrong secret":        {[]string{"client_id", "confidential", "client_secret", "x" + secret}, oauth.ErrClientUnauthenticated},
		"public with a secret":  {[]string{"client_id", "public", "client_secret", secret}, oauth.ErrClientUnauthenticated},
		"no token":              {[]string{"client_id", "public"}, oauth.ErrParameterInvalid},
		"an empty token":        {[]string{"client_id", "public", "token", ""}, oauth.ErrParameterInvalid},
		"another public client": {[]string{"client_id", "web"}, nil},
		"the public client":     {[]string{"client_id", "public"}, nil},
	} {
		for _, refresh := range []bool{false, true} {
			tokens := r.login()
			token := tokens.AccessToken
			if refresh {
				token = tokens.RefreshToken
			}
			pairs := c.pairs
			if !errors.Is(c.want, oauth.ErrParameterInvalid) {
				pairs = append(pairs, "token", string(token))
			}
			_, err := r.revokeWith(pairs...)
			if !errors.Is(err, c.want) || (c.want == nil) != (err == nil) {
				t.Errorf("%s: got %v, want %v", name, err, c.want)
			}
			if got, want := r.lives(tokens.AccessToken), name != "the public client"; got != want {
				t.Errorf("%s: the token lives: %v, want %v", name, got, want)
			}
		}
	}
}

// TestRevokeClientTokens: a token that a client got for itself ends all of them so far,
// and no grant. One that is over already does not end its successors.
func TestRevokeClientTokens(t *testing.T) {
	t.Parallel()
	for _, profile := range []oauth.Profile{oauth.Standard, oauth.OroCommerce} {
		t.Run(fmt.Sprint(profile), func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			if err := r.change("site", func(c *oauth.Client) { c.GrantTypes = nil }); err != nil {
				t.Fatal(err)
			}
			own := func() oauth.Secret { return r.tokens(profile, "site", "grant_type", "client_credentials").AccessToken }
			grant := r.tokens(profile, "site", "grant_type", "password", "username", "user", "password", "right horse")
			another := r.tokens(profile, "machine", "grant_type", "client_credentials").AccessToken
			first, second := own(), own()
			for round := range 3 { // by a clock that stands still
				revocation, err := r.revokeWith(r.as("site", "token", string(first))...)
				if err != nil || revocation.ClientID != "site" || revocation.GrantID != "" {
					t.Fatalf("got %+v, %v", revocation, err)
				}
				if r.lives(first) || r.lives(second) {
					t.Errorf("round %d: a token lives", round)
				}
				if len(r.revocations()) != round+1 {
					t.Errorf("round %d: %d events, want one of each", round, len(r.revocations()))
				}
				next := own()
				if err := r.revoke("site", second); err != nil || !r.lives(next) {
					t.Errorf("round %d: a token that was over ended its successor, %v", round, err)
				}
				first, second = next, own()
			}
			e := r.revocations()[0]
			if e.Type != oauth.EventRevocation || e.Reason != "revoked_by_client" || e.ClientID != "site" || e.Subject != "" || e.GrantID != "" || e.Source != home {
				t.Errorf("the event is %+v", e)
			}
			if !r.lives(grant.AccessToken) || !r.lives(another) {
				t.Error("a grant's token, or another client's, ended")
			}
			r.tokens(oauth.Standard, "site", "grant_type", "refresh_token", "refresh_token", string(grant.RefreshToken))
		})
	}
}

// revocable are tokens by which a client revokes, and one that must be dead then.
func (r *rig) revocable(kind string) (client string, token, dies oauth.Secret) {
	r.t.Helper()
	if kind == "client credentials" {
		token := r.tokens(oauth.Standard, "machine", "grant_type", "client_credentials").AccessToken
		return "machine", token, token
	}
	tokens := r.ofUser()
	if kind == "refresh token" {
		return "confidential", tokens.RefreshToken, tokens.AccessToken
	}
	return "confidential", tokens.AccessToken, tokens.AccessToken
}

// TestRevokeFaults: whatever step of the store fails, before or after it was done,
// success is told only of what happened (RFC 7009 section 2.2.1).
func TestRevokeFaults(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"access token", "refresh token", "client credentials"} {
		for _, after := range []bool{false, true} {
			for _, fault := range []error{errDisk, fmt.Errorf("commit: %w", oauth.ErrOutcomeUnknown)} {
				t.Run(fmt.Sprintf("%s/after %v/%v", kind, after, fault), func(t *testing.T) {
					t.Parallel()
					for n, faults := 1, 0; ; n++ {
						r := newRig(t)
						client, token, dies := r.revocable(kind)
						r.Store = everyStep{r.faulty}
						r.faulty.failNext(n, after, fault)
						err := r.revoke(client, token)
						steps := r.faulty.steps
						r.Store = r.memory
						if err == nil && r.lives(dies) {
							t.Errorf("step %d failed: success, and the token lives", n)
						}
						if err != nil && !isFault(err) {
							t.Errorf("step %d failed: %v, want a fault", n, err)
						}
						if err != nil {
							faults++
						}
						if steps < n { // it did not come to that step
							if faults == 0 || err != nil {
								t.Errorf("%d faults, and without any %v", faults, err)
							}
							return
						}
					}
				})
			}
		}
	}
}

// unknown lets writes of revocations have an unknown outcome, n times.
type unknown struct {
	oauth.Store
	n       int
	happens bool
}

func (u *unknown) write(do func() error) error {
	if u.n--; u.n < 0 {
		return do()
	}
	if u.happens {
		return errors.Join(do(), oauth.ErrOutcomeUnknown)
	}
	return fmt.Errorf("commit: %w", oauth.ErrOutcomeUnknown)
}

func (u *unknown) RevokeGrant(ctx context.Context, id oauth.GrantID, reason string, e oauth.Event) error {
	return u.write(func() error { return u.Store.RevokeGrant(ctx, id, reason, e) })
}

func (u *unknown) RevokeClientTokens(ctx context.Context, id string, since time.Time, e oauth.Event) error {
	return u.write(func() error { return u.Store.RevokeClientTokens(ctx, id, since, e) })
}

// TestRevokeOutcomeUnknown: a write of unknown outcome is repeated until it is known. One
// that stays unknown is a fault, although it may have happened (rule 3).
func TestRevokeOutcomeUnknown(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"access token", "refresh token", "client credentials"} {
		for _, happens := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/happens %v", kind, happens), func(t *testing.T) {
				t.Parallel()
				r := newRig(t)
				client, token, _ := r.revocable(kind)
				r.Store = &unknown{Store: r.memory, n: 1000, happens: happens}
				if err := r.revoke(client, token); !isFault(err) || errors.Is(err, oauth.ErrOutcomeUnknown) {
					t.Errorf("always unknown: got %v, want a plain fault", err)
				}
				client, token, dies := r.revocable(kind)
				r.Store = &unknown{Store: r.memory, n: 3, happens: happens}
				if err := r.revoke(client, token); err != nil || r.lives(dies) {
					t.Errorf("unknown three times: got %v, lives %v; want success", err, r.lives(dies))
				}
			})
		}
	}
}

// cutOff is a server that was cut off: it shows no grant for the first blind looks, and
// cannot write.
type cutOff struct {
	oauth.Store
	blind int
	write error
}

func (c *cutOff) look() error {
	if c.blind--; c.blind >= 0 {
		return fmt.Errorf("read grant: %w", oauth.ErrNotFound)
	}
	return nil
}

func (c *cutOff) Grant(ctx context.Context, id oauth.GrantID) (oauth.GrantView, error) {
	if err := c.look(); err != nil {
		return oauth.GrantView{}, err
	}
	return c.Store.Grant(ctx, id)
}

func (c *cutOff) GrantByPublicID(ctx context.Context, id string) (oauth.GrantView, error) {
	if err := c.look(); err != nil {
		return oauth.GrantView{}, err
	}
	return c.Store.GrantByPublicID(ctx, id)
}

func (c *cutOff) ConfirmGrant(ctx context.Context, id oauth.GrantID) (oauth.GrantView, error) {
	if c.write != nil {
		return oauth.GrantView{}, c.write
	}
	return c.Store.ConfirmGrant(ctx, id)
}

// TestRevokeAtCutOffServer: that there is no such grant is not believed on the word of a
// server that was cut off (docs/rotation.md, rule 4).
func TestRevokeAtCutOffServer(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"access token", "refresh token"} {
		for _, write := range []error{errDisk, oauth.ErrOutcomeUnknown, oauth.ErrConflict, context.DeadlineExceeded} {
			r := newRig(t)
			client, token, dies := r.revocable(kind)
			r.Store = &cutOff{Store: r.memory, blind: 100, write: write}
			if err := r.revoke(client, token); !isFault(err) {
				t.Errorf("%s, %v: got %v, want a fault", kind, write, err)
			}
			r.Store = &cutOff{Store: r.memory, blind: 1} // it lagged, and caught up
			if err := r.revoke(client, token); err != nil || r.lives(dies) {
				t.Errorf("%s, after it caught up: got %v, lives %v", kind, err, r.lives(dies))
			}
		}
	}
}

// hungUp is a store whose steps end with the context.
type hungUp struct{ oauth.Store }

func (h hungUp) RevokeGrant(ctx context.Context, id oauth.GrantID, reason string, e oauth.Event) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return h.Store.RevokeGrant(ctx, id, reason, e)
}

func (h hungUp) RevokeClientTokens(ctx context.Context, id string, since time.Time, e oauth.Event) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return h.Store.RevokeClientTokens(ctx, id, since, e)
}

// TestRevokeForOneWhoHangsUp: a revocation that was asked for happens (rule 6).
func TestRevokeForOneWhoHangsUp(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"access token", "refresh token", "client credentials"} {
		r := newRig(t)
		client, token, dies := r.revocable(kind)
		r.Store = hungUp{r.memory}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := r.Revoke(ctx, oauth.TokenRequest{Parameters: parameters(r.as(client, "token", string(token))...), Source: home})
		if err != nil || r.lives(dies) {
			t.Errorf("%s: %v, lives %v; want that it is revoked", kind, err, r.lives(dies))
		}
	}
}

// TestUnderSigningKeyOfAnotherNode: an access token under a signing key that another node
// made a moment ago is no forgery: it is not told to be inactive, nor to be revoked.
func TestUnderSigningKeyOfAnotherNode(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	lagging, err := signing.Open(t.Context(), signing.Options{Store: r.memory, Keys: r.Keys, Now: r.clock.Now, Rand: rand.Reader, Alg: signing.EdDSA})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.change("confidential", func(c *oauth.Client) { c.SigningAlg = signing.ES256 }); err != nil {
		t.Fatal(err)
	}
	token, signer := r.ofUser().AccessToken, r.Signer
	r.Signer = lagging
	if answer, err := r.introspect("confidential", token); err == nil && !answer.Active {
		t.Error("a living token is told to be inactive")
	}
	err = r.revoke("confidential", token)
	r.Signer = signer
	if err == nil && r.lives(token) {
		t.Error("success is told, and the token lives")
	}
}
