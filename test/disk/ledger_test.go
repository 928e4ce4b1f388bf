package disk

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/counterfoil/counterfoil/internal/admin"
	"github.com/counterfoil/counterfoil/internal/oauth"
)

// session is a chain of refresh tokens, and what its client was told, and when: the
// part of the ledger that is outside of the server. A time is a position in the
// record of the disk.
type session struct {
	account account
	random  *rand.Rand

	mu     sync.Mutex
	grant  string  // oauth.Grant.PublicID
	asked  []int   // by generation: when it was first asked for
	issued []issue // by generation
	act    *act    // what ends the session; nil: nothing yet
	begun  int     // when it was asked for
	done   int     // when it was acknowledged; 0: it was not
}

// issue is the first answer with the refresh token of a generation.
type issue struct {
	refresh, access oauth.Secret
	at              int
}

// act is something that ends a session for good.
type act struct {
	name string
	run  func(ctx context.Context, r *rig, s *session) error
}

// acts are all that an administrator or a thief can do.
var acts = []act{
	{"revoked", func(ctx context.Context, r *rig, s *session) error {
		_, err := r.store.RevokeGrants(ctx, admin.GrantFilter{PublicID: s.grant}, "test", s.event())
		return err
	}},
	{"replay", func(ctx context.Context, r *rig, s *session) error {
		_, err := r.ask(ctx, s.requestID(), "grant_type", "refresh_token", "client_id", string(s.account), "refresh_token", string(s.issued[0].refresh))
		if errors.Is(err, oauth.ErrReplay) {
			return nil
		}
		return fmt.Errorf("a replay: got %w", err)
	}},
	{"signed out everywhere", func(ctx context.Context, r *rig, s *session) error {
		_, err := r.store.RevokeGrants(ctx, admin.GrantFilter{Subject: s.account.userID()}, "test", s.event())
		return err
	}},
	{"user disabled", func(ctx context.Context, r *rig, s *session) error {
		return r.store.SetUserState(ctx, s.account.userID(), new(false), "", s.event())
	}},
	{"new password", func(ctx context.Context, r *rig, s *session) error {
		return r.store.SetPassword(ctx, s.account.userID(), "another", true, s.event())
	}},
	{"client deleted", func(ctx context.Context, r *rig, s *session) error {
		return r.store.DeleteClient(ctx, string(s.account), s.event())
	}},
	{"user deleted", func(ctx context.Context, r *rig, s *session) error {
		return r.store.DeleteUser(ctx, s.account.userID(), s.event())
	}},
}

// requestID names the act that ends the session, for the audit.
func (s *session) requestID() string { return "end of " + string(s.account) }

func (s *session) event() oauth.Event {
	return oauth.Event{Type: oauth.EventAdministration, Reason: "test", RequestID: s.requestID()}
}

// ask notes that a generation was asked for.
func (s *session) ask(generation, at int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if generation == len(s.asked) {
		s.asked = append(s.asked, at)
	}
}

// acknowledge notes an answer. Two values of one generation are a fork (I1).
func (s *session) acknowledge(generation, at int, response oauth.TokenResponse) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.grant = response.GrantID
	if generation == len(s.issued) {
		s.issued = append(s.issued, issue{response.RefreshToken, response.AccessToken, at})
	}
	if s.issued[generation].refresh != response.RefreshToken {
		return fmt.Errorf("two tokens of generation %d", generation)
	}
	return nil
}

// newest is the generation of the token that the client held at a moment, or -1.
func (s *session) newest(at int) int {
	n, _ := slices.BinarySearchFunc(s.issued, at, func(i issue, at int) int {
		if i.at <= at {
			return -1
		}
		return 1
	})
	return n - 1
}

// verify asks a server that began again after a cut whether all is kept that the
// session's client was told before it.
func (s *session) verify(ctx context.Context, r *rig, cut int) error {
	held := s.newest(cut)
	switch {
	case held < 0:
		return nil
	case s.act != nil && s.done > 0 && s.done <= cut:
		return s.verifyEnd(ctx, r, held)
	}
	err := s.verifyChain(ctx, r, held, cut)
	if s.act != nil && s.begun <= cut && refusalOf(err) != nil {
		return s.verifyEnd(ctx, r, held) // it happened, and nobody was told
	}
	return err
}

// verifyEnd: after its end was acknowledged nothing of the session works (I5, I6),
// and the audit knows of it (rule 4).
func (s *session) verifyEnd(ctx context.Context, r *rig, held int) error {
	for generation := max(0, held-1); generation <= held; generation++ {
		if _, err := r.refresh(ctx, s.account, s.issued[generation].refresh); refusalOf(err) == nil {
			return fmt.Errorf("after %s was acknowledged generation %d gets %v, want a refusal", s.act.name, generation, err)
		}
		if _, err := r.AccessToken(ctx, s.issued[generation].access); !errors.Is(err, oauth.ErrAccessTokenInvalid) {
			return fmt.Errorf("after %s was acknowledged the access token of generation %d gets %v, want that it is dead", s.act.name, generation, err)
		}
	}
	events, err := r.store.Events(ctx, s.requestID())
	if err == nil && len(events) == 0 {
		err = fmt.Errorf("%s was acknowledged and its event is lost", s.act.name)
	}
	return err
}

// verifyChain: the token that the client holds is the newest, or has the one successor
// that the server may have made without being heard (I1, I2, I3, I7).
func (s *session) verifyChain(ctx context.Context, r *rig, held, cut int) error {
	v, err := r.store.GrantByPublicID(ctx, s.grant)
	if err != nil {
		return fmt.Errorf("generation %d was acknowledged: %w", held, err)
	}
	generation := int(v.Grant.Generation)
	unheard := held+1 < len(s.asked) && s.asked[held+1] <= cut
	if generation != held && (generation != held+1 || !unheard) {
		return fmt.Errorf("generation %d was acknowledged, the database knows %d", held, generation)
	}
	if generation == held {
		if err := s.verifyRetry(ctx, r, held); err != nil {
			return err
		}
	}
	next, err := r.refresh(ctx, s.account, s.issued[held].refresh)
	if err != nil {
		return fmt.Errorf("the token held, of generation %d: %w", held, err)
	}
	again, err := r.refresh(ctx, s.account, s.issued[held].refresh)
	if err != nil || again.RefreshToken != next.RefreshToken {
		return fmt.Errorf("its retry: %w, the same successor: %v", err, again.RefreshToken == next.RefreshToken)
	}
	if _, err := r.refresh(ctx, s.account, next.RefreshToken); err != nil {
		return fmt.Errorf("its successor: %w", err)
	}
	return nil
}

// verifyRetry: the predecessor still gets the token that the client holds, and the
// access tokens that came with it are alive (I3, and the signing keys are there).
func (s *session) verifyRetry(ctx context.Context, r *rig, held int) error {
	if _, err := r.AccessToken(ctx, s.issued[held].access); err != nil {
		return fmt.Errorf("the access token of generation %d: %w", held, err)
	}
	if held == 0 {
		return nil
	}
	again, err := r.refresh(ctx, s.account, s.issued[held-1].refresh)
	if err != nil {
		return fmt.Errorf("the retry with generation %d: %w", held-1, err)
	}
	if again.RefreshToken != s.issued[held].refresh {
		return fmt.Errorf("generation %d has another token than was delivered", held)
	}
	return nil
}
