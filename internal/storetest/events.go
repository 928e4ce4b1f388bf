package storetest

import (
	"strconv"
	"time"

	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/counterfoil/counterfoil/internal/admin"
	"github.com/counterfoil/counterfoil/internal/oauth"
)

var eventCases = []testCase{
	{"every field comes back", eventFields},
	{"the events of a request, oldest first", eventOrder},
	{"refusals of a grant for a reason share an event", sharedRefusals},
	{"refusals of grants that are gone are shared by the client", sharedWithoutGrant},
	{"noted refusals are seen", notedRefusals},
	{"a refusal recorded and noted is one event", recordedAndNoted},
	{"noting never waits", notingManyRefusals},
	{"a refresh is none", refreshIsNoEvent},
	{"an event needs neither client nor subject", eventOfNobody},
}

// fullEvent is an event with every field set that a caller sets.
func fullEvent(t oauth.EventType, requestID string) oauth.Event {
	return oauth.Event{
		Type: t, Reason: "reason_" + string(t), RequestID: requestID, ClientID: "web", Subject: "id of alice", GrantID: "public grant",
		Source: "2001:db8::/56", Detail: "für \"people\" ☃",
	}
}

func eventFields(f *fixture) {
	for _, eventType := range []oauth.EventType{oauth.EventLogin, oauth.EventRefusal, oauth.EventRevocation, oauth.EventAdministration} {
		want := fullEvent(eventType, "request "+string(eventType))
		given := want
		given.At, given.LastAt = f.clock.Now().Add(-time.Hour), f.clock.Now().Add(-time.Hour) // the store's to say
		before := f.look()
		f.must(f.RecordEvent(f.Context(), given), "record event")
		f.onlyChanged(before, "record event")
		got := f.oneEvent(want.RequestID, "record event")
		want.At = f.clock.stored()
		f.same(got, want, "event", cmpopts.IgnoreFields(oauth.Event{}, "Count", "LastAt"))
		f.asStored("event", got.At, got.LastAt)
	}
}

func eventOrder(f *fixture) {
	for i, requestID := range []string{"a", "b", "a", "A", "a ", "a"} {
		f.clock.advance(time.Second)
		e := act(requestID)
		e.Detail = strconv.Itoa(i)
		f.must(f.RecordEvent(f.Context(), e), "record event")
	}
	var got []string
	for _, e := range f.events("a") {
		got = append(got, e.Detail)
	}
	f.same(got, []string{"0", "2", "5"}, "details of the events of the request")
	f.noEvents("c", "events of a request that had none")
}

// refuse records a refusal.
func (f *fixture) refuse(e oauth.Event) {
	f.Helper()
	f.must(f.RecordRefusal(f.Context(), e), "record refusal")
}

func sharedRefusals(f *fixture) {
	first := f.clock.advance(time.Second)
	before := f.look()
	want := fullEvent(oauth.EventRefusal, "first")
	f.refuse(want)
	want.At, want.Count, want.LastAt = first, 1, first
	f.same(f.oneEvent("first", "first refusal"), want, "event of the first refusal")

	var last time.Time
	for n := 2; n <= 5; n++ {
		again := fullEvent(oauth.EventRefusal, "again "+strconv.Itoa(n))
		again.Source = "192.0.2.0/24"
		last = f.clock.advance(time.Minute)
		f.refuse(again)
	}
	want.Count, want.LastAt = 5, last
	f.same(f.oneEvent("first", "five refusals"), want, "event of five refusals, found by the first")
	f.same(f.oneEvent("again 5", "five refusals"), want, "event of five refusals, found by the latest")

	for what, change := range map[string]func(*oauth.Event){
		"another grant":  func(e *oauth.Event) { e.GrantID = "public sibling" },
		"another reason": func(e *oauth.Event) { e.Reason = "another" },
	} {
		other := fullEvent(oauth.EventRefusal, what)
		change(&other)
		f.refuse(other)
		if got := f.oneEvent(what, what); got.Count != 1 {
			f.Errorf("the event of %s counts %d, want 1", what, got.Count)
		}
	}
	f.must(f.RecordEvent(f.Context(), fullEvent(oauth.EventRefusal, "recorded")), "record event")
	f.same(f.oneEvent("first", "other events"), want, "event of five refusals after other events")
	f.onlyChanged(before, "record refusals")
}

// sharedWithoutGrant: one old token must not fill the table with rows.
func sharedWithoutGrant(f *fixture) {
	refusal := func(requestID, clientID string) oauth.Event {
		return oauth.Event{Type: oauth.EventRefusal, Reason: "grant_unknown", RequestID: requestID, ClientID: clientID}
	}
	f.refuse(refusal("first", "web"))
	f.refuse(refusal("other client", "app"))
	f.refuse(refusal("again", "web"))
	for requestID, want := range map[string]int{"first": 2, "other client": 1} {
		if got := f.oneEvent(requestID, "refusal without a grant").Count; got != want {
			f.Errorf("the event of the request %q counts %d, want %d", requestID, got, want)
		}
	}
}

// eventually waits until a request has n events, as noted ones are written in the
// background.
func (f *fixture) eventually(requestID string, n int) []oauth.Event {
	f.Helper()
	deadline, tick := time.NewTimer(20*time.Second), time.NewTicker(2*time.Millisecond)
	defer deadline.Stop()
	defer tick.Stop()
	for {
		events := f.events(requestID)
		if len(events) == n {
			return events
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			f.Fatalf("the request %q has %d events %+v after 20 s, want %d", requestID, len(events), events, n)
		}
	}
}

func notedRefusals(f *fixture) {
	before := f.look()
	want := fullEvent(oauth.EventRefusal, "noted")
	f.NoteRefusal(want)
	want.At = f.clock.stored()
	got := f.eventually("noted", 1)[0]
	f.same(got, want, "noted event", cmpopts.IgnoreFields(oauth.Event{}, "Count", "LastAt"))
	f.asStored("noted event", got.At, got.LastAt)

	for i := range 3 { // what was noted for one grant and reason is not shared
		f.clock.advance(time.Second)
		f.NoteRefusal(fullEvent(oauth.EventRefusal, "more "+strconv.Itoa(i)))
	}
	for i := range 3 {
		f.eventually("more "+strconv.Itoa(i), 1)
	}
	f.clock.advance(time.Second)
	recorded := act("noted")
	recorded.Reason = "recorded"
	f.must(f.RecordEvent(f.Context(), recorded), "record event")
	events := f.eventually("noted", 2)
	if events[0].Reason != want.Reason || events[1].Reason != "recorded" {
		f.Errorf("events are %q, %q; want the older first: %q, %q", events[0].Reason, events[1].Reason, want.Reason, "recorded")
	}
	f.onlyChanged(before, "note refusals")
}

func recordedAndNoted(f *fixture) {
	e := fullEvent(oauth.EventRefusal, "both")
	f.refuse(e)
	f.NoteRefusal(e)
	later := fullEvent(oauth.EventRefusal, "later")
	later.Reason = "another"
	f.NoteRefusal(later)
	f.eventually("later", 1) // then the one before it was written too
	f.oneEvent("both", "a refusal both recorded and noted")
}

func notingManyRefusals(f *fixture) {
	for range 30_000 {
		f.NoteRefusal(fullEvent(oauth.EventRefusal, "many"))
	}
	f.rotate(f.grant) // nobody waits for what was noted
	f.clock.advance(time.Second)
	for deadline := time.Now().Add(20 * time.Second); ; { // it may forget, but not for ever
		f.NoteRefusal(fullEvent(oauth.EventRefusal, "after"))
		if len(f.events("after")) > 0 {
			return
		}
		if time.Now().After(deadline) {
			f.Fatalf("nothing that was noted after many refusals is seen within 20 s")
		}
	}
}

// refreshIsNoEvent counts the events, by what a clean-up would remove, before and
// after everything that must leave no row.
func refreshIsNoEvent(f *fixture) {
	f.clock.advance(time.Second)
	all := admin.Cleanup{Events: time.Microsecond, DryRun: true}
	want := f.clean(all)
	old, g := f.grant, f.rotate(f.grant)
	f.must(f.RetryGrant(f.Context(), &g, f.web.Version, 100), "retry grant")
	f.wantError(f.SwapGrant(f.Context(), &old, &g, f.web.Version), oauth.ErrConflict, "swap an old version")
	f.rotate(f.rotate(g))
	f.fail(keysOf("s", "a"))
	f.must(f.ReplacePasswordHash(f.Context(), f.alice.ID, f.alice.PasswordHash, "new"), "replace password hash")
	f.clock.advance(time.Second)
	f.wantRemoved(f.clean(all), want, "after refreshes")
}

func eventOfNobody(f *fixture) {
	e := fullEvent(oauth.EventRefusal, "nobody")
	e.ClientID, e.Subject, e.GrantID = "none", "nobody", "public nothing"
	f.refuse(e)
	f.same(f.oneEvent("nobody", "refusal of nobody").ClientID, "none", "client of the event")
	f.must(f.DeleteClient(f.Context(), "web", act("")), "delete client")
	f.must(f.DeleteUser(f.Context(), f.alice.ID, act("")), "delete user")
	f.same(f.oneEvent("login grant", "deletion of client and user").Subject, "", "subject of the event of the login")
	late := fullEvent(oauth.EventRefusal, "late")
	f.refuse(late)
	f.same(f.oneEvent("late", "refusal of a deleted subject").Subject, f.alice.ID, "subject of the event")
}
