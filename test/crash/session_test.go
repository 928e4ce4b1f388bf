package crash

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/counterfoil/counterfoil/test/program"
)

// session is one login as its client knows it.
type session struct {
	client   program.Client
	grantID  string
	chain    []string // its refresh tokens, one for each generation, as they were acknowledged
	access   string   // the newest access token
	expires  int      // expires_in of the first answer
	absolute int64    // when the grant ends, as first seen in the database

	endangered atomic.Bool // somebody is ending it: it may be refused
	refused    bool        // it was
}

func (s *session) newest() string { return s.chain[len(s.chain)-1] }

// The hints of OroCommerce's endpoint, which says more about a refusal than the
// standard allows.
const (
	revoked   = "Token has been revoked"
	malformed = "Cannot decrypt the refresh token"
)

// refused reports whether a refresh token was refused for a reason.
func refused(answer program.Tokens, hint string) bool {
	return answer.Status == 401 && answer.Error == "invalid_request" && answer.Hint == hint
}

// claims are what a client can read in an access token.
type claims struct {
	GrantID    string   `json:"grant_id"`
	Generation int      `json:"gen"`
	Scopes     []string `json:"scopes"`
}

func claimsOf(accessToken string) (claims, error) {
	var c claims
	_, rest, _ := strings.Cut(accessToken, ".")
	payload, _, _ := strings.Cut(rest, ".")
	text, err := base64.RawURLEncoding.DecodeString(payload)
	if err == nil {
		err = json.Unmarshal(text, &c)
	}
	return c, err
}

// login begins a session, or returns nil if there was no answer.
func (r *round) login(c program.Client, username string) *session {
	answer, err := r.Ask(map[string]string{
		"grant_type": "password", "client_id": c.ID, "client_secret": c.Secret, "scope": scope, "username": username, "password": password,
	})
	if err != nil || answer.Status == 503 {
		r.lostLogins++
		return nil
	}
	s := &session{client: c, expires: answer.ExpiresIn}
	told, err := claimsOf(answer.AccessToken)
	if answer.Status != 200 || err != nil {
		r.t.Errorf("a login was answered with %d %s, %v", answer.Status, answer.Error, err)
		return nil
	}
	s.grantID = told.GrantID
	r.accept(s, answer)
	return s
}

// refresh refreshes with the newest token. Without a whole answer, or with 503, the
// client keeps that token: the next time is the retry.
func (r *round) refresh(s *session) bool {
	answer, err := r.Refresh(s.client, s.newest())
	return r.judge(s, answer, err) && r.accept(s, answer)
}

// judge reports whether an honest request got its tokens.
func (r *round) judge(s *session, answer program.Tokens, err error) bool {
	switch {
	case err != nil || answer.Status == 503:
		return false
	case answer.Status == 200:
		return true
	case s.endangered.Load() && refused(answer, revoked):
		s.refused = true
	default:
		r.t.Errorf("I2, I3, I7: an honest client was refused at generation %d of grant %s: %d %s (%s)", len(s.chain)-1, s.grantID, answer.Status, answer.Error, answer.Hint)
		s.refused = true
	}
	return false
}

// accept enters a new generation into the ledger.
func (r *round) accept(s *session, answer program.Tokens) bool {
	if slices.Contains(s.chain, answer.RefreshToken) {
		r.t.Errorf("I1: grant %s was given an old refresh token", s.grantID)
	}
	s.chain, s.access = append(s.chain, answer.RefreshToken), answer.AccessToken
	r.acknowledged.Add(1)
	told, err := claimsOf(answer.AccessToken)
	if err != nil || told.GrantID != s.grantID || told.Generation != len(s.chain)-1 {
		r.t.Errorf("I1: the access token of generation %d of grant %s says %+v, %v", len(s.chain)-1, s.grantID, told, err)
	}
	if got := strings.Join(told.Scopes, " "); got != scope || answer.ExpiresIn != s.expires {
		r.t.Errorf("I10: the access token has scope %q for %d s, not %q for %d s", got, answer.ExpiresIn, scope, s.expires)
	}
	return true
}

// retry sends the request before again: it must get the same successor.
func (r *round) retry(s *session) {
	answer, err := r.Refresh(s.client, s.chain[len(s.chain)-2])
	if !r.judge(s, answer, err) {
		return
	}
	if answer.RefreshToken != s.newest() {
		r.t.Errorf("I1, I3: the retry at generation %d of grant %s got another successor", len(s.chain)-2, s.grantID)
	}
	s.access = answer.AccessToken
}

// refreshTwice sends one token twice at the same time: there is one successor.
func (r *round) refreshTwice(s *session) {
	var answers [2]program.Tokens
	var errs [2]error
	var asking sync.WaitGroup
	for i := range answers {
		asking.Go(func() { answers[i], errs[i] = r.Refresh(s.client, s.newest()) })
	}
	asking.Wait()
	successor := ""
	for i := range answers {
		if !r.judge(s, answers[i], errs[i]) {
			continue
		}
		if successor == "" {
			successor = answers[i].RefreshToken
			r.accept(s, answers[i])
		}
		if answers[i].RefreshToken != successor {
			r.t.Errorf("I1: generation %d of grant %s has two successors", len(s.chain)-2, s.grantID)
		}
	}
}
