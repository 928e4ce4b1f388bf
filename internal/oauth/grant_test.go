package oauth

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

// testKeys returns two master keys, 7 being the active one.
func testKeys(t testing.TB) *Keys {
	t.Helper()
	keys, err := ParseKeys("# comment\n7 " + strings.Repeat("A", 43) + "\n\n3 " + strings.Repeat("B", 42) + "A\n")
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

var rotatedAt = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// scene is a grant at generation 5, rotated a second ago, and its newest token.
type scene struct {
	view   *GrantView
	p      Presentation
	policy Policy
	keys   *Keys
}

func secretOf(generation int64) RefreshSecret { return RefreshSecret{byte(generation), 0xAA} }

func newScene(t testing.TB) *scene {
	keys := testKeys(t)
	g := Grant{
		ID: GrantID{1}, PublicID: "public", Version: 6, ClientID: "client", Subject: "subject", SubjectEpoch: 2,
		Scope: Scope{"read", "write"}, Resource: []string{"https://api.example.com"}, Status: GrantActive, Generation: 5, KeyID: 3,
		RotatedAt: rotatedAt, IdleExpiresAt: rotatedAt.Add(time.Hour), AbsoluteExpiresAt: rotatedAt.Add(2 * time.Hour),
		CreatedAt: rotatedAt.Add(-time.Hour), LastUsedAt: rotatedAt,
	}
	g.CurrentHash, _ = keys.hash(3, g.ID, 5, secretOf(5))
	g.PreviousHash, _ = keys.hash(3, g.ID, 4, secretOf(4))
	s := &scene{
		view: &GrantView{
			Grant: g, SubjectExists: true, ClientVersion: 1, ClientActive: true, Now: rotatedAt.Add(time.Second),
			Subject: Subject{ID: "subject", Username: "user", Epoch: 2, Enabled: true, State: SubjectActive},
		},
		policy: Policy{
			RefreshTokenLifetime: time.Hour, AbsoluteLifetime: 24 * time.Hour, RetryWindow: time.Minute, LateWindow: 10 * time.Second,
			RetryBudget: 3, AnyScope: true,
		},
		keys: keys,
	}
	s.p = Presentation{ClientID: "client"}
	s.present(5)
	return s
}

// present makes the token of a generation the presented one.
func (s *scene) present(generation int64) {
	s.p.Token = RefreshToken{KeyID: 7, GrantID: s.view.Grant.ID, Generation: uint32(generation), Secret: secretOf(generation)}
}

// elapsed sets the time since the last rotation.
func (s *scene) elapsed(d time.Duration) { s.view.Now = rotatedAt.Add(d) }

// later moves the ends of the grant far away.
func (s *scene) later() {
	s.view.Grant.IdleExpiresAt, s.view.Grant.AbsoluteExpiresAt = rotatedAt.Add(1000*time.Hour), time.Time{}
	s.policy.RefreshTokenLifetime, s.policy.AbsoluteLifetime = 1000*time.Hour, 0
}

// TestPresent holds every row of the table of docs/rotation.md, and its edges, to Present.
func TestPresent(t *testing.T) {
	t.Parallel()
	const nanosecond = time.Nanosecond
	cases := []struct {
		name    string
		change  func(s *scene)
		row     string
		action  Action
		refusal error
	}{
		{"P1 no such grant", func(s *scene) { s.view = nil }, "P1", ActionRefuse, ErrGrantUnknown},
		{"P2 another client", func(s *scene) { s.p.ClientID = "Client" }, "P2", ActionRefuse, ErrGrantOfAnotherClient},
		{"P2 before P3", func(s *scene) { s.p.ClientID = "x"; s.elapsed(time.Hour) }, "P2", ActionRefuse, ErrGrantOfAnotherClient},
		{"P2 does not revoke a replay", func(s *scene) { s.p.ClientID = "x"; s.present(0) }, "P2", ActionRefuse, ErrGrantOfAnotherClient},
		{"P3 idle lifetime over", func(s *scene) { s.elapsed(time.Hour) }, "P3", ActionRefuse, ErrGrantExpired},
		{"P3 idle lifetime almost over", func(s *scene) { s.elapsed(time.Hour - nanosecond) }, "R1", ActionRotate, nil},
		{"P3 absolute lifetime over", func(s *scene) { s.view.Grant.AbsoluteExpiresAt = s.view.Now }, "P3", ActionRefuse, ErrGrantExpired},
		{"P3 absolute lifetime almost over", func(s *scene) { s.view.Grant.AbsoluteExpiresAt = s.view.Now.Add(nanosecond) }, "R1", ActionRotate, nil},
		{"P3 policy of the idle lifetime tightened", func(s *scene) { s.policy.RefreshTokenLifetime = time.Second }, "P3", ActionRefuse, ErrGrantExpired},
		{"P3 policy of the absolute lifetime tightened", func(s *scene) { s.policy.AbsoluteLifetime = time.Hour + time.Second }, "P3", ActionRefuse, ErrGrantExpired},
		{"P3 policy loosened does not lengthen", func(s *scene) {
			s.policy.RefreshTokenLifetime, s.policy.AbsoluteLifetime = 99*time.Hour, 0
			s.elapsed(time.Hour)
		}, "P3", ActionRefuse, ErrGrantExpired},
		{"P3 before P4", func(s *scene) { s.elapsed(time.Hour); s.view.SubjectExists = false }, "P3", ActionRefuse, ErrGrantExpired},
		{"P3 does not revoke a replay", func(s *scene) { s.elapsed(time.Hour); s.present(0) }, "P3", ActionRefuse, ErrGrantExpired},
		{"P4 subject gone", func(s *scene) { s.view.SubjectExists = false }, "P4", ActionRefuse, ErrSubjectGone},
		{"P5 disabled", func(s *scene) { s.view.Subject.Enabled = false }, "P5", ActionRefuse, ErrSubjectDisabled},
		{"P5 locked", func(s *scene) { s.view.Subject.State = SubjectLocked }, "P5", ActionRefuse, ErrSubjectLocked},
		{"P5 reset", func(s *scene) { s.view.Subject.State = SubjectReset }, "P5", ActionRefuse, ErrSubjectReset},
		{"P5 before P6", func(s *scene) { s.view.Subject.Enabled = false; s.view.Grant.Status = GrantRevoked }, "P5", ActionRefuse, ErrSubjectDisabled},
		{"P5 changes nothing at a replay", func(s *scene) { s.view.Subject.Enabled = false; s.present(0) }, "P5", ActionRefuse, ErrSubjectDisabled},
		{"P6 revoked", func(s *scene) { s.view.Grant.Status = GrantRevoked }, "P6", ActionRefuse, ErrGrantRevoked},
		{"P6 epoch raised", func(s *scene) { s.view.Subject.Epoch++ }, "P6", ActionRefuse, ErrGrantRevoked},
		{"P6 before X2", func(s *scene) { s.view.Subject.Epoch++; s.present(0) }, "P6", ActionRefuse, ErrGrantRevoked},
		{"P7 no key", func(s *scene) { s.view.Grant.Confirmation = "key" }, "P7", ActionRefuse, ErrKeyBindingMismatch},
		{"P7 another key", func(s *scene) { s.view.Grant.Confirmation = "key"; s.p.Thumbprint = "other" }, "P7", ActionRefuse, ErrKeyBindingMismatch},
		{"P7 the key", func(s *scene) { s.view.Grant.Confirmation = "key"; s.p.Thumbprint = "key" }, "R1", ActionRotate, nil},
		{"P7 never counts as reuse", func(s *scene) { s.view.Grant.Confirmation = "key"; s.present(0) }, "P7", ActionRefuse, ErrKeyBindingMismatch},
		{"Y2 a generation to come", func(s *scene) { s.present(6) }, "Y2", ActionRefuse, ErrGenerationUnknown},
		{"Y2 the highest generation", func(s *scene) { s.present(math.MaxUint32) }, "Y2", ActionRefuse, ErrGenerationUnknown},
		{"Y1 current with another secret", func(s *scene) { s.p.Token.Secret[31] ^= 1 }, "Y1", ActionRevoke, ErrHistoryForked},
		{"Y1 previous with another secret", func(s *scene) { s.present(4); s.p.Token.Secret[31] ^= 1 }, "Y1", ActionRevoke, ErrHistoryForked},
		{"Y1 previous with the current secret", func(s *scene) { s.present(4); s.p.Token.Secret = secretOf(5) }, "Y1", ActionRevoke, ErrHistoryForked},
		{"Y1 even in time", func(s *scene) { s.later(); s.elapsed(61 * time.Second); s.present(4); s.p.Token.Secret[0] ^= 1 }, "Y1", ActionRevoke, ErrHistoryForked},
		{"X2 older than two", func(s *scene) { s.present(2) }, "X2", ActionRevoke, ErrReplay},
		{"X2 the first of all", func(s *scene) { s.present(0) }, "X2", ActionRevoke, ErrReplay},
		{"X2 older than two within the late window", func(s *scene) { s.elapsed(0); s.present(2) }, "X2", ActionRevoke, ErrReplay},
		{"X2 two behind, late window over", func(s *scene) { s.elapsed(10 * time.Second); s.present(3) }, "X2", ActionRevoke, ErrReplay},
		{"X2 two behind, late window 0", func(s *scene) { s.policy.LateWindow = 0; s.elapsed(0); s.present(3) }, "X2", ActionRevoke, ErrReplay},
		{"X3 two behind, late window open", func(s *scene) { s.elapsed(10*time.Second - nanosecond); s.present(3) }, "X3", ActionRefuse, ErrStraggler},
		{"X3 two behind, at once", func(s *scene) { s.elapsed(0); s.present(3) }, "X3", ActionRefuse, ErrStraggler},
		{"X3 two behind, clock went back", func(s *scene) { s.elapsed(-time.Hour); s.present(3) }, "X3", ActionRefuse, ErrStraggler},
		{"X1 retry window over", func(s *scene) { s.elapsed(time.Minute); s.present(4) }, "X1", ActionRevoke, ErrReplay},
		{"X1 retry window 0", func(s *scene) { s.policy.RetryWindow = 0; s.elapsed(0); s.present(4) }, "X1", ActionRevoke, ErrReplay},
		{"X1 retry window 0, clock went back", func(s *scene) { s.policy.RetryWindow = 0; s.elapsed(-time.Hour); s.present(4) }, "X1", ActionRevoke, ErrReplay},
		{"X1 before S", func(s *scene) { s.elapsed(time.Minute); s.present(4); s.p.Scope = Scope{"admin"} }, "X1", ActionRevoke, ErrReplay},
		{"X2 before S", func(s *scene) { s.present(0); s.p.Scope = Scope{"admin"} }, "X2", ActionRevoke, ErrReplay},
		{"X1 of a reusable client", func(s *scene) { s.policy.Reusable = true; s.elapsed(time.Minute); s.present(4) }, "X1", ActionRevoke, ErrReplay},
		{"S scope outside the grant", func(s *scene) { s.p.Scope = Scope{"read", "admin"} }, "S", ActionRefuse, ErrScopeInvalid},
		{"S scope is case-sensitive", func(s *scene) { s.p.Scope = Scope{"Read"} }, "S", ActionRefuse, ErrScopeInvalid},
		{"S at a retry", func(s *scene) { s.present(4); s.p.Scope = Scope{"admin"} }, "S", ActionRefuse, ErrScopeInvalid},
		{"S scope outside the client's list", func(s *scene) { s.policy.AnyScope = false; s.policy.Scope = Scope{"read"}; s.p.Scope = Scope{"write"} }, "S", ActionRefuse, ErrScopeInvalid},
		{"S resource outside the grant", func(s *scene) { s.p.Resource = []string{"https://other.example.com"} }, "S", ActionRefuse, ErrTargetInvalid},
		{"S resource of the grant", func(s *scene) { s.p.Resource = []string{"https://api.example.com"} }, "R1", ActionRotate, nil},
		{"R2 retry", func(s *scene) { s.present(4) }, "R2", ActionRetry, nil},
		{"R2 retry window almost over", func(s *scene) { s.elapsed(time.Minute - nanosecond); s.present(4) }, "R2", ActionRetry, nil},
		{"R2 clock went back", func(s *scene) { s.elapsed(-time.Hour); s.present(4) }, "R2", ActionRetry, nil},
		{"R2 last of the budget", func(s *scene) { s.view.Grant.Retries = 2; s.present(4) }, "R2", ActionRetry, nil},
		{"R2 budget spent", func(s *scene) { s.view.Grant.Retries = 3; s.present(4) }, "R2", ActionRefuse, ErrRetryBudgetSpent},
		{"R2 of a client that became reusable", func(s *scene) { s.policy.Reusable = true; s.present(4) }, "R2", ActionRetry, nil},
		{"R1 rotate", func(*scene) {}, "R1", ActionRotate, nil},
		{"R1 whatever was retried", func(s *scene) { s.view.Grant.Retries = 99 }, "R1", ActionRotate, nil},
		{"R1 the last generation ends the grant", func(s *scene) {
			s.view.Grant.Generation = math.MaxUint32
			s.view.Grant.CurrentHash, _ = s.keys.hash(3, s.view.Grant.ID, math.MaxUint32, secretOf(5))
			s.p.Token.Generation = math.MaxUint32
		}, "R1", ActionRevoke, ErrGrantExpired},
		{"R1 the last but one", func(s *scene) {
			s.view.Grant.Generation = math.MaxUint32 - 1
			s.view.Grant.CurrentHash, _ = s.keys.hash(3, s.view.Grant.ID, math.MaxUint32-1, secretOf(5))
			s.p.Token.Generation = math.MaxUint32 - 1
		}, "R1", ActionRotate, nil},
		{"R3 reuse", func(s *scene) { s.policy.Reusable = true }, "R3", ActionReuse, nil},

		// Rule 2: later looks of one request.
		{"rule 2: a rotation after the first look has just happened", func(s *scene) {
			s.p.Looks = Looks{Seen: true, At: rotatedAt.Add(50 * time.Minute), Generation: 4}
			s.present(4)
		}, "R2", ActionRetry, nil},
		{"rule 2: two rotations after the first look", func(s *scene) {
			s.p.Looks = Looks{Seen: true, At: rotatedAt.Add(50 * time.Minute), Generation: 3}
			s.present(3)
		}, "X3", ActionRefuse, ErrStraggler},
		{"rule 2: with window 0 a parallel request ends the session", func(s *scene) {
			s.policy.RetryWindow = 0
			s.p.Looks = Looks{Seen: true, At: rotatedAt, Generation: 4}
			s.present(4)
		}, "X1", ActionRevoke, ErrReplay},
		{"rule 2: the time of the first look counts", func(s *scene) {
			s.p.Looks = Looks{Seen: true, At: rotatedAt.Add(59 * time.Second), Generation: 5}
			s.elapsed(5 * time.Minute)
			s.present(4)
		}, "R2", ActionRetry, nil},
		{"rule 2: it counts for the lifetime too", func(s *scene) {
			s.p.Looks = Looks{Seen: true, At: rotatedAt.Add(59 * time.Minute), Generation: 5}
			s.elapsed(2 * time.Hour)
		}, "R1", ActionRotate, nil},
		{"rule 2: unknown outcome, ours or not, is a retry", func(s *scene) {
			s.policy.RetryWindow = 0
			s.p.Looks = Looks{Seen: true, At: rotatedAt, Generation: 4, Unknown: true}
			s.present(4)
		}, "R2", ActionRetry, nil},
		{"rule 2: unknown outcome never finds a replay (two behind)", func(s *scene) {
			s.policy.LateWindow = 0
			s.p.Looks = Looks{Seen: true, At: rotatedAt, Generation: 3, Unknown: true}
			s.present(3)
		}, "X2", ActionRefuse, ErrGrantRevoked},
		{"rule 2: unknown outcome never finds a replay (older)", func(s *scene) {
			s.p.Looks = Looks{Seen: true, At: rotatedAt, Generation: 1, Unknown: true}
			s.present(1)
		}, "X2", ActionRefuse, ErrGrantRevoked},
		{"rule 2: unknown outcome, nothing happened", func(s *scene) {
			s.p.Looks = Looks{Seen: true, At: rotatedAt, Generation: 5, Unknown: true}
		}, "R1", ActionRotate, nil},
		{"rule 2: unknown outcome, revoked meanwhile", func(s *scene) {
			s.p.Looks = Looks{Seen: true, At: rotatedAt, Generation: 5, Unknown: true}
			s.view.Grant.Status = GrantRevoked
		}, "P6", ActionRefuse, ErrGrantRevoked},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			c.change(s)
			var before Grant
			if s.view != nil {
				before = s.view.Grant
			}
			d := Present(s.view, s.p, s.policy, s.keys)
			if d.Row != c.row || d.Action != c.action || !errors.Is(d.Refusal, c.refusal) || (c.refusal == nil) != (d.Refusal == nil) {
				t.Errorf("got row %s, %s, %v; want row %s, %s, %v", d.Row, d.Action, d.Refusal, c.row, c.action, c.refusal)
			}
			if s.view != nil && (before.Generation != s.view.Grant.Generation || before.Version != s.view.Grant.Version || before.Status != s.view.Grant.Status) {
				t.Error("Present changed the grant it was given")
			}
		})
	}
}

// TestPresentScope: the scope of the access token a refresh makes.
func TestPresentScope(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name   string
		change func(s *scene)
		want   Scope
	}{
		{"nothing asked: the grant's", func(*scene) {}, Scope{"read", "write"}},
		{"less asked (RFC 6749 section 6)", func(s *scene) { s.p.Scope = Scope{"write"} }, Scope{"write"}},
		{"nothing wanted", func(s *scene) { s.p.Scope = Scope{} }, Scope{}},
		{"within the client's list", func(s *scene) { s.policy.AnyScope = false; s.policy.Scope = Scope{"write", "other"} }, Scope{"write"}},
		{"no list at the standard endpoint", func(s *scene) { s.policy.AnyScope = false }, Scope{}},
		{"OroCommerce drops an empty one", func(s *scene) { s.view.Grant.Scope = Scope{"read", ""} }, Scope{"read"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			c.change(s)
			before := slices.Clone(s.view.Grant.Scope)
			if d := Present(s.view, s.p, s.policy, s.keys); !slices.Equal(d.Scope, c.want) || d.Scope == nil {
				t.Errorf("got scope %q, want %q", d.Scope, c.want)
			}
			if !slices.Equal(before, s.view.Grant.Scope) {
				t.Errorf("the grant's scope changed from %q to %q", before, s.view.Grant.Scope)
			}
		})
	}
}

// An access token ends with its grant at the latest.
func TestGrantLeft(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	hours := func(n time.Duration) time.Time { return now.Add(n * time.Hour) }
	for _, c := range []struct {
		name  string
		grant Grant
		p     Policy
		want  time.Duration
	}{
		{"new, idle", Grant{}, Policy{RefreshTokenLifetime: 90500 * time.Millisecond}, 90 * time.Second},
		{"new, absolute", Grant{}, Policy{RefreshTokenLifetime: time.Hour, AbsoluteLifetime: time.Minute}, time.Minute},
		{"old, idle slides", Grant{CreatedAt: hours(-9), AbsoluteExpiresAt: hours(9)}, Policy{RefreshTokenLifetime: time.Hour}, time.Hour},
		{"old, absolute", Grant{CreatedAt: hours(-9), AbsoluteExpiresAt: hours(2)}, Policy{RefreshTokenLifetime: 3 * time.Hour}, 2 * time.Hour},
		{"old, a tightened policy", Grant{CreatedAt: hours(-9), AbsoluteExpiresAt: hours(9)}, Policy{RefreshTokenLifetime: 3 * time.Hour, AbsoluteLifetime: 10 * time.Hour}, time.Hour},
		{"over", Grant{CreatedAt: hours(-9), AbsoluteExpiresAt: hours(-1)}, Policy{RefreshTokenLifetime: time.Hour}, 0},
	} {
		if got := c.grant.left(c.p, now); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}
