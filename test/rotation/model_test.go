package rotation_test

import (
	"slices"
	"time"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

// model is docs/rotation.md written a second time, as plainly as possible: values,
// no concurrency, no attempts. Its times are whole microseconds, as a store's.
type model struct {
	settings   oauth.Settings
	keepGrants bool     // a new password ends nothing
	masterKeys []uint16 // the active one first
	clients    []*client
	users      []*user
	grants     []*grant
}

// client is one that is registered, or was.
type client struct {
	id               string
	public, reusable bool
	inactive, gone   bool
	secrets          []clientSecret // the newest first
	refreshLifetime  time.Duration  // 0: the server's
	retryWindow      *time.Duration // nil: the default
}

// clientSecret is a secret; one that ends was followed by another.
type clientSecret struct {
	text  string
	ends  time.Time // zero: never
	ended bool      // it was seen to have ended, even if the clock went back since
}

// user is one incarnation of a username.
type user struct {
	id, name, password string
	epoch              int64
	disabled, gone     bool
	state              oauth.SubjectState
}

// grant is the row as it must be, and what was made from it.
type grant struct {
	row    oauth.Grant
	user   *user
	tokens []token // by generation; none: the login was never answered
	access []accessToken
	gone   bool // a clean-up deleted its row
}

// accessToken is an access token that was handed out, as each store's server signed it.
type accessToken struct {
	texts      []oauth.Secret
	generation uint32
	expires    int64 // seconds since 1970
}

// presentation is a request to refresh.
type presentation struct {
	client    *client
	secret    string
	profile   oauth.Profile
	scope     string // asked for; empty: nothing is said
	grant     *grant // nil: there is no such grant
	token     token
	text      oauth.Secret
	malformed bool    // text is not the spelling of an authentic token
	failure   failure // of the first write
}

// answer is what a request must get.
type answer struct {
	row     string   // of docs/rotation.md
	reasons []string // a refusal, for one of these reasons
	fault   bool     // a fault
	grant   *grant   // else: a success, with this refresh token
	token   token
	scope   oauth.Scope
	outcome string
}

// decide is the table of docs/rotation.md. unknown: a write of this request had an
// unknown outcome (rule 2). A spent budget is a row of its own here.
func (m *model) decide(p *presentation, now time.Time, unknown bool) string {
	g := p.grant
	switch {
	case p.malformed:
		return "P0"
	case g == nil || g.gone:
		return "P1"
	case g.row.ClientID != p.client.id:
		return "P2"
	case !now.Before(m.end(g, p.client)):
		return "P3"
	case g.user.gone:
		return "P4"
	case g.user.disabled || g.user.state != oauth.SubjectActive:
		return "P5"
	case g.row.Status == oauth.GrantRevoked || g.row.SubjectEpoch != g.user.epoch:
		return "P6"
	}
	n, presented := int(g.row.Generation), int(p.token.generation)
	elapsed := max(0, now.Sub(g.row.RotatedAt))
	switch {
	case presented > n:
		return "Y2"
	case presented >= n-1 && g.tokens[presented].secret != p.token.secret:
		return "Y1"
	case presented < n-2:
		return "X2"
	case presented == n-2 && elapsed < m.settings.LateWindow:
		return "X3"
	case presented == n-2:
		return "X2"
	case presented == n-1 && elapsed >= m.retryWindow(p.client) && !unknown:
		return "X1"
	case slices.ContainsFunc(oauth.ParseScope(p.scope), func(s string) bool { return !slices.Contains(g.row.Scope, s) }):
		return "S"
	case presented == n-1 && g.row.Retries >= m.settings.RetryBudget:
		return "R2, budget spent"
	case presented == n-1:
		return "R2"
	case p.client.reusable:
		return "R3"
	}
	return "R1"
}

// reasons are those of the refusals.
var reasons = map[string]string{
	"P0": "refresh_token_malformed", "P1": "grant_unknown", "P2": "grant_of_another_client", "P3": "grant_expired",
	"P4": "subject_gone", "P6": "grant_revoked", "Y2": "generation_unknown", "Y1": "history_forked",
	"X1": "replay", "X2": "replay", "X3": "straggler", "S": "scope_invalid", "R2, budget spent": "retry_budget_spent",
}

// What the rows write: a grant's new state, its end, or the record of a refusal.
var (
	rowsThatHandOut = []string{"R1", "R2", "R3"}
	rowsThatRevoke  = []string{"Y1", "X1", "X2"}
	rowsThatRecord  = []string{"P1", "P2", "P3", "P4", "P5", "P6", "Y2", "X3"}

	rowsThatWriteNothing = []string{"P0", "S", "R2, budget spent"}
)

// refresh changes the model as a refresh must, and returns what it must get. The
// salt is the one thing taken from the store, for a rotation: it is random.
func (m *model) refresh(p *presentation, now time.Time, salt [32]byte) answer {
	if !p.client.authenticates(p.secret, now) {
		return m.unauthenticated(p, now)
	}
	for look, failure := 1, p.failure; ; look, failure = look+1, works {
		row := m.decide(p, now, look > 1)
		handsOut, revokes := slices.Contains(rowsThatHandOut, row), slices.Contains(rowsThatRevoke, row)
		if slices.Contains(rowsThatWriteNothing, row) {
			return m.answer(p, row)
		}
		if failure != fails && (failure != unknown || revokes) { // a revocation is repeated until it is known
			m.write(p, row, now, salt)
		}
		switch {
		case failure == works, revokes && (failure == unknown || failure == unknownDone):
			return m.answer(p, row)
		case failure == fails, failure == dies, !handsOut:
			return answer{row: row, fault: true}
		}
	}
}

// unauthenticated: a client that is remembered may be refused for what needs no
// client in order, before it turns out that it is not the present one.
func (m *model) unauthenticated(p *presentation, now time.Time) answer {
	a := answer{reasons: []string{"client_unauthenticated"}}
	if row := m.decide(p, now, false); row == "P0" || row == "P1" || row == "P2" {
		a.reasons = append(a.reasons, reasons[row])
	}
	return a
}

// write is what a row does to the grant's.
func (m *model) write(p *presentation, row string, now time.Time, salt [32]byte) {
	g := p.grant
	switch row {
	case "Y1", "X1", "X2":
		g.revoke(reasons[row], now)
	case "R1":
		m.rotate(g, p.client, now, salt)
	case "R2":
		g.row.Retries++
	case "R3":
		g.row.Version++
		m.slide(g, p.client, now)
	}
}

// rotate: n+1, previous := current, fresh salt, rotated_at, retries := 0.
func (m *model) rotate(g *grant, c *client, now time.Time, salt [32]byte) {
	newest := g.tokens[len(g.tokens)-1]
	next := newest.successor(m.masterKeys[0], salt)
	g.tokens = append(g.tokens, next)
	r := &g.row
	r.Version++
	r.Generation++
	r.KeyID = m.masterKeys[0]
	r.CurrentHash, r.PreviousHash, r.SuccessorSalt = next.hash(r.KeyID), newest.hash(r.KeyID), salt
	if now.After(r.RotatedAt) {
		r.RotatedAt = now
	}
	r.Retries = 0
	m.slide(g, c, now)
}

// slide moves the idle lifetime on, never past the absolute one.
func (m *model) slide(g *grant, c *client, now time.Time) {
	g.row.LastUsedAt = now
	g.row.IdleExpiresAt = earliest(now.Add(m.refreshLifetime(c)), g.row.AbsoluteExpiresAt)
}

// answer is what a row answers.
func (m *model) answer(p *presentation, row string) answer {
	a := answer{row: row, grant: p.grant}
	switch row {
	case "R1", "R2":
		a.token, a.outcome = p.grant.tokens[p.grant.row.Generation], map[string]string{"R1": "rotated", "R2": "retried"}[row]
	case "R3":
		a.token, a.outcome = p.token, "reused"
	case "P5":
		a.reasons = []string{p.grant.user.blocked()}
	default:
		a.reasons = []string{reasons[row]}
	}
	if a.reasons == nil {
		a.scope = p.grant.row.Scope
		if p.scope != "" {
			a.scope = oauth.ParseScope(p.scope)
		}
	}
	return a
}

// alive: the signature is good; the rest is this.
func (m *model) alive(g *grant, a *accessToken, now time.Time) bool {
	c := m.client(g.row.ClientID)
	if now.Unix() >= a.expires || g.gone || c.gone || c.inactive || g.row.Status == oauth.GrantRevoked ||
		!now.Before(m.end(g, c)) || g.user.gone || g.user.epoch != g.row.SubjectEpoch || g.user.blocked() != "" {
		return false
	}
	policy := m.settings.PreviousAccessToken
	elapsed := max(0, now.Sub(g.row.RotatedAt))
	return a.generation == g.row.Generation || c.reusable || policy.Keep ||
		a.generation+1 == g.row.Generation && elapsed < policy.For
}

// end is when a grant ends: a tightened policy shortens its life, a loosened one
// does not lengthen it.
func (m *model) end(g *grant, c *client) time.Time {
	return earliest(
		g.row.IdleExpiresAt, g.row.AbsoluteExpiresAt,
		g.row.LastUsedAt.Add(m.refreshLifetime(c)), g.row.CreatedAt.Add(m.settings.AbsoluteLifetime),
	)
}

func (m *model) refreshLifetime(c *client) time.Duration {
	if c.refreshLifetime > 0 {
		return c.refreshLifetime
	}
	return m.settings.RefreshTokenLifetime
}

// retryWindow is 60 s for public clients and 300 s for confidential ones, unless set.
func (m *model) retryWindow(c *client) time.Duration {
	switch {
	case c.retryWindow != nil:
		return *c.retryWindow
	case c.public:
		return 60 * time.Second
	}
	return 300 * time.Second
}

// revoke ends an active grant; one that is revoked already stays as it is.
func (g *grant) revoke(reason string, now time.Time) {
	if g.row.Status == oauth.GrantRevoked {
		return
	}
	g.row.Status, g.row.RevokedAt, g.row.RevokedReason = oauth.GrantRevoked, now, reason
	g.row.Version++
}

// authenticates: the client is there, active, and the secret is one of its own.
func (c *client) authenticates(secret string, now time.Time) bool {
	if c.gone || c.inactive {
		return false
	}
	return c.public || slices.ContainsFunc(c.secrets, func(s clientSecret) bool {
		return s.text == secret && (s.ends.IsZero() || now.Before(s.ends))
	})
}

// blocked is the reason why the user may not log in; empty: there is none.
func (u *user) blocked() string {
	switch {
	case u.state == oauth.SubjectReset:
		return "subject_reset"
	case u.disabled:
		return "subject_disabled"
	case u.state == oauth.SubjectLocked:
		return "subject_locked"
	}
	return ""
}

// client is the client of an id, or the last that had it.
func (m *model) client(id string) *client {
	return m.clients[slices.IndexFunc(m.clients, func(c *client) bool { return c.id == id })]
}

// newGrant is the row of a grant that a login made. What is random is taken from
// the store.
func (m *model) newGrant(c *client, u *user, scope oauth.Scope, now time.Time, random *oauth.Grant) *grant {
	absolute := now.Add(m.settings.AbsoluteLifetime)
	return &grant{user: u, row: oauth.Grant{
		ID: random.ID, PublicID: random.PublicID, CurrentHash: random.CurrentHash, KeyID: m.masterKeys[0],
		Version: 1, ClientID: c.id, Subject: u.id, SubjectEpoch: u.epoch, Scope: scope, AMR: []string{"pwd"},
		Status: oauth.GrantActive, AuthTime: now, RotatedAt: now, CreatedAt: now, LastUsedAt: now,
		IdleExpiresAt: earliest(now.Add(m.refreshLifetime(c)), absolute), AbsoluteExpiresAt: absolute,
	}}
}

func earliest(times ...time.Time) time.Time {
	return slices.MinFunc(times, time.Time.Compare)
}
