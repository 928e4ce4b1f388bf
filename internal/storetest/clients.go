package storetest

import (
	"cmp"
	"slices"
	"time"

	"github.com/counterfoil/counterfoil/internal/admin"
	"github.com/counterfoil/counterfoil/internal/oauth"
)

var clientCases = []testCase{
	{"every field comes back", clientFields},
	{"empty fields come back empty", clientEmptyFields},
	{"no scope list is not an empty one", clientScope},
	{"a retry window of 0 is not the server's", clientRetryWindow},
	{"an update replaces all but ID and creation", updateClient},
	{"an update of another version", updateClientConflict},
	{"an update of nothing", updateClientUnknown},
	{"an ID is used once", createClientTwice},
	{"an ID of a deleted client", recycleClient},
	{"deletion", deleteClient},
	{"secrets end", clientSecretsEnd},
	{"tokens that a client got for itself end", clientNotBefore},
	{"the last use is no change", clientUse},
	{"the owner is blocked", clientOwnerBlocked},
	{"the list is by ID", listClients},
	{"what is given and got is a copy", clientCopies},
}

// fullClient is a client with every field set that a caller sets.
func fullClient(f *fixture, id string) oauth.Client {
	window := 1500 * time.Millisecond
	return oauth.Client{
		ID: id, Name: "Émile's \"client\" ☃", Public: true, Active: true,
		GrantTypes:   []string{"password", "authorization_code", "client_credentials"},
		RedirectURIs: []string{"https://client.example.com/a?b=c,d", "http://127.0.0.1/cb", "com.example.app:/cb"},
		Scope:        oauth.Scope{"write", "read", "ü\"'"},
		Owner:        f.bob.ID,
		Secrets: []oauth.ClientSecret{
			{Hash: "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA"},
			{Hash: "$hmac-sha256$7$hash", ExpiresAt: f.clock.Now().Add(time.Hour)},
		},
		SigningAlg: "ES256", AccessTokenLifetime: 90*time.Minute + time.Millisecond, RefreshTokenLifetime: 400 * 24 * time.Hour,
		RetryWindow: &window, ReusableRefreshTokens: true,
		Storefront: true, Organization: "Acme & Söhne", APIs: []string{"rest_json_api", "x y"}, PlainPKCE: true, SkipConsent: true,
	}
}

// sameClient compares clients but for the order of secrets, and takes nil for an
// empty list where it makes no difference: everywhere but in the scope.
func (f *fixture) sameClient(got, want oauth.Client, what string) {
	f.Helper()
	f.same(plain(got), plain(want), what)
	if (got.Scope == nil) != (want.Scope == nil) {
		f.Errorf("%s: the scope is nil: %t, want %t", what, got.Scope == nil, want.Scope == nil)
	}
	f.asStored(what, got.CreatedAt, got.UpdatedAt)
	for _, s := range got.Secrets {
		f.asStored(what+", a secret", s.ExpiresAt)
	}
}

func plain(c oauth.Client) oauth.Client {
	c.GrantTypes = append([]string{}, c.GrantTypes...)
	c.RedirectURIs = append([]string{}, c.RedirectURIs...)
	c.APIs = append([]string{}, c.APIs...)
	c.Secrets = append([]oauth.ClientSecret{}, c.Secrets...)
	slices.SortFunc(c.Secrets, func(a, b oauth.ClientSecret) int { return cmp.Compare(a.Hash, b.Hash) })
	return c
}

// fromList reads a client in the other way.
func (f *fixture) fromList(id string) oauth.Client {
	f.Helper()
	return f.look().Clients[id]
}

func clientFields(f *fixture) {
	want := fullClient(f, "full")
	given := want
	given.Version, given.OwnerBlocked = 99, true // the store's to say
	given.CreatedAt, given.UpdatedAt = f.clock.Now().Add(-time.Hour), f.clock.Now().Add(-time.Hour)
	before := f.look()
	f.must(f.CreateClient(f.Context(), given, act("create")), "create client")
	f.onlyChanged(before, "create client", want)

	got := f.client("full")
	want.Version = got.Version
	want.CreatedAt, want.UpdatedAt = f.clock.stored(), f.clock.stored()
	want.Secrets[1].ExpiresAt = stored(want.Secrets[1].ExpiresAt)
	f.sameClient(got, want, "client")
	f.sameClient(f.fromList("full"), want, "client in the list")
	if got.Version <= 0 {
		f.Errorf("the version is %d, want more than 0", got.Version)
	}
	f.oneEvent("create", "create client")
}

func clientEmptyFields(f *fixture) {
	want := oauth.Client{ID: "empty"}
	f.must(f.CreateClient(f.Context(), want, act("")), "create client")
	got := f.client("empty")
	want.Version, want.CreatedAt, want.UpdatedAt = got.Version, f.clock.stored(), f.clock.stored()
	f.sameClient(got, want, "client")
	f.sameClient(f.fromList("empty"), want, "client in the list")
}

func clientScope(f *fixture) {
	for name, scope := range map[string]oauth.Scope{"none": nil, "empty": {}, "one": {"read"}, "an empty token": {""}} {
		f.must(f.CreateClient(f.Context(), oauth.Client{ID: name, Scope: scope}, act("")), "create client")
		c := f.client(name)
		f.same(c.Scope, scope, "scope of a created client: "+name)
		f.same(f.fromList(name).Scope, scope, "scope of a created client in the list: "+name)
		for other, changed := range map[string]oauth.Scope{"none": nil, "empty": {}} {
			c.Scope = changed
			f.must(f.UpdateClient(f.Context(), c, act("")), "update client")
			c = f.client(name)
			f.same(c.Scope, changed, "scope after a change from "+name+" to "+other)
		}
	}
}

func clientRetryWindow(f *fixture) {
	zero, most := time.Duration(0), 24*time.Hour
	for name, window := range map[string]*time.Duration{"none": nil, "zero": &zero, "a day": &most} {
		f.must(f.CreateClient(f.Context(), oauth.Client{ID: name, RetryWindow: window}, act("")), "create client")
		f.same(f.client(name).RetryWindow, window, "retry window: "+name)
	}
}

func updateClient(f *fixture) {
	was := f.web
	changed := fullClient(f, "web")
	changed.Version, changed.CreatedAt = was.Version, f.clock.Now()
	now := f.clock.advance(time.Hour - time.Microsecond) // the second secret is about to end
	before := f.look()
	f.must(f.UpdateClient(f.Context(), changed, act("update")), "update client")
	f.onlyChanged(before, "update client", changed)
	got := f.client("web")
	if got.Version <= was.Version {
		f.Errorf("the version was %d and is %d, want it raised", was.Version, got.Version)
	}
	changed.Version, changed.CreatedAt, changed.UpdatedAt = got.Version, was.CreatedAt, now
	changed.Secrets[1].ExpiresAt = stored(changed.Secrets[1].ExpiresAt)
	f.sameClient(got, changed, "client after the update")
	f.oneEvent("update", "update client")

	empty := oauth.Client{ID: "web", Version: got.Version}
	f.must(f.UpdateClient(f.Context(), empty, act("")), "update client to empty fields")
	got = f.client("web")
	empty.Version, empty.CreatedAt, empty.UpdatedAt = got.Version, was.CreatedAt, now
	empty.NotBefore = now // no longer active
	f.sameClient(got, empty, "client after the update to empty fields")
}

func clientNotBefore(f *fixture) {
	deactivated := f.web
	deactivated.Active = false
	deactivated.NotBefore = f.clock.Now().Add(-time.Hour) // the store's to say
	f.must(f.UpdateClient(f.Context(), deactivated, act("")), "deactivate client")
	at := f.clock.stored()
	f.same(f.client("web").NotBefore, at, "not before, of a client that was deactivated")

	f.clock.advance(time.Hour)
	activated := f.client("web")
	activated.Active = true
	f.must(f.UpdateClient(f.Context(), activated, act("")), "activate client")
	f.same(f.client("web").NotBefore, at, "not before, of a client that was activated again")

	now := f.clock.advance(time.Hour)
	for range 2 { // in one moment: it is never the same twice
		_, err := f.RevokeGrants(f.Context(), admin.GrantFilter{ClientID: "web"}, "test", act(""))
		f.must(err, "revoke grants of a client")
		f.same(f.client("web").NotBefore, now, "not before, of a client whose grants were revoked")
		now = now.Add(time.Microsecond)
	}
	f.same(f.client("app").NotBefore, time.Time{}, "not before, of another client")

	deleted := f.clock.advance(time.Hour)
	f.must(f.DeleteClient(f.Context(), "web", act("")), "delete client")
	f.clock.advance(time.Hour)
	f.must(f.CreateClient(f.Context(), oauth.Client{ID: "web", NotBefore: now}, act("")), "create client")
	f.same(f.client("web").NotBefore, deleted, "not before, of a client with the ID of a deleted one")
}

func clientUse(f *fixture) {
	before, at := f.look(), f.clock.Now()
	f.must(f.SaveClientUse(f.Context(), map[string]time.Time{"web": at, "nobody": at}), "save client use")
	f.same(f.client("web").LastUsedAt, stored(at), "last use")
	f.same(f.client("web").Version, f.web.Version, "version after a use")
	f.onlyChanged(before, "save client use", f.web)
	f.must(f.SaveClientUse(f.Context(), map[string]time.Time{"web": at.Add(-time.Hour)}), "save an earlier use")
	f.same(f.client("web").LastUsedAt, stored(at), "last use after an earlier one")
	changed := f.client("web")
	changed.Name, changed.LastUsedAt = "changed", time.Time{}
	f.must(f.UpdateClient(f.Context(), changed, act("")), "update client")
	f.same(f.client("web").LastUsedAt, stored(at), "last use after an update")
}

func updateClientConflict(f *fixture) {
	f.must(f.UpdateClient(f.Context(), f.web, act("")), "update client")
	for _, version := range []int64{f.web.Version, f.client("web").Version + 1, 0} {
		c := f.web
		c.Version, c.Name = version, "changed"
		before := f.look()
		f.wantError(f.UpdateClient(f.Context(), c, act("update")), oauth.ErrConflict, "update another version")
		f.onlyChanged(before, "update another version")
		f.noEvents("update", "update another version")
	}
}

func updateClientUnknown(f *fixture) {
	f.must(f.DeleteClient(f.Context(), "app", act("")), "delete client")
	for _, id := range []string{"none", "app"} {
		c := f.app
		c.ID = id
		before := f.look()
		f.wantError(f.UpdateClient(f.Context(), c, act("update")), oauth.ErrNotFound, "update client "+id)
		f.onlyChanged(before, "update client "+id)
		f.noEvents("update", "update client "+id)
	}
}

func createClientTwice(f *fixture) {
	before := f.look()
	c := fullClient(f, "web")
	f.wantError(f.CreateClient(f.Context(), c, act("create")), oauth.ErrExists, "create a client that is there")
	f.onlyChanged(before, "create a client that is there")
	f.noEvents("create", "create a client that is there")
}

// recycleClient: whoever remembers a version of a deleted client must not take its
// heir for it.
func recycleClient(f *fixture) {
	f.web.Owner = f.bob.ID
	f.must(f.UpdateClient(f.Context(), f.web, act("")), "update client")
	highest := f.client("web").Version
	for _, raise := range []struct {
		name string
		by   func()
	}{
		{"nothing", func() {}},
		{"an update", func() { f.must(f.UpdateClient(f.Context(), f.client("web"), act("")), "update client") }},
		{"a revocation", func() { f.revokeBy(clientOf(f.grant)) }},
		{"its owner", func() { f.setState(f.bob, false, oauth.SubjectActive) }},
	} {
		raise.by()
		highest = max(highest, f.client("web").Version)
		f.clock.advance(time.Hour)
		f.must(f.DeleteClient(f.Context(), "web", act("")), "delete client")
		f.must(f.CreateClient(f.Context(), fullClient(f, "web"), act("")), "create the client again")
		got := f.client("web")
		if got.Version <= highest {
			f.Errorf("after %s the version was %d, and is %d when made again; want it higher", raise.name, highest, got.Version)
		}
		highest = got.Version
		f.same(got.CreatedAt, f.clock.stored(), "creation of the client that was made again")
	}
	if g := f.read(f.grant).Grant; g.Status != oauth.GrantRevoked {
		f.Errorf("the grant of the deleted client is %s, want revoked", g.Status)
	}
}

func deleteClient(f *fixture) {
	f.must(f.DeleteClient(f.Context(), "web", act("delete")), "delete client")
	_, err := f.Client(f.Context(), "web")
	f.wantError(err, oauth.ErrNotFound, "read a deleted client")
	if _, listed := f.look().Clients["web"]; listed {
		f.Errorf("the deleted client is in the list")
	}
	for _, id := range []string{"web", "none"} {
		before := f.look()
		f.wantError(f.DeleteClient(f.Context(), id, act("again")), oauth.ErrNotFound, "delete client "+id)
		f.onlyChanged(before, "delete client "+id)
		f.noEvents("again", "delete client "+id)
	}
}

func clientSecretsEnd(f *fixture) {
	c := f.web
	c.Secrets = []oauth.ClientSecret{
		{Hash: "for ever"},
		{Hash: "an hour", ExpiresAt: f.clock.stored().Add(time.Hour)},
		{Hash: "two hours", ExpiresAt: f.clock.stored().Add(2 * time.Hour)},
	}
	f.must(f.UpdateClient(f.Context(), c, act("")), "update client")
	for _, step := range []struct {
		advance time.Duration
		want    []string
	}{
		{0, []string{"an hour", "for ever", "two hours"}},
		{time.Hour - time.Microsecond, []string{"an hour", "for ever", "two hours"}},
		{time.Microsecond, []string{"for ever", "two hours"}},
		{time.Hour, []string{"for ever"}},
		{24 * 365 * time.Hour, []string{"for ever"}},
	} {
		now := f.clock.advance(step.advance)
		var got []string
		for _, s := range f.client("web").Secrets {
			got = append(got, s.Hash)
		}
		slices.Sort(got)
		f.same(got, step.want, "live secrets at "+now.Format(time.TimeOnly))
	}
}

func clientOwnerBlocked(f *fixture) {
	c := f.web
	c.Owner = f.bob.ID
	f.must(f.UpdateClient(f.Context(), c, act("")), "update client")
	check := func(when string, want bool) {
		f.Helper()
		if got := f.client("web").OwnerBlocked; got != want {
			f.Errorf("%s: OwnerBlocked is %t, want %t", when, got, want)
		}
		if f.client("app").OwnerBlocked {
			f.Errorf("%s: a client without an owner has a blocked one", when)
		}
	}
	check("at first", false)
	for _, s := range []oauth.SubjectState{oauth.SubjectLocked, oauth.SubjectReset} {
		f.setState(f.bob, true, s)
		check(string(s), true)
	}
	f.setState(f.bob, false, oauth.SubjectActive)
	check("disabled", true)
	f.setState(f.bob, true, oauth.SubjectActive)
	check("enabled again", false)
	f.setState(f.alice, false, oauth.SubjectActive)
	check("another user disabled", false)
	f.must(f.DeleteUser(f.Context(), f.bob.ID, act("")), "delete user")
	check("deleted", true)
	again := f.bob
	again.ID = "another id"
	f.must(f.CreateUser(f.Context(), again, act("")), "create another user of the same name")
	check("another user of the same name", true)
}

func listClients(f *fixture) {
	for _, id := range []string{"b", "B", "ä", "a b", "a", "10", "9"} {
		f.must(f.CreateClient(f.Context(), oauth.Client{ID: id}, act("")), "create client")
	}
	clients, err := f.Clients(f.Context())
	f.must(err, "list clients")
	var got []string
	for _, c := range clients {
		got = append(got, c.ID)
	}
	f.same(got, []string{"10", "9", "B", "a", "a b", "app", "b", "web", "ä"}, "clients in the list")
}

func clientCopies(f *fixture) {
	given, want := fullClient(f, "full"), fullClient(f, "full")
	f.must(f.CreateClient(f.Context(), given, act("")), "create client")
	want.Version = f.client("full").Version
	want.CreatedAt, want.UpdatedAt = f.clock.stored(), f.clock.stored()
	want.Secrets[1].ExpiresAt = stored(want.Secrets[1].ExpiresAt)
	scribble := func(c oauth.Client) {
		c.APIs[0] = "changed"
		c.GrantTypes[0], c.RedirectURIs[0], c.Scope[0], c.Secrets[0].Hash = "changed", "changed", "changed", "changed"
		*c.RetryWindow = 0
	}
	for _, c := range []oauth.Client{given, f.client("full"), f.fromList("full")} {
		scribble(c)
		f.sameClient(f.client("full"), want, "client after a caller changed its own lists")
	}
}
