package storetest

import (
	"time"

	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/counterfoil/counterfoil/internal/admin"
	"github.com/counterfoil/counterfoil/internal/oauth"
)

var grantCases = []testCase{
	{"every field comes back", grantFields},
	{"empty fields come back empty", grantEmptyFields},
	{"the times of a new grant", grantTimesAtCreation},
	{"creation depends on subject and client", createConditions},
	{"an identifier is used once", createTwice},
	{"the event comes with the grant", createEvent},
	{"the one idle longest is superseded", supersede},
	{"the newest is never superseded", supersedeClockBack},
	{"nobody else's grant is superseded", supersedeOthers},
	{"a view shows subject and client", view},
	{"a view of a subject that is gone", viewWithoutSubject},
	{"a view of a client that is gone", viewWithoutClient},
	{"the list is filtered and the newest first", listGrants},
	{"what is given and got is a copy", grantCopies},
}

// full is a grant with every field set that a caller sets.
func full(f *fixture) oauth.NewGrant {
	n := newGrant("full", f.alice, f.web)
	g := &n.Grant
	g.Scope = oauth.Scope{"read", "write", "ü \"'\\ ☃"}
	g.Resource = []string{"https://api.example.com/a b", "https://api.example.com/,"}
	g.AuthTime = f.clock.Now().Add(-time.Minute)
	g.AMR = []string{"pwd", "otp"}
	g.ACR = "urn:mace:incommon:iap:silver"
	g.Confirmation = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
	g.KeyID = 65535
	return n
}

func grantFields(f *fixture) {
	n := full(f)
	before := f.look()
	f.must(f.CreateGrant(f.Context(), n), "create grant")
	now := f.clock.stored()

	want := n.Grant
	want.AuthTime = stored(want.AuthTime)
	want.CreatedAt, want.LastUsedAt, want.RotatedAt = now, now, now
	want.IdleExpiresAt, want.AbsoluteExpiresAt = now.Add(idleLifetime), now.Add(absoluteLifetime)
	got := f.read(n.Grant).Grant
	f.same(got, want, "grant read by ID")
	f.asStored("grant read by ID", grantTimes(got)...)
	v, err := f.GrantByPublicID(f.Context(), n.Grant.PublicID)
	f.must(err, "read grant by public ID")
	f.same(v.Grant, want, "grant read by public ID")
	f.asStored("grant read by public ID", append(grantTimes(v.Grant), v.Now)...)
	f.same(f.look().Grants[n.Grant.PublicID], want, "grant in the list")
	f.onlyChanged(before, "create grant", n.Grant)
}

func grantEmptyFields(f *fixture) {
	n := newGrant("empty", f.alice, f.web)
	n.Grant.Scope, n.Grant.AMR = nil, nil
	n.AbsoluteLifetime = 0
	f.must(f.CreateGrant(f.Context(), n), "create grant")
	got := f.read(n.Grant).Grant
	f.same(got, n.Grant, "grant without the store's times", cmpopts.EquateEmpty(),
		cmpopts.IgnoreFields(oauth.Grant{}, "CreatedAt", "LastUsedAt", "RotatedAt", "IdleExpiresAt"))
	for what, t := range map[string]time.Time{"AuthTime": got.AuthTime, "RevokedAt": got.RevokedAt, "AbsoluteExpiresAt": got.AbsoluteExpiresAt} {
		if !t.IsZero() {
			f.Errorf("%s is %v, want the zero time", what, t)
		}
	}
}

func grantTimesAtCreation(f *fixture) {
	for _, c := range []struct {
		name                     string
		idle, absolute           time.Duration
		wantIdle, wantAbsolute   time.Duration
		wantNever, callerHadTime bool
	}{
		{name: "idle shorter", idle: time.Hour, absolute: 2 * time.Hour, wantIdle: time.Hour, wantAbsolute: 2 * time.Hour},
		{name: "idle longer", idle: 2 * time.Hour, absolute: time.Hour, wantIdle: time.Hour, wantAbsolute: time.Hour},
		{name: "no absolute end", idle: time.Hour, wantIdle: time.Hour, wantNever: true},
		{name: "no absolute end, times given", idle: time.Hour, wantIdle: time.Hour, wantNever: true, callerHadTime: true},
		{name: "times given", idle: time.Hour, absolute: 2 * time.Hour, wantIdle: time.Hour, wantAbsolute: 2 * time.Hour, callerHadTime: true},
	} {
		n := newGrant(c.name, f.bob, f.app)
		n.IdleLifetime, n.AbsoluteLifetime = c.idle, c.absolute
		if c.callerHadTime {
			past := f.clock.Now().Add(-time.Hour)
			g := &n.Grant
			g.CreatedAt, g.LastUsedAt, g.RotatedAt, g.IdleExpiresAt, g.AbsoluteExpiresAt = past, past, past, past, past
		}
		f.must(f.CreateGrant(f.Context(), n), "create grant: "+c.name)
		now, g := f.clock.stored(), f.read(n.Grant).Grant
		wantAbsolute := now.Add(c.wantAbsolute)
		if c.wantNever {
			wantAbsolute = time.Time{}
		}
		f.same([]time.Time{g.CreatedAt, g.LastUsedAt, g.RotatedAt, g.IdleExpiresAt, g.AbsoluteExpiresAt},
			[]time.Time{now, now, now, now.Add(c.wantIdle), wantAbsolute},
			c.name+": created, last used, rotated, idle end, absolute end")
	}
}

// createConditions breaks one condition of CreateGrant at a time.
func createConditions(f *fixture) {
	for _, c := range []struct {
		name string
		make func(n *oauth.NewGrant)
	}{
		{"subject unknown", func(n *oauth.NewGrant) { n.Grant.Subject = "nobody" }},
		{"epoch raised since", func(n *oauth.NewGrant) { n.Grant.SubjectEpoch-- }},
		{"epoch of the future", func(n *oauth.NewGrant) { n.Grant.SubjectEpoch++ }},
		{"client unknown", func(n *oauth.NewGrant) { n.Grant.ClientID = "none" }},
		{"client unknown, version 0", func(n *oauth.NewGrant) { n.Grant.ClientID, n.ClientVersion = "none", 0 }},
		{"client changed since", func(n *oauth.NewGrant) { n.ClientVersion-- }},
		{"client version of the future", func(n *oauth.NewGrant) { n.ClientVersion++ }},
		{"client version 0", func(n *oauth.NewGrant) { n.ClientVersion = 0 }},
		{"disabled", func(n *oauth.NewGrant) { f.setState(f.alice, false, oauth.SubjectActive) }},
		{"locked", func(n *oauth.NewGrant) { f.setState(f.alice, true, oauth.SubjectLocked) }},
		{"reset", func(n *oauth.NewGrant) { f.setState(f.alice, true, oauth.SubjectReset) }},
		{"subject gone", func(n *oauth.NewGrant) { f.must(f.DeleteUser(f.Context(), f.alice.ID, act("")), "delete user") }},
	} {
		n := newGrant(c.name, f.alice, f.web)
		n.MaxGrants = 1 // a grant that is not made supersedes none
		c.make(&n)
		before := f.look()
		f.wantError(f.CreateGrant(f.Context(), n), oauth.ErrConflict, "create grant: "+c.name)
		f.onlyChanged(before, "create grant: "+c.name)
		f.noEvents(n.Event.RequestID, "create grant: "+c.name)
		_, err := f.Grant(f.Context(), n.Grant.ID)
		f.wantError(err, oauth.ErrNotFound, "read the grant that was not made: "+c.name)
	}
}

func (f *fixture) setState(u oauth.User, enabled bool, state oauth.SubjectState) {
	f.Helper()
	f.must(f.SetUserState(f.Context(), u.ID, &enabled, state, act("")), "set state of "+u.Username)
}

func createTwice(f *fixture) {
	sameID := newGrant("grant", f.bob, f.app)
	sameID.Grant.PublicID = "another"
	samePublicID := newGrant("another", f.bob, f.app)
	samePublicID.Grant.PublicID = f.grant.PublicID
	for what, n := range map[string]oauth.NewGrant{"ID": sameID, "public ID": samePublicID} {
		n.Event.RequestID = "again"
		before := f.look()
		if err := f.CreateGrant(f.Context(), n); err == nil {
			f.Errorf("create a grant with an %s that is taken: got no error", what)
		}
		f.onlyChanged(before, "create a grant with an "+what+" that is taken")
		f.noEvents("again", "create a grant with an "+what+" that is taken")
	}
}

func createEvent(f *fixture) {
	want := newGrant("grant", f.alice, f.web).Event
	got := f.oneEvent("login grant", "create grant")
	want.At, want.Count, want.LastAt = f.grant.CreatedAt, got.Count, got.LastAt
	f.same(got, want, "event of the login")
}

// supersede uses the older of two grants again: the younger one is idle longest then.
func supersede(f *fixture) {
	f.sibling = f.rotate(f.sibling)
	f.clock.advance(time.Minute)
	before := f.look()
	n := newGrant("third", f.alice, f.web)
	n.MaxGrants = 3
	f.must(f.CreateGrant(f.Context(), n), "create the third of three grants")
	f.onlyChanged(before, "create the third of three grants", n.Grant)

	before = f.look()
	n = newGrant("fourth", f.alice, f.web)
	n.MaxGrants = 3
	f.must(f.CreateGrant(f.Context(), n), "create the fourth of three grants")
	f.onlyChanged(before, "create the fourth of three grants", n.Grant, f.grant)
	f.wantRevoked(f.grant, "superseded")

	before = f.look()
	n = newGrant("fifth", f.alice, f.web)
	n.MaxGrants = 3 // the revoked one does not count: one more is enough
	f.must(f.CreateGrant(f.Context(), n), "create the fifth of three grants")
	f.onlyChanged(before, "create the fifth of three grants", n.Grant, f.sibling)
	f.wantRevoked(f.sibling, "superseded")

	f.revoke(n.Grant)
	before = f.look()
	n = newGrant("in place of the revoked fifth", f.alice, f.web)
	n.MaxGrants = 3
	f.must(f.CreateGrant(f.Context(), n), "create a grant in place of a revoked one")
	f.onlyChanged(before, "create a grant in place of a revoked one", n.Grant)

	n = newGrant("without a limit", f.alice, f.web)
	before = f.look()
	f.must(f.CreateGrant(f.Context(), n), "create a grant without a limit")
	f.onlyChanged(before, "create a grant without a limit", n.Grant)
}

// wantRevoked checks that a grant was revoked just now, and else is what it was.
func (f *fixture) wantRevoked(was oauth.Grant, reason string) {
	f.Helper()
	got := f.read(was).Grant
	if got.Version <= was.Version {
		f.Errorf("the version of %s was %d and is %d after its revocation, want it raised", was.PublicID, was.Version, got.Version)
	}
	was.Version = got.Version
	was.Status, was.RevokedAt, was.RevokedReason = oauth.GrantRevoked, f.clock.stored(), reason
	f.same(got, was, was.PublicID+" as revoked for "+reason)
	f.asStored(was.PublicID, grantTimes(got)...)
}

func supersedeClockBack(f *fixture) {
	f.clock.advance(-24 * time.Hour)
	n := newGrant("third", f.alice, f.web)
	n.MaxGrants = 1
	f.must(f.CreateGrant(f.Context(), n), "create grant, the clock having jumped back")
	if g := f.read(n.Grant).Grant; g.Status != oauth.GrantActive {
		f.Errorf("the new grant is %s (%s), want active", g.Status, g.RevokedReason)
	}
}

func supersedeOthers(f *fixture) {
	before := f.look()
	n := newGrant("second of bob at web", f.bob, f.web)
	n.MaxGrants = 2
	f.must(f.CreateGrant(f.Context(), n), "create the second of two grants")
	f.onlyChanged(before, "create the second of two grants, while others have more", n.Grant)
}

func view(f *fixture) {
	f.setState(f.alice, false, oauth.SubjectReset)
	f.must(f.SetPassword(f.Context(), f.alice.ID, "new", true, act("")), "set password")
	c := f.client("web")
	c.Active = false
	f.must(f.UpdateClient(f.Context(), c, act("")), "update client")
	want := oauth.GrantView{
		Grant: f.look().Grants[f.grant.PublicID], Subject: f.user("alice").Subject, SubjectExists: true,
		ClientVersion: f.client("web").Version, ClientActive: false, Now: f.clock.advance(time.Second),
	}
	if want.Subject.Epoch == f.grant.SubjectEpoch {
		f.Errorf("a new password that ends all grants left the epoch at %d", want.Subject.Epoch)
	}
	f.sameViews(want)

	c = f.client("web")
	c.Active = true
	f.must(f.UpdateClient(f.Context(), c, act("")), "update client")
	want.ClientVersion, want.ClientActive = f.client("web").Version, true
	f.sameViews(want)
}

// sameViews reads the view of a grant in each of the three ways.
func (f *fixture) sameViews(want oauth.GrantView) {
	f.Helper()
	f.same(f.read(want.Grant), want, "view by ID")
	v, err := f.GrantByPublicID(f.Context(), want.Grant.PublicID)
	f.must(err, "read grant by public ID")
	f.same(v, want, "view by public ID")
	v, err = f.ConfirmGrant(f.Context(), want.Grant.ID)
	f.must(err, "confirm grant")
	f.same(v, want, "confirmed view")
	_, err = f.ConfirmGrant(f.Context(), oauth.GrantID{1})
	f.wantError(err, oauth.ErrNotFound, "confirm a grant that does not exist")
	list, err := f.Grants(f.Context(), admin.GrantFilter{PublicID: want.Grant.PublicID})
	f.must(err, "list grants")
	f.same(list, []oauth.GrantView{want}, "views in the list")
	f.asStored("the store's clock", v.Now, f.read(want.Grant).Now, list[0].Now)
}

func viewWithoutSubject(f *fixture) {
	f.must(f.DeleteUser(f.Context(), f.alice.ID, act("")), "delete user")
	again := f.alice
	again.ID = "another id"
	f.must(f.CreateUser(f.Context(), again, act("")), "create another user of the same name")
	if v := f.read(f.grant); v.SubjectExists {
		f.Errorf("the view shows the subject %+v, want none", v.Subject)
	}
}

func viewWithoutClient(f *fixture) {
	f.must(f.DeleteClient(f.Context(), "web", act("")), "delete client")
	if v := f.read(f.grant); v.ClientVersion != 0 || v.ClientActive {
		f.Errorf("the view shows the client version %d, active %t; want 0, false", v.ClientVersion, v.ClientActive)
	}
}

func listGrants(f *fixture) {
	f.must(f.RevokeGrant(f.Context(), f.grant.ID, "test", act("")), "revoke grant")
	f.rotate(f.read(f.sibling).Grant)
	all := []string{"grant", "sibling", "alice at app", "bob at web", "bob at app"}
	for _, c := range []struct {
		filter admin.GrantFilter
		want   []string
	}{
		{admin.GrantFilter{}, all},
		{admin.GrantFilter{Limit: 2}, all[:2]},
		{admin.GrantFilter{Limit: 9}, all},
		{admin.GrantFilter{Subject: f.alice.ID}, []string{"grant", "sibling", "alice at app"}},
		{admin.GrantFilter{Subject: f.alice.ID, Limit: 1}, []string{"grant"}},
		{admin.GrantFilter{ClientID: "app"}, []string{"alice at app", "bob at app"}},
		{admin.GrantFilter{Subject: f.bob.ID, ClientID: "web"}, []string{"bob at web"}},
		{admin.GrantFilter{PublicID: "public sibling"}, []string{"sibling"}},
		{admin.GrantFilter{PublicID: "public sibling", Subject: f.bob.ID}, nil},
		{admin.GrantFilter{Subject: "nobody"}, nil},
		{admin.GrantFilter{ClientID: "none"}, nil},
		{admin.GrantFilter{PublicID: "public nothing"}, nil},
	} {
		views, err := f.Grants(f.Context(), c.filter)
		f.must(err, "list grants")
		var got []string
		for _, v := range views {
			got = append(got, v.Grant.PublicID[len("public "):])
		}
		f.same(got, c.want, "grants that fit the filter")
	}
}

func grantCopies(f *fixture) {
	n := full(f)
	f.must(f.CreateGrant(f.Context(), n), "create grant")
	want := full(f).Grant
	scribble := func(g *oauth.Grant) {
		g.Scope[0], g.Resource[0], g.AMR[0] = "changed", "changed", "changed"
	}
	scribble(&n.Grant)
	for range 2 {
		got := f.read(n.Grant).Grant
		f.same([][]string{got.Scope, got.Resource, got.AMR}, [][]string{want.Scope, want.Resource, want.AMR},
			"scope, resource and amr after a caller changed its own lists")
		scribble(&got)
	}
}
