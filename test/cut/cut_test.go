// Package cut holds a node on PostgreSQL to its promises when the connection to the
// database is cut, or lies, at any moment of a request.
package cut

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/test/postgres"
	"github.com/counterfoil/counterfoil/test/program"
	"github.com/counterfoil/counterfoil/test/proof"
)

func TestMain(m *testing.M) { program.Main(m) }

const secret = "right horse staple"

// rig is a node behind a proxy, and an observer who is not.
type rig struct {
	*testing.T
	proxy    *proxy
	node     *program.Program
	observer *program.Program
	client   program.Client
	requests int
}

func newRig(t *testing.T, parameters string) *rig {
	t.Helper()
	database := postgres.Migrated(t) + parameters
	p := newProxy(t, database)
	settings := []string{"MASTER_KEY=1 " + strings.Repeat("A", 43), "SIGNING_ALG=EdDSA", "ISSUER=http://127.0.0.1:8080", "PASSWORD_HASH=argon2id,m=7168,t=1,p=1", "LATE_WINDOW=0"}
	r := &rig{
		T: t, proxy: p, node: program.New(t, append(settings, "DATABASE="+p.url)...),
		observer: program.New(t, append(settings, "DATABASE="+database)...),
	}
	r.client = r.observer.CreateClient()
	r.observer.CreateUser("user", secret)
	r.node.Start()
	return r
}

// TestCutConnections lets every fault befall every round trip of every kind of request;
// a short run takes all faults, and each with some of the kinds.
// The answer is what was asked for, or that the client shall come again; then the same
// request gets the same successor, and what was acknowledged is so.
func TestCutConnections(t *testing.T) {
	t.Parallel()
	requests := 0
	for _, way := range []struct{ name, parameters string }{
		{"read committed", ""},
		{"serializable, without prepared statements", "&default_transaction_isolation=serializable&default_query_exec_mode=exec"},
	} {
		t.Run(way.name, func(t *testing.T) {
			r := newRig(t, way.parameters)
			for seed := range proof.Rounds(t, 1) {
				for i, f := range faults {
					for j, s := range scenarios {
						if proof.Budget(t) > 0 || !f.hold && (j == 0 || (i+j+int(seed))%4 == 0) || f.hold && i%2 == j {
							r.everywhere(s, f)
						}
					}
				}
			}
			requests += r.requests
		})
	}
	proof.Count(t, requests, "requests")
}

// scenario is a kind of request: what goes before it, and what must be true after it
// met a fault.
type scenario struct {
	name  string
	trips int // the most that are tried
	run   func(r *rig, strike func() bool) bool
}

var scenarios = []scenario{
	{"rotation", 6, rotation},
	{"retry", 8, retry},
	{"replay", 14, replay},
	{"login", 14, login},
}

// everywhere tries a fault at the first round trip of a request, the second, and so on.
func (r *rig) everywhere(s scenario, f fault) {
	for after := range s.trips {
		if f.hold && after > 1 {
			return // what waits, waits alike
		}
		armed := false
		struck := s.run(r, func() bool {
			armed = !armed
			if armed {
				r.proxy.arm(f, after)
				return false
			}
			return r.proxy.disarm()
		})
		r.requests++
		if r.Failed() {
			r.Fatalf("%s, at round trip %d of a %s", f.name, after+1, s.name)
		}
		if !struck {
			return // there are no more round trips
		}
	}
}

// refresh presents a token; the answer must be one of the statuses. Who is told to come
// again does, if that is not what is wanted: connections that were held take their time.
func (r *rig) refresh(token string, statuses ...int) program.Tokens {
	r.Helper()
	answer, err := r.node.Refresh(r.client, token)
	for range 10 {
		if err == nil && answer.Status == http.StatusServiceUnavailable && !slices.Contains(statuses, answer.Status) {
			answer, err = r.node.Refresh(r.client, token)
		}
	}
	if err != nil || !slices.Contains(statuses, answer.Status) {
		r.Errorf("refresh: %+v, %v; want one of %v", answer, err, statuses)
	}
	return answer
}

// session logs in and refreshes so many times; it returns all refresh tokens.
func (r *rig) session(refreshes int) []string {
	r.Helper()
	answer, err := r.node.Login(r.client, "user", secret)
	if err != nil || answer.Status != http.StatusOK {
		r.Fatalf("login: %+v, %v", answer, err)
	}
	tokens := []string{answer.RefreshToken}
	for range refreshes {
		tokens = append(tokens, r.refresh(tokens[len(tokens)-1], http.StatusOK).RefreshToken)
	}
	return tokens
}

// rotation: the identical request gets the successor that was handed out, if one was,
// and the successor goes on.
func rotation(r *rig, strike func() bool) bool {
	held := r.session(0)[0]
	strike()
	first := r.refresh(held, http.StatusOK, http.StatusServiceUnavailable)
	struck := strike()
	again := r.refresh(held, http.StatusOK)
	if first.Status == http.StatusOK && first.RefreshToken != again.RefreshToken {
		r.Error("two successors")
	}
	r.refresh(again.RefreshToken, http.StatusOK)
	return struck
}

// retry: likewise, for a request that is one already.
func retry(r *rig, strike func() bool) bool {
	tokens := r.session(1)
	strike()
	answer := r.refresh(tokens[0], http.StatusOK, http.StatusServiceUnavailable)
	struck := strike()
	if answer.Status == http.StatusOK && answer.RefreshToken != tokens[1] {
		r.Error("a retry got another successor")
	}
	if again := r.refresh(tokens[0], http.StatusOK); again.RefreshToken != tokens[1] {
		r.Error("the next retry got another successor")
	}
	r.refresh(tokens[1], http.StatusOK)
	return struck
}

// replay: who is told that an old token is refused can rely on it that the grant is over.
func replay(r *rig, strike func() bool) bool {
	tokens := r.session(3)
	strike()
	answer := r.refresh(tokens[0], http.StatusUnauthorized, http.StatusServiceUnavailable)
	struck := strike()
	if answer.Status == http.StatusUnauthorized && r.status() != "revoked" {
		r.Error("a replay was refused, and the grant lives")
	}
	r.refresh(tokens[0], http.StatusUnauthorized)
	r.refresh(tokens[3], http.StatusUnauthorized)
	return struck
}

// login: a grant that was handed out is there.
func login(r *rig, strike func() bool) bool {
	strike()
	answer, err := r.node.Login(r.client, "user", secret)
	struck := strike()
	switch {
	case err != nil || answer.Status != http.StatusOK && answer.Status != http.StatusServiceUnavailable:
		r.Errorf("login: %+v, %v", answer, err)
	case answer.Status == http.StatusOK:
		r.refresh(answer.RefreshToken, http.StatusOK)
	}
	return struck
}

// newest is the grant that was made last, as the observer sees it.
func (r *rig) newest() map[string]any {
	r.Helper()
	var grants []map[string]any
	out := r.observer.Run("", "grant", "list", "-o", "json")
	if err := json.Unmarshal([]byte(out), &grants); err != nil || len(grants) == 0 {
		r.Fatalf("grant list: %v: %s", err, out)
	}
	return grants[0]
}

func (r *rig) status() string { return fmt.Sprint(r.newest()["status"]) }
