package accesstokentest

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// life is what decides whether tokens live, and what the feed has told about it. All of
// it is guarded by Issuer.mu.
type life struct {
	grants  map[string]*grant
	users   map[string]*user
	clients map[string]*client

	run    string // of the server, until it restarts: cursors of another run are worthless
	number int64  // of the newest change
	told   map[about]int64
}

type grant struct {
	user, username, client string

	generation    int64
	previousUntil time.Time
	ended         bool
	expires       time.Time // when the last of its tokens does
}

type user struct {
	blocked bool
	expires time.Time
}

type client struct {
	blocked   bool
	notBefore int64 // microseconds since 1970; 0: its own tokens were never revoked
	expires   time.Time
}

// about names what an entry of the feed is about: the member that names it, and its value.
type about struct{ kind, name string }

func aboutGrant(id string) about     { return about{"grant_id", id} }
func aboutUser(id string) about      { return about{"sub", id} }
func aboutClient(id string) about    { return about{"client_id", id} }
func later(a, b time.Time) time.Time { return time.Unix(max(a.Unix(), b.Unix()), 0) }

func newLife() life {
	return life{
		grants:  map[string]*grant{},
		users:   map[string]*user{},
		clients: map[string]*client{},
		run:     randomHex(),
		told:    map[about]int64{},
	}
}

// tell puts what an entry says at the end of the feed. It was said before with a lower
// number, which nobody needs any more.
func (l *life) tell(a about) {
	l.number++
	l.told[a] = l.number
}

func (l *life) user(id string) *user {
	if l.users[id] == nil {
		l.users[id] = &user{}
	}
	return l.users[id]
}

func (l *life) client(id string) *client {
	if l.clients[id] == nil {
		l.clients[id] = &client{}
	}
	return l.clients[id]
}

// enterGrant notes a token of a grant, and returns the grant's present generation.
func (i *Issuer) enterGrant(t *token) int64 {
	i.t.Helper()
	i.mu.Lock()
	defer i.mu.Unlock()
	g, known := i.life.grants[t.grant]
	if !known {
		g = &grant{user: t.subject, username: t.username, client: t.client}
		i.life.grants[t.grant] = g
	}
	if g.user != t.subject || g.client != t.client {
		i.t.Errorf("accesstokentest: grant %q is %q's with client %q, not %q's with %q", t.grant, g.user, g.client, t.subject, t.client)
	}
	u, c := i.life.user(g.user), i.life.client(g.client)
	g.expires, u.expires, c.expires = later(g.expires, t.expires), later(u.expires, t.expires), later(c.expires, t.expires)
	i.tellAgain(u.blocked, aboutUser(g.user))
	i.tellAgain(c.blocked, aboutClient(g.client))
	i.tellAgain(g.ended || t.generation != nil && *t.generation < g.generation, aboutGrant(t.grant))
	return g.generation
}

// enterClient notes a token that a client got for itself, and returns its notBefore.
func (i *Issuer) enterClient(t *token) int64 {
	i.mu.Lock()
	defer i.mu.Unlock()
	c := i.life.client(t.client)
	c.expires = later(c.expires, t.expires)
	i.tellAgain(c.blocked, aboutClient(t.client))
	return c.notBefore
}

// tellAgain repeats an entry that concerns a token which came after it, as only a test
// makes one: its `exp` may be later now, and there may be one grant more.
func (i *Issuer) tellAgain(dead bool, a about) {
	if dead {
		i.life.tell(a)
		i.changed()
	}
}

// Refresh raises the generation of a grant, as the use of its refresh token does: access
// tokens made before are dead, at once or KeepPrevious later, and the next AccessToken of
// the grant has the next generation.
func (i *Issuer) Refresh(grantID string) {
	i.t.Helper()
	i.actOnGrant(grantID, func(g *grant) {
		g.generation++
		g.previousUntil = i.now().Add(i.previous)
	})
}

// Revoke ends a grant for good, with all its access tokens (RFC 7009).
func (i *Issuer) Revoke(grantID string) {
	i.t.Helper()
	i.actOnGrant(grantID, func(g *grant) { g.ended = true })
}

func (i *Issuer) actOnGrant(id string, act func(*grant)) {
	i.t.Helper()
	i.mu.Lock()
	defer i.mu.Unlock()
	g, known := i.life.grants[id]
	if !known {
		i.t.Errorf("accesstokentest: no access token of a grant %q was made", id)
		return
	}
	act(g)
	i.life.tell(aboutGrant(id))
	i.changed()
}

// BlockUser disables a user: his access tokens are dead until UnblockUser.
func (i *Issuer) BlockUser(subject string) { i.setBlocked(subject, true) }

// UnblockUser enables a user again. His tokens that have not died otherwise live again.
func (i *Issuer) UnblockUser(subject string) { i.setBlocked(subject, false) }

func (i *Issuer) setBlocked(subject string, blocked bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.life.user(subject).blocked = blocked
	i.life.tell(aboutUser(subject))
	i.changed()
}

// BlockClient deactivates a client: all access tokens issued to it are dead, those that it
// got for itself for good.
func (i *Issuer) BlockClient(id string) {
	i.actOnClient(id, func(c *client) {
		c.blocked = true
		c.revokeOwn(i.now())
	})
}

// UnblockClient activates a client again. Users' tokens that have not died otherwise live
// again.
func (i *Issuer) UnblockClient(id string) { i.actOnClient(id, func(c *client) { c.blocked = false }) }

// RevokeClientTokens kills the access tokens that a client got for itself so far, and no
// others.
func (i *Issuer) RevokeClientTokens(id string) {
	i.actOnClient(id, func(c *client) { c.revokeOwn(i.now()) })
}

// revokeOwn raises notBefore, also within one microsecond.
func (c *client) revokeOwn(now time.Time) { c.notBefore = max(now.UnixMicro(), c.notBefore+1) }

func (i *Issuer) actOnClient(id string, act func(*client)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	act(i.life.client(id))
	i.life.tell(aboutClient(id))
	i.changed()
}

// alive decides about a token whose signature and times are good.
func (l *life) alive(c *claims, now time.Time) bool {
	of := l.client(c.ClientID)
	if of.blocked {
		return false
	}
	if c.GrantID == "" {
		return c.NotBefore == of.notBefore
	}
	g, known := l.grants[c.GrantID]
	if !known || g.ended || g.client != c.ClientID || l.user(g.user).blocked {
		return false
	}
	return c.Generation == g.generation || c.Generation == g.generation-1 && now.Before(g.previousUntil)
}

// entry is a line of the feed.
type entry struct {
	GrantID       string   `json:"grant_id,omitempty"`
	Subject       string   `json:"sub,omitempty"`
	ClientID      string   `json:"client_id,omitempty"`
	Generation    int64    `json:"generation,omitempty"`
	PreviousUntil float64  `json:"previous_until,omitempty"`
	Ended         bool     `json:"ended,omitempty"`
	Blocked       bool     `json:"blocked,omitempty"`
	GrantIDs      []string `json:"grant_ids,omitempty"`
	NotBefore     int64    `json:"not_before,omitempty"`
	Expires       int64    `json:"exp"`
}

// entry says what is so now.
func (l *life) entry(a about, now time.Time) entry {
	switch a.kind {
	case "grant_id":
		return l.grants[a.name].entry(a.name, now)
	case "sub":
		u := l.user(a.name)
		return entry{Subject: a.name, Blocked: u.blocked, GrantIDs: l.blockedGrants(a.name), Expires: u.expires.Unix()}
	}
	c := l.client(a.name)
	return entry{ClientID: a.name, Blocked: c.blocked, NotBefore: c.notBefore, Expires: c.expires.Unix()}
}

func (g *grant) entry(id string, now time.Time) entry {
	if g.ended {
		return entry{GrantID: id, Ended: true, Expires: g.expires.Unix()}
	}
	e := entry{GrantID: id, Generation: g.generation, Expires: g.expires.Unix()}
	if now.Before(g.previousUntil) {
		e.PreviousUntil = float64(g.previousUntil.UnixMicro()) / 1e6
	}
	return e
}

// blockedGrants are the grants of a user, if he is blocked.
func (l *life) blockedGrants(id string) []string {
	if !l.user(id).blocked {
		return nil
	}
	var ids []string
	for grantID, g := range l.grants {
		if g.user == id {
			ids = append(ids, grantID)
		}
	}
	slices.Sort(ids)
	return ids
}

// after returns at most limit entries with higher numbers than since, the number of the
// last one, and whether there are more. What no living token can be concerned by is
// forgotten.
func (l *life) after(since int64, limit int, now time.Time) (entries []entry, last int64, more bool) {
	maps.DeleteFunc(l.told, func(a about, _ int64) bool { return l.entry(a, now).Expires <= now.Unix() })
	last = since
	for _, a := range slices.SortedFunc(maps.Keys(l.told), func(a, b about) int { return cmp.Compare(l.told[a], l.told[b]) }) {
		switch {
		case l.told[a] <= since:
		case len(entries) == limit:
			return entries, last, true
		default:
			entries, last = append(entries, l.entry(a, now)), l.told[a]
		}
	}
	return entries, last, false
}
