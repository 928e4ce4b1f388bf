package rotation_test

import (
	"math/rand/v2"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/counterfoil/counterfoil/internal/admin"
	"github.com/counterfoil/counterfoil/internal/oauth"
)

// The actions of the state machine. rapid calls those that are exported, each as
// often as the others.

// Login makes a grant, or tries to.
func (m *machine) Login(t *rapid.T) {
	if len(m.grants) == mostGrants {
		t.Skip("enough grants")
	}
	users := slices.DeleteFunc(slices.Clone(m.users), func(u *user) bool { return u.gone })
	if len(users) == 0 {
		t.Skip("nobody is left")
	}
	scope := rapid.SampledFrom([]oauth.Scope{everything, {"read", "write"}, {"read"}}).Draw(t, "scope")
	m.login(t, pick(t, m.clients, "client"), pick(t, users, "user"), scope, drawFailure(t))
}

// RefreshNewest presents the newest token, as an honest client does.
func (m *machine) RefreshNewest(t *rapid.T) { m.refresh(t, m.behind(t, 0, 0)) }

// RefreshOften presents the newest token a few times in a row, so that there is an age
// to speak of.
func (m *machine) RefreshOften(t *rapid.T) {
	g := m.behind(t, 0, 0).grant
	for range rapid.IntRange(1, 4).Draw(t, "times") {
		newest := g.tokens[len(g.tokens)-1]
		c := m.client(g.row.ClientID)
		m.refresh(t, &presentation{client: c, secret: c.newestSecret(), grant: g, token: newest, text: newest.text()})
	}
}

// LoseResponse loses the answer to a refresh, whatever it was, and sends the same again.
func (m *machine) LoseResponse(t *rapid.T) {
	p := m.behind(t, 0, 0)
	m.refresh(t, p)
	again := *p
	again.failure = works
	m.refresh(t, &again)
}

// RetryPredecessor presents the token before the newest.
func (m *machine) RetryPredecessor(t *rapid.T) { m.refresh(t, m.behind(t, 1, 1)) }

// Straggle presents the token before that.
func (m *machine) Straggle(t *rapid.T) { m.refresh(t, m.behind(t, 2, 2)) }

// Replay presents an older one.
func (m *machine) Replay(t *rapid.T) { m.refresh(t, m.behind(t, 3, 1<<20)) }

// Stray sends what no honest client sends.
func (m *machine) Stray(t *rapid.T) {
	p := m.behind(t, 0, 3)
	switch rapid.SampledFrom([]string{"wrong client", "wrong secret", "forged tag", "flipped bit", "unknown grant", "never made", "another history"}).Draw(t, "stray") {
	case "wrong client":
		p.client = pick(t, m.clients, "client")
		p.secret = p.client.newestSecret()
	case "wrong secret":
		if p.client.public {
			t.Skip("a public client has no secret")
		}
		p.secret = "wrong"
	case "forged tag":
		p.text, p.malformed = p.token.forged(), true
	case "flipped bit":
		b := p.token.bytes(p.token.keyID)
		b[rapid.IntRange(0, len(b)-1).Draw(t, "byte")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		p.text, p.malformed = spell(b), true
	case "unknown grant":
		p.grant = nil
		p.token.grant[0] ^= 1
		p.text = p.token.text()
	case "never made": // by us, so somebody has the master key, or the store lost a write
		p.token.generation = p.grant.row.Generation + uint32(rapid.IntRange(1, 3).Draw(t, "ahead"))
		p.text = p.token.text()
	case "another history":
		p.token.secret[31] ^= 1
		p.text = p.token.text()
	}
	m.refresh(t, p)
}

// Tick moves the clock.
func (m *machine) Tick(t *rapid.T) {
	now := m.clock.Now()
	switch rapid.SampledFrom([]string{"a little", "to an edge", "to an edge", "far", "backwards"}).Draw(t, "tick") {
	case "a little":
		now = now.Add(rapid.SampledFrom([]time.Duration{time.Microsecond, time.Second, 6 * time.Second, 35 * time.Second}).Draw(t, "by"))
	case "to an edge":
		edge := pick(t, m.edges(t), "edge")
		now = edge.Add(time.Duration(rapid.IntRange(-1, 1).Draw(t, "µs")) * time.Microsecond).Add(789)
	case "far":
		now = now.Add(rapid.SampledFrom([]time.Duration{time.Hour, 25 * time.Hour, 20 * 24 * time.Hour, 31 * 24 * time.Hour}).Draw(t, "by"))
	case "backwards":
		now = now.Add(-rapid.SampledFrom([]time.Duration{time.Microsecond, 7 * time.Second, 2 * time.Minute}).Draw(t, "by"))
	}
	t.Logf("the clock moves by %v", now.Sub(m.clock.Now()))
	m.clock.set(now)
	for _, c := range m.clients {
		for i := range c.secrets {
			s := &c.secrets[i]
			s.ended = s.ended || !s.ends.IsZero() && !now.Before(s.ends)
		}
	}
}

// edges are the times at which something ends for a grant.
func (m *machine) edges(t *rapid.T) []time.Time {
	g := m.drawGrant(t, 0)
	c := m.client(g.row.ClientID)
	edges := []time.Time{
		g.row.RotatedAt.Add(m.retryWindow(c)), g.row.RotatedAt.Add(lateWindow), m.end(g, c), g.row.RotatedAt.Add(m.settings.PreviousAccessToken.For),
	}
	for _, a := range g.access {
		edges = append(edges, time.Unix(a.expires, 0))
	}
	for _, s := range c.secrets {
		if !s.ends.IsZero() {
			edges = append(edges, s.ends)
		}
	}
	return edges
}

// pick draws one of a list; the log of a failure shows which, not what is in it.
func pick[T any](t *rapid.T, list []T, what string) T {
	return list[rapid.IntRange(0, len(list)-1).Draw(t, what)]
}

// drawFailure lets most writes work.
func drawFailure(t *rapid.T) failure {
	return rapid.SampledFrom([]failure{works, works, works, works, fails, dies, unknown, unknownDone}).Draw(t, "failure")
}

// drawGrant draws a grant with a token of at least an age, rather one that is alive.
func (m *machine) drawGrant(t *rapid.T, age int) *grant {
	fit := slices.DeleteFunc(slices.Clone(m.grants), func(g *grant) bool { return len(g.tokens) <= age })
	if len(fit) == 0 {
		t.Skip("no token is that old")
	}
	alive := slices.DeleteFunc(slices.Clone(fit), func(g *grant) bool {
		return m.decide(&presentation{client: m.client(g.row.ClientID), grant: g, token: g.tokens[len(g.tokens)-1]}, m.now(), false)[0] == 'P'
	})
	if len(alive) > 0 && rapid.IntRange(0, 4).Draw(t, "alive") > 0 {
		fit = alive
	}
	return pick(t, fit, "grant")
}

// behind draws a token that is between least and most generations old, and a request
// that presents it.
func (m *machine) behind(t *rapid.T, least, most int) *presentation {
	g := m.drawGrant(t, least)
	age := rapid.IntRange(least, min(most, len(g.tokens)-1)).Draw(t, "age")
	c := m.client(g.row.ClientID)
	p := &presentation{client: c, secret: drawSecret(t, c, m.now()), grant: g, token: g.tokens[len(g.tokens)-1-age], failure: drawFailure(t)}
	p.text = p.token.text()
	p.profile = rapid.SampledFrom([]oauth.Profile{oauth.Standard, oauth.OroCommerce}).Draw(t, "profile")
	p.scope = rapid.SampledFrom([]string{"", "", "", "", "read", "read admin", "other"}).Draw(t, "scope asked")
	return p
}

// drawSecret draws a client's secret, mostly the newest; not one that ended before
// the clock went back, which nobody promises anything about.
func drawSecret(t *rapid.T, c *client, now time.Time) string {
	if c.public || len(c.secrets) == 1 || rapid.IntRange(0, 3).Draw(t, "newest secret") > 0 {
		return c.newestSecret()
	}
	s := pick(t, c.secrets, "secret")
	if s.ended && now.Before(s.ends) {
		return c.newestSecret()
	}
	return s.text
}

// Administer does what an operator may do.
func (m *machine) Administer(t *rapid.T) {
	i := rapid.IntRange(0, len(acts)-1).Draw(t, "act")
	t.Logf("%s", acts[i].name)
	acts[i].do(m, t)
}

// RevokeToken revokes a grant by its token (RFC 7009).
func (m *machine) RevokeToken(t *rapid.T) {
	if rapid.IntRange(0, 2).Draw(t, "really") > 0 {
		t.Skip("seldom")
	}
	g := m.drawGrant(t, 0)
	g.revoke("token_revoked", m.now())
	m.inAll(t, "revoke token", func(w *world) error {
		return w.store.RevokeGrant(t.Context(), g.row.ID, "token_revoked", oauth.Event{})
	})
}

// acts are the acts of an operator. What mends stands there more than once, so that
// not all of a world is broken soon.
var acts = []struct {
	name string
	do   func(m *machine, t *rapid.T)
}{
	{"revoke grant", (*machine).revokeGrant},
	{"revoke the grants of a user", (*machine).revokeUser},
	{"revoke the grants of a client", (*machine).revokeClient},
	{"revoke the grants of a user at a client", (*machine).revokeUserAtClient},
	{"set user state", (*machine).setUserState},
	{"set user state", (*machine).setUserState},
	{"mend users", (*machine).mendUsers},
	{"mend users", (*machine).mendUsers},
	{"set password", (*machine).setPassword},
	{"delete user", (*machine).deleteUser},
	{"create user", (*machine).createUser},
	{"deactivate client", (*machine).deactivateClient},
	{"mend clients", (*machine).mendClients},
	{"mend clients", (*machine).mendClients},
	{"delete client", (*machine).deleteClient},
	{"rotate client secret", (*machine).rotateClientSecret},
	{"change policy", (*machine).changePolicy},
	{"rotate master key", (*machine).rotateMasterKey},
	{"clean up", (*machine).cleanUp},
}

// drawUser draws a user that exists.
func (m *machine) drawUser(t *rapid.T) *user {
	users := slices.DeleteFunc(slices.Clone(m.users), func(u *user) bool { return u.gone })
	if len(users) == 0 {
		t.Skip("nobody is left")
	}
	return pick(t, users, "user")
}

// drawClient draws a client that exists.
func (m *machine) drawClient(t *rapid.T) *client {
	clients := slices.DeleteFunc(slices.Clone(m.clients), func(c *client) bool { return c.gone })
	if len(clients) == 0 {
		t.Skip("no client is left")
	}
	return pick(t, clients, "client")
}

// revokeAll revokes the grants that fit.
func (m *machine) revokeAll(reason string, fit func(*grant) bool) {
	for _, g := range m.grants {
		if fit(g) && !g.gone {
			g.revoke(reason, m.now())
		}
	}
}

// choose revokes as an operator does.
func (m *machine) choose(t *rapid.T, c admin.GrantChoice) {
	m.inAll(t, "revoke grants", func(w *world) error { _, err := w.operator.RevokeGrants(t.Context(), c); return err })
}

func (m *machine) revokeGrant(t *rapid.T) {
	g := m.drawGrant(t, 0)
	if g.gone {
		t.Skip("its row is gone")
	}
	g.revoke("administrator", m.now())
	m.choose(t, admin.GrantChoice{GrantID: g.row.PublicID})
}

func (m *machine) revokeUser(t *rapid.T) {
	u := m.drawUser(t)
	u.epoch++
	m.revokeAll("administrator", func(g *grant) bool { return g.user == u })
	m.choose(t, admin.GrantChoice{Username: u.name})
}

func (m *machine) revokeClient(t *rapid.T) {
	c := m.drawClient(t)
	m.revokeAll("administrator", func(g *grant) bool { return g.row.ClientID == c.id })
	m.choose(t, admin.GrantChoice{ClientID: c.id})
}

func (m *machine) revokeUserAtClient(t *rapid.T) {
	u, c := m.drawUser(t), m.drawClient(t)
	m.revokeAll("administrator", func(g *grant) bool { return g.user == u && g.row.ClientID == c.id })
	m.choose(t, admin.GrantChoice{Username: u.name, ClientID: c.id})
}

func (m *machine) setUserState(t *rapid.T) {
	u := m.drawUser(t)
	state := rapid.SampledFrom([]oauth.SubjectState{"", oauth.SubjectActive, oauth.SubjectLocked, oauth.SubjectReset}).Draw(t, "state")
	if state == "" {
		u.disabled = true
		m.inAll(t, "disable", func(w *world) error { _, err := w.operator.DisableUser(t.Context(), u.name); return err })
		return
	}
	u.state = state
	m.inAll(t, "set state", func(w *world) error { _, err := w.operator.SetUserState(t.Context(), u.name, state); return err })
}

// mendUsers: enabled again, they go on.
func (m *machine) mendUsers(t *rapid.T) {
	for _, u := range m.users {
		if u.gone {
			continue
		}
		u.disabled, u.state = false, oauth.SubjectActive
		m.inAll(t, "enable", func(w *world) error { _, err := w.operator.EnableUser(t.Context(), u.name); return err })
		m.inAll(t, "activate", func(w *world) error {
			_, err := w.operator.SetUserState(t.Context(), u.name, oauth.SubjectActive)
			return err
		})
	}
}

func (m *machine) setPassword(t *rapid.T) {
	u := m.drawUser(t)
	u.password = m.name("password")
	if !m.keepGrants {
		u.epoch++
	}
	m.inAll(t, "set password", func(w *world) error {
		_, err := w.operator.SetPassword(t.Context(), u.name, oauth.Secret(u.password))
		return err
	})
}

func (m *machine) deleteUser(t *rapid.T) {
	u := m.drawUser(t)
	u.gone = true
	m.revokeAll("user_deleted", func(g *grant) bool { return g.user == u })
	m.inAll(t, "delete user", func(w *world) error { _, err := w.operator.DeleteUser(t.Context(), u.name); return err })
}

// createUser makes somebody new, under the name of one who was deleted if there is
// one; that revives none of their grants.
func (m *machine) createUser(t *rapid.T) {
	for _, u := range m.users {
		taken := slices.ContainsFunc(m.users, func(o *user) bool { return o.name == u.name && !o.gone })
		if !taken {
			m.addUser(t, u.name)
			return
		}
	}
	m.addUser(t, m.name("user"))
}

func (m *machine) deactivateClient(t *rapid.T) {
	c := m.drawClient(t)
	c.inactive = true
	m.inAll(t, "deactivate", func(w *world) error { _, err := w.operator.DeactivateClient(t.Context(), c.id); return err })
}

// mendClients activates all clients, and registers the deleted ones again, which
// revives none of their grants.
func (m *machine) mendClients(t *rapid.T) {
	for _, c := range m.clients {
		if c.gone {
			c.gone, c.inactive, c.refreshLifetime = false, false, 0
			if !c.public {
				c.secrets = []clientSecret{{text: m.name("secret")}}
			}
			m.register(t, c)
			continue
		}
		c.inactive = false
		m.inAll(t, "activate", func(w *world) error { _, err := w.operator.ActivateClient(t.Context(), c.id); return err })
	}
}

func (m *machine) deleteClient(t *rapid.T) {
	c := m.drawClient(t)
	c.gone = true
	m.revokeAll("client_deleted", func(g *grant) bool { return g.row.ClientID == c.id })
	m.inAll(t, "delete client", func(w *world) error { _, err := w.operator.DeleteClient(t.Context(), c.id); return err })
}

// rotateClientSecret gives a new secret; the others end, at once or after an overlap.
func (m *machine) rotateClientSecret(t *rapid.T) {
	c := m.drawClient(t)
	if c.public {
		t.Skip("a public client has no secret")
	}
	overlap := rapid.SampledFrom([]time.Duration{0, time.Minute}).Draw(t, "overlap")
	end := m.now().Add(overlap)
	for i := range c.secrets {
		s := &c.secrets[i]
		if s.ends.IsZero() || s.ends.After(end) {
			s.ends = end
		}
		s.ended = s.ended || !m.now().Before(s.ends)
	}
	c.secrets = slices.Insert(c.secrets, 0, clientSecret{text: m.name("secret")})
	m.inAll(t, "rotate secret", func(w *world) error {
		_, _, err := w.operator.RotateClientSecret(t.Context(), c.id, oauth.Secret(c.secrets[0].text), overlap)
		return err
	})
}

// changePolicy tightens or loosens a client's policy.
func (m *machine) changePolicy(t *rapid.T) {
	c := m.drawClient(t)
	short, none := 30*time.Second, time.Duration(0)
	c.refreshLifetime = rapid.SampledFrom([]time.Duration{0, time.Hour, 60 * 24 * time.Hour}).Draw(t, "refresh token lifetime")
	c.retryWindow = rapid.SampledFrom([]*time.Duration{nil, &short, &none}).Draw(t, "retry window")
	m.inAll(t, "update client", func(w *world) error {
		_, err := w.operator.UpdateClient(t.Context(), c.id, func(o *oauth.Client) {
			o.RefreshTokenLifetime, o.RetryWindow = c.refreshLifetime, c.retryWindow
		})
		return err
	})
}

// rotateMasterKey makes another master key active; the old ones stay.
func (m *machine) rotateMasterKey(t *rapid.T) {
	if len(m.masterKeys) == 3 {
		t.Skip("enough keys")
	}
	m.masterKeys = slices.Insert(m.masterKeys, 0, uint16(len(m.masterKeys)+1))
	for _, w := range m.worlds {
		w.useMasterKeys(t, m.masterKeys...)
	}
}

// cleanUp deletes what has been over for some time.
func (m *machine) cleanUp(t *rapid.T) {
	deadFor := rapid.SampledFrom([]time.Duration{0, 24 * time.Hour}).Draw(t, "dead for")
	for _, g := range m.grants {
		over := earliest(g.row.IdleExpiresAt, g.row.AbsoluteExpiresAt)
		if g.row.Status == oauth.GrantRevoked {
			over = earliest(over, g.row.RevokedAt)
		}
		g.gone = g.gone || m.now().Sub(over) > deadFor
	}
	m.inAll(t, "clean up", func(w *world) error {
		_, err := w.operator.Cleanup(t.Context(), admin.Cleanup{DeadFor: deadFor})
		return err
	})
}

// randomBytes are n bytes that a seed always gives.
func randomBytes(seed uint64, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(seed)}).Read(b) // never fails
	return b
}
