package failover

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// ledger is what the client of a chain was told, kept outside of every server: its
// refresh tokens, one for each generation, as they were acknowledged.
type ledger struct{ tokens []string }

// newest is the generation of the token that the client holds.
func (l *ledger) newest() int { return len(l.tokens) - 1 }

// enter enters the answer to the token of a generation, and says which promise the
// answer breaks. The client is honest: it presents its newest token, or the one before
// as long as it has not presented the newest.
func (l *ledger) enter(generation int, a answer) error {
	switch known := generation < l.newest(); {
	case a.status == http.StatusServiceUnavailable:
		if seconds, err := strconv.Atoi(a.retryAfter); err != nil || seconds < 1 {
			return fmt.Errorf("503 with Retry-After %q", a.retryAfter)
		}
	case a.status != http.StatusOK:
		return fmt.Errorf("I2, I7: an honest client was refused at generation %d: %d %s (request %s)", generation, a.status, a.hint, a.requestID)
	case known && a.refreshToken != l.tokens[generation+1]:
		return fmt.Errorf("I1, I3: generation %d has two successors (request %s)", generation, a.requestID)
	case !known && (a.refreshToken == "" || slices.Contains(l.tokens, a.refreshToken)):
		return fmt.Errorf("I1: the successor of generation %d is an old token (request %s)", generation, a.requestID)
	case !known:
		l.tokens = append(l.tokens, a.refreshToken)
	}
	return nil
}

// TestLedger: the ledger accepts what an honest server answers, and no broken promise.
func TestLedger(t *testing.T) {
	t.Parallel()
	unavailable := answer{status: 503, retryAfter: "1"}
	issued := func(token string) answer { return answer{status: 200, refreshToken: token} }
	for _, c := range []struct {
		name       string
		generation int
		answer     answer
		want       string // part of the complaint; empty: none
	}{
		{"a successor", 2, issued("three"), ""},
		{"the same successor again", 1, issued("two"), ""},
		{"come again", 2, unavailable, ""},
		{"come again, a retry", 1, unavailable, ""},
		{"a fork", 1, issued("another two"), "I1, I3"},
		{"the same token", 2, issued("two"), "I1: "},
		{"an old token", 2, issued("zero"), "I1: "},
		{"no token", 2, issued(""), "I1: "},
		{"logged out", 2, answer{status: 401, hint: "Token has been revoked"}, "I2, I7"},
		{"invalid_grant", 1, answer{status: 400}, "I2, I7"},
		{"an error that is no 503", 2, answer{status: 500}, "I2, I7"},
		{"throttled", 2, answer{status: 429, retryAfter: "1"}, "I2, I7"},
		{"come again, but when?", 2, answer{status: 503}, "Retry-After"},
		{"come again at once", 2, answer{status: 503, retryAfter: "0"}, "Retry-After"},
	} {
		l := ledger{tokens: []string{"zero", "one", "two"}}
		err := l.enter(c.generation, c.answer)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
		if want := c.name == "a successor"; (l.newest() == 3) != want {
			t.Errorf("%s: the client holds generation %d", c.name, l.newest())
		}
	}
}
