package bench

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// server is a token endpoint that handles refresh tokens as its rule says.
type server struct {
	lock     sync.Mutex
	rule     rule
	tokens   map[string]*token
	answered int
}

// token is a refresh token that the server handed out.
type token struct {
	session    *grant
	generation int
	used       bool
	dead       bool
	successors []string
}

// grant is a session at the server.
type grant struct {
	revoked    bool
	generation int
}

// rule decides about the use of a known refresh token: what the answer holds, and
// whether there is one.
type rule func(s *server, presented string, t *token) (successor string, ok bool)

// start starts a server that handles refresh tokens by the rule.
func start(t *testing.T, r rule) *httptest.Server {
	t.Helper()
	running := httptest.NewServer(&server{rule: r, tokens: map[string]*token{}})
	t.Cleanup(running.Close)
	return running
}

// ServeHTTP implements http.Handler.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p := parameters(r)
	refreshToken, ok := s.token(p)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Request-Id", "request-1")
	if !ok {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"error":"invalid_grant"}`))
		return
	}
	answer := map[string]any{"access_token": "a", "token_type": "Bearer", "unknown": []int{1}}
	if refreshToken != "" {
		answer["refresh_token"] = refreshToken
	}
	_ = json.NewEncoder(w).Encode(answer)
}

func parameters(r *http.Request) map[string]string {
	p := map[string]string{}
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
		_ = json.NewDecoder(r.Body).Decode(&p)
		return p
	}
	for _, name := range []string{"grant_type", "client_id", "client_secret", "username", "password", "refresh_token"} {
		p[name] = r.PostFormValue(name)
	}
	return p
}

func (s *server) token(p map[string]string) (string, bool) {
	s.lock.Lock()
	defer s.lock.Unlock()
	if p["client_id"] != "shop" || p["client_secret"] != "s&cret" {
		return "", false
	}
	switch p["grant_type"] {
	case "password":
		return s.mint(&token{session: &grant{}}), p["username"] == "alice" && p["password"] == "right=horse"
	case "refresh_token":
		if t := s.tokens[p["refresh_token"]]; t != nil && !t.session.revoked {
			return s.rule(s, p["refresh_token"], t)
		}
	}
	return "", false
}

// mint makes a token known, under a name that needs encoding.
func (s *server) mint(t *token) string {
	name := "t+/" + strconv.Itoa(len(s.tokens))
	s.tokens[name] = t
	return name
}

// next is a fresh successor.
func (s *server) next(t *token) string {
	name := s.mint(&token{session: t.session, generation: t.generation + 1})
	t.successors = append(t.successors, name)
	return name
}

// sameSuccessor is Counterfoil's rule.
func sameSuccessor(s *server, _ string, t *token) (string, bool) {
	switch {
	case len(t.successors) == 0:
		return s.next(t), true
	case len(s.tokens[t.successors[0]].successors) == 0:
		return t.successors[0], true
	}
	t.session.revoked = true
	return "", false
}

// forking mints a successor at every use, and all live.
func forking(s *server, _ string, t *token) (string, bool) { return s.next(t), true }

// siblings mints a successor at every use, which replaces the one before. The use of a
// replaced token revokes the session.
func siblings(s *server, _ string, t *token) (string, bool) {
	if t.dead || t.used {
		t.session.revoked = true
		return "", false
	}
	for _, name := range t.successors {
		sibling := s.tokens[name]
		t.used = t.used || len(sibling.successors) > 0
		sibling.dead = true
	}
	return s.next(t), !t.used
}

// handOver lets every sibling take the session over: what the others have become by
// then is dead.
func handOver(s *server, _ string, t *token) (string, bool) {
	if t.dead {
		return "", false
	}
	for _, other := range s.tokens {
		if other.session == t.session && other.generation > t.generation+1 {
			other.dead = true
		}
	}
	return s.next(t), true
}

// decoys answers a retry with a token that was never alive. Its use revokes the session.
func decoys(s *server, _ string, t *token) (string, bool) {
	if t.dead {
		t.session.revoked = true
		return "", false
	}
	name := s.next(t)
	s.tokens[name].dead = len(t.successors) > 1
	return name, true
}

// spellings has one successor, which it writes anew in every answer.
func spellings(s *server, _ string, t *token) (string, bool) {
	switch g := t.session; t.generation {
	case g.generation:
		g.generation++
	case g.generation - 1: // a retry
	default:
		return "", false
	}
	return s.mint(&token{session: t.session, generation: t.generation + 1}), true
}

// strict lets each token be used once.
func strict(s *server, _ string, t *token) (string, bool) {
	if len(t.successors) > 0 {
		return "", false
	}
	return s.next(t), true
}

// strictRevoking lets each token be used once, and revokes the session at a second use.
func strictRevoking(s *server, _ string, t *token) (string, bool) {
	t.session.revoked = len(t.successors) > 0
	return s.next(t), !t.session.revoked
}

// notRotating gives the same token back.
func notRotating(_ *server, presented string, _ *token) (string, bool) { return presented, true }

// silent answers without a refresh token.
func silent(*server, string, *token) (string, bool) { return "", true }

// forgetful refuses a newest token now and then.
func forgetful(s *server, presented string, t *token) (string, bool) {
	s.answered++
	if s.answered%10 == 0 {
		return "", false
	}
	return sameSuccessor(s, presented, t)
}

// flaky puts a 500 in place of every nth answer: before the token counts, or after.
func flaky(next http.Handler, nth int) http.Handler {
	var lock sync.Mutex
	n := 0
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		lock.Lock()
		n++
		fails, after := n%nth == 0, n%(2*nth) == 0
		lock.Unlock()
		if !fails {
			next.ServeHTTP(w, r)
			return
		}
		if after {
			next.ServeHTTP(httptest.NewRecorder(), r)
		}
		w.WriteHeader(http.StatusInternalServerError)
	})
}

// hanging lets every nth request wait until its client has gone.
func hanging(next http.Handler, nth int) http.Handler {
	var lock sync.Mutex
	n := 0
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		lock.Lock()
		n++
		hangs := n%nth == 0
		lock.Unlock()
		next.ServeHTTP(w, r)
		if hangs {
			<-r.Context().Done()
		}
	})
}
