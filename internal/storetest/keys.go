package storetest

import (
	"time"

	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/counterfoil/counterfoil/internal/oauth"
	"github.com/counterfoil/counterfoil/internal/signing"
)

var keyCases = []testCase{
	{"there are none at revision 0", noSigningKeys},
	{"every field comes back, oldest first", signingKeyFields},
	{"the set is replaced", replaceSigningKeys},
	{"the set of another revision", replaceSigningKeysConflict},
	{"what is given and got is a copy", signingKeyCopies},
	{"check values of master keys", masterKeyChecks},
	{"uses of a master key by grants", masterKeyUseGrants},
	{"uses of a master key by secrets and signing keys", masterKeyUseOthers},
}

// wantKeys compares the signing keys and their revision.
func (f *fixture) wantKeys(want []signing.Key, revision int64, when string) {
	f.Helper()
	got, gotRevision, err := f.SigningKeys(f.Context())
	f.must(err, "read signing keys")
	f.same(got, want, when+": signing keys", cmpopts.EquateEmpty())
	if gotRevision != revision {
		f.Errorf("%s: revision %d, want %d", when, gotRevision, revision)
	}
	for _, k := range got {
		f.asStored(when+": key "+k.ID, k.PublishedAt, k.ActiveAt, k.RetiredAt, k.ExpiresAt)
	}
}

// replace replaces the set of signing keys and returns the new revision.
func (f *fixture) replace(revision int64, keys ...signing.Key) int64 {
	f.Helper()
	f.must(f.ReplaceSigningKeys(f.Context(), revision, keys, act("keys")), "replace signing keys")
	_, now, err := f.SigningKeys(f.Context())
	f.must(err, "read signing keys")
	if now <= revision {
		f.Errorf("the revision was %d and is %d, want it raised", revision, now)
	}
	return now
}

func noSigningKeys(f *fixture) { f.wantKeys(nil, 0, "at first") }

// someKeys are a waiting, an active and a retired key, in this order.
func someKeys(f *fixture) []signing.Key {
	now := f.clock.Now()
	return []signing.Key{
		{ID: "waiting", Alg: "EdDSA", MasterKeyID: 2, Sealed: []byte{3, 0}, PublishedAt: now},
		{ID: "active", Alg: "RS256", MasterKeyID: 65535, Sealed: []byte{2, 0xff}, PublishedAt: now.Add(-time.Hour), ActiveAt: now.Add(-time.Minute)},
		{
			ID: "retired", Alg: "RS256", MasterKeyID: 1, Sealed: []byte("PKCS#8"), PublishedAt: now.Add(-2 * time.Hour),
			ActiveAt: now.Add(-2 * time.Hour), RetiredAt: now.Add(-time.Minute), ExpiresAt: now.Add(time.Hour),
		},
	}
}

// oldestFirst are the same keys as they must come back.
func oldestFirst(keys []signing.Key) []signing.Key {
	var want []signing.Key
	for i := range keys {
		k := keys[len(keys)-1-i]
		k.PublishedAt, k.ActiveAt, k.RetiredAt, k.ExpiresAt = stored(k.PublishedAt), stored(k.ActiveAt), stored(k.RetiredAt), stored(k.ExpiresAt)
		want = append(want, k)
	}
	return want
}

func signingKeyFields(f *fixture) {
	revision := f.replace(0, someKeys(f)...)
	f.wantKeys(oldestFirst(someKeys(f)), revision, "replaced")
	f.oneEvent("keys", "replace signing keys")
}

func replaceSigningKeys(f *fixture) {
	before := f.look()
	keys := oldestFirst(someKeys(f))
	revision := f.replace(0, keys...)
	keys[0].Sealed, keys[0].MasterKeyID = []byte("sealed again"), 2
	keys[1].RetiredAt = f.clock.stored()
	revision = f.replace(revision, keys[:2]...)
	f.wantKeys(keys[:2], revision, "replaced by fewer")
	revision = f.replace(revision)
	f.wantKeys(nil, revision, "replaced by none")
	revision = f.replace(revision, keys...)
	f.wantKeys(keys, revision, "replaced by all again")
	before.Keys, before.Revision = keys, revision
	f.onlyChanged(before, "replace signing keys")
}

func replaceSigningKeysConflict(f *fixture) {
	keys := oldestFirst(someKeys(f))
	first := f.replace(0, keys...)
	revision := f.replace(first, keys[1:]...)
	for _, other := range []int64{0, first, revision + 1, -1} {
		before := f.look()
		err := f.ReplaceSigningKeys(f.Context(), other, keys[:1], act("conflict"))
		f.wantError(err, oauth.ErrConflict, "replace the set of another revision")
		f.onlyChanged(before, "replace the set of another revision")
		f.noEvents("conflict", "replace the set of another revision")
	}
	f.wantKeys(keys[1:], revision, "after conflicts")
}

func signingKeyCopies(f *fixture) {
	given := someKeys(f)
	revision := f.replace(0, given...)
	want := oldestFirst(someKeys(f))
	for _, k := range given {
		k.Sealed[0]++
	}
	f.wantKeys(want, revision, "after the caller changed what it gave")
	got, _, err := f.SigningKeys(f.Context())
	f.must(err, "read signing keys")
	for i := range got {
		got[i].Sealed[0]++
		got[i].ID = "changed"
	}
	f.wantKeys(want, revision, "after the caller changed what it got")
}

func masterKeyChecks(f *fixture) {
	want := map[uint16][]byte{}
	compare := func(when string) {
		f.Helper()
		got, err := f.MasterKeyChecks(f.Context())
		f.must(err, "read master key checks")
		f.same(got, want, when+": master key checks")
	}
	compare("at first")
	before := f.look()
	one, two := []byte("0123456789abcdef"), []byte{0, 255, 2}
	f.must(f.AddMasterKeyCheck(f.Context(), 1, one), "add master key 1")
	f.must(f.AddMasterKeyCheck(f.Context(), 65535, two), "add master key 65535")
	want[1], want[65535] = []byte("0123456789abcdef"), []byte{0, 255, 2}
	compare("added two")
	f.must(f.AddMasterKeyCheck(f.Context(), 1, one), "add the same master key again")
	compare("added one again")
	for _, other := range [][]byte{two, one[:15], nil} {
		f.wantError(f.AddMasterKeyCheck(f.Context(), 1, other), oauth.ErrExists, "add a master key under a number that is taken")
	}
	one[0]++
	got, err := f.MasterKeyChecks(f.Context())
	f.must(err, "read master key checks")
	got[65535][0]++
	delete(got, 1)
	compare("a caller changed its own")
	f.must(f.RemoveMasterKeyCheck(f.Context(), 1), "remove master key 1")
	delete(want, 1)
	compare("removed one")
	f.must(f.AddMasterKeyCheck(f.Context(), 1, two), "add another master key 1")
	want[1] = two
	compare("added another under a number that was removed")
	before.Checks = want
	f.onlyChanged(before, "add and remove master keys")
}

// wantUse compares how many uses a master key has.
func (f *fixture) wantUse(want map[uint16]int, when string) {
	f.Helper()
	got, err := f.MasterKeyUse(f.Context())
	f.must(err, "count uses of master keys")
	for id := range got {
		if got[id] == 0 {
			delete(got, id) // not used, either way
		}
	}
	f.same(got, want, when+": uses of master keys")
}

func masterKeyUseGrants(f *fixture) {
	f.wantUse(map[uint16]int{1: 5}, "five grants")
	next := f.rotated(f.grant)
	next.KeyID = 2
	f.must(f.SwapGrant(f.Context(), &f.grant, &next, f.web.Version), "swap grant")
	f.wantUse(map[uint16]int{1: 4, 2: 1}, "one grant went on under another key")
	f.revoke(f.sibling)
	f.wantUse(map[uint16]int{1: 3, 2: 1}, "one grant revoked")
	f.clock.advance(f.read(f.grant).Grant.IdleExpiresAt.Sub(f.clock.stored()) - time.Microsecond)
	f.wantUse(map[uint16]int{2: 1}, "a microsecond before the last grant ends")
	f.clock.advance(time.Microsecond)
	f.wantUse(map[uint16]int{}, "when the last grant ended")
}

func masterKeyUseOthers(f *fixture) {
	c := f.web
	c.Secrets = []oauth.ClientSecret{
		{Hash: "$hmac-sha256$7$one"},
		{Hash: "$hmac-sha256$8$two", ExpiresAt: f.clock.stored().Add(time.Hour)},
		{Hash: "$argon2id$v=19$m=8,t=1,p=1$c2FsdA$aGFzaA"},
	}
	f.must(f.UpdateClient(f.Context(), c, act("")), "update client")
	app := f.app
	app.Secrets = []oauth.ClientSecret{{Hash: "$hmac-sha256$7$three"}}
	f.must(f.UpdateClient(f.Context(), app, act("")), "update client")
	f.replace(0, someKeys(f)...)
	f.wantUse(map[uint16]int{1: 5 + 1, 2: 1, 7: 2, 8: 1, 65535: 1}, "grants, secrets and signing keys")
	f.clock.advance(time.Hour)
	f.wantUse(map[uint16]int{1: 5 + 1, 2: 1, 7: 2, 65535: 1}, "when a secret ended")
	f.must(f.DeleteClient(f.Context(), "app", act("")), "delete client")
	f.wantUse(map[uint16]int{1: 3 + 1, 2: 1, 7: 1, 65535: 1}, "a client and its two grants deleted")
}
