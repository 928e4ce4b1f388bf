package oauth_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/admin"
	"github.com/counterfoil/counterfoil/internal/oauth"
)

var errDisk = errors.New("the disk is on fire")

// unknownRevocations lets the first n revocations have an unknown outcome; they did
// not happen.
type unknownRevocations struct {
	oauth.Store
	n int
}

func (s *unknownRevocations) RevokeGrant(ctx context.Context, id oauth.GrantID, reason string, e oauth.Event) error {
	if s.n--; s.n >= 0 {
		return fmt.Errorf("revoke: %w", oauth.ErrOutcomeUnknown)
	}
	return s.Store.RevokeGrant(ctx, id, reason, e)
}

// TestReplayStaysOne: a replay that was found is not judged again because its
// revocation stays unknown: whoever presents it gets no successor (rule 2).
func TestReplayStaysOne(t *testing.T) {
	t.Parallel()
	for behind := 1; behind <= 4; behind++ {
		t.Run(fmt.Sprint(behind), func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			old := r.login().RefreshToken
			token := old
			for range behind {
				token = r.mustRefresh(token).RefreshToken
			}
			r.clock.add(10 * time.Minute)
			r.Store = &unknownRevocations{Store: r.memory, n: 8}
			if _, err := r.refresh(old); !isFault(err) {
				t.Errorf("a replay whose revocation is unknown: got %v, want a fault", err)
			}
			if _, err := r.refresh(old); !errors.Is(err, oauth.ErrReplay) {
				t.Errorf("the same again: got %v, want a replay", err)
			}
			if _, err := r.refresh(token); !errors.Is(err, oauth.ErrGrantRevoked) {
				t.Errorf("the newest token after the replay: got %v", err)
			}
		})
	}
}

// TestLaggingNode: a node that does not have the master key of the row yet cannot
// tell a retry from a forked history, and must not revoke (I7).
func TestLaggingNode(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	token := r.login().RefreshToken
	before := r.keys
	after, err := oauth.ParseKeys("2 " + strings.Repeat("E", 43) + "\n1 " + strings.Repeat("A", 43))
	if err != nil {
		t.Fatal(err)
	}
	r.keys = after
	next := r.mustRefresh(token).RefreshToken
	for _, lagging := range []*oauth.Keys{before, before.Missing([]uint16{2})} {
		r.keys = lagging
		if _, err := r.refresh(token); !isFault(err) {
			t.Errorf("a retry at the lagging node: got %v, want a fault", err)
		}
	}
	r.keys = after
	if again := r.mustRefresh(token).RefreshToken; again != next {
		t.Error("two successors")
	}
	r.mustRefresh(next)
}

// TestKeysAreReadAgain: a token under a master key that another node began to use a
// moment ago is no forgery. The keys are read again before it is refused.
func TestKeysAreReadAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	before := r.keys
	after, err := oauth.ParseKeys("2 " + strings.Repeat("E", 43) + "\n1 " + strings.Repeat("A", 43))
	if err != nil {
		t.Fatal(err)
	}
	first := r.login().RefreshToken
	r.keys = after
	token := r.mustRefresh(first).RefreshToken
	r.keys = before
	r.ReloadKeys = func(context.Context) error { return errDisk }
	if _, err := r.refresh(token); !isFault(err) {
		t.Errorf("the keys cannot be read: got %v, want a fault", err)
	}
	r.ReloadKeys = func(context.Context) error { return nil }
	if _, err := r.refresh(token); !errors.Is(err, oauth.ErrRefreshTokenMalformed) {
		t.Errorf("there is no such key: got %v, want a refusal", err)
	}
	r.ReloadKeys = func(context.Context) error { r.keys = after; return nil }
	r.mustRefresh(token)
}

// TestRefusalIsRecordedFirst: the refusal of an authentic token that cannot be
// recorded is a fault (rule 4); a forged one is refused all the same.
func TestRefusalIsRecordedFirst(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	response := r.login()
	views, err := r.memory.Grants(t.Context(), admin.GrantFilter{})
	if err != nil || len(views) != 1 {
		t.Fatal(len(views), err)
	}
	if err := r.memory.RevokeGrant(t.Context(), views[0].Grant.ID, "test", oauth.Event{}); err != nil {
		t.Fatal(err)
	}
	r.faulty.failNext(2, false, errDisk)
	if _, err := r.refresh(response.RefreshToken); !isFault(err) {
		t.Errorf("unrecorded: got %v, want a fault", err)
	}
	if _, err := r.refresh(response.RefreshToken); !errors.Is(err, oauth.ErrGrantRevoked) {
		t.Errorf("recorded: got %v, want that it is revoked", err)
	}
	r.faulty.failNext(1, false, errDisk)
	if _, err := r.refresh("cfr_forged"); !errors.Is(err, oauth.ErrRefreshTokenMalformed) {
		t.Errorf("forged: got %v, want a refusal without the store", err)
	}
}

// TestActsBetweenLookAndWrite: an administrator's act after the look and before the
// write counts (I6, rule 8): the swap compares, and the decision is made again.
func TestActsBetweenLookAndWrite(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		act  func(r *rig) error
		want error
	}{
		"user disabled": {func(r *rig) error {
			return r.memory.SetUserState(t.Context(), "id-of-user", new(false), oauth.SubjectActive, oauth.Event{})
		}, oauth.ErrSubjectDisabled},
		"user deleted": {func(r *rig) error { return r.memory.DeleteUser(t.Context(), "id-of-user", oauth.Event{}) }, oauth.ErrSubjectGone},
		"password changed": {func(r *rig) error {
			return r.memory.SetPassword(t.Context(), "id-of-user", "x", true, oauth.Event{})
		}, oauth.ErrGrantRevoked},
		"client deleted": {func(r *rig) error { return r.memory.DeleteClient(t.Context(), "public", oauth.Event{}) }, oauth.ErrClientUnauthenticated},
		"client deactivated": {func(r *rig) error {
			client, err := r.memory.Client(t.Context(), "public")
			if err != nil {
				return err
			}
			client.Active = false
			return r.memory.UpdateClient(t.Context(), client, oauth.Event{})
		}, oauth.ErrClientUnauthenticated},
		"client changed": {func(r *rig) error {
			client, err := r.memory.Client(t.Context(), "public")
			if err != nil {
				return err
			}
			return r.memory.UpdateClient(t.Context(), client, oauth.Event{})
		}, nil},
		"revoked": {func(r *rig) error {
			_, err := r.memory.RevokeGrants(t.Context(), admin.GrantFilter{Subject: "id-of-user"}, "test", oauth.Event{})
			return err
		}, oauth.ErrGrantRevoked},
	} {
		for _, retried := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/retry %v", name, retried), func(t *testing.T) {
				t.Parallel()
				r := newRig(t)
				token := r.login().RefreshToken
				if retried {
					r.mustRefresh(token)
				}
				if _, err := r.refresh("cfr_"); !errors.Is(err, oauth.ErrRefreshTokenMalformed) { // now the client is remembered
					t.Fatal(err)
				}
				r.faulty.beforeStep(2, func() { // 1: Grant, 2: SwapGrant or RetryGrant
					if err := c.act(r); err != nil {
						t.Error(err)
					}
				})
				if _, err := r.refresh(token); !errors.Is(err, c.want) || (c.want == nil) != (err == nil) {
					t.Errorf("got %v, want %v", err, c.want)
				}
			})
		}
	}
}

// TestSimultaneousRefreshes: at default settings all uses of a token at once get the
// same successor; with a window of 0 they end the session, and one wins at most.
func TestSimultaneousRefreshes(t *testing.T) {
	t.Parallel()
	for _, window := range []time.Duration{time.Minute, 0} {
		t.Run(window.String(), func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.Settings.RetryWindow = &window
			token := r.login().RefreshToken
			var mu sync.Mutex
			successors, refused := map[oauth.Secret]int{}, 0
			var working sync.WaitGroup
			for range 64 {
				working.Go(func() {
					response, err := r.refresh(token)
					mu.Lock()
					defer mu.Unlock()
					if err != nil {
						refused++
					} else {
						successors[response.RefreshToken]++
					}
				})
			}
			working.Wait()
			if window > 0 && (refused > 0 || len(successors) != 1) {
				t.Errorf("%d successors, %d refused", len(successors), refused)
			}
			if window == 0 && (len(successors) > 1 || refused < 63) {
				t.Errorf("%d successors, %d refused", len(successors), refused)
			}
		})
	}
}

// TestRetryBudget: a spent budget refuses for a while and revokes nothing.
func TestRetryBudget(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.Settings.RetryBudget = 3
	token := r.login().RefreshToken
	next := r.mustRefresh(token).RefreshToken
	for range 3 {
		r.mustRefresh(token)
	}
	var refusal *oauth.Refusal
	if _, err := r.refresh(token); !errors.Is(err, oauth.ErrRetryBudgetSpent) || !errors.As(err, &refusal) || refusal.RetryAfter <= 0 {
		t.Errorf("got %v, want a spent budget with a time to come again", err)
	}
	r.mustRefresh(next)
}
