package clients_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"golang.org/x/oauth2"

	"github.com/counterfoil/counterfoil/test/postgres"
	"github.com/counterfoil/counterfoil/test/program"
)

// TestSimultaneousRedemptions: 64 redemptions of one authorization code at once give
// one client its tokens and all others a refusal, and nothing of what the code produced
// works afterwards (RFC 6749 section 4.1.2), at either endpoint and on any node.
func TestSimultaneousRedemptions(t *testing.T) {
	t.Parallel()
	for engine, start := range map[string]func(t *testing.T) []*program.Program{
		"SQLite":     func(t *testing.T) []*program.Program { return []*program.Program{newServer(t, "SIGNING_ALG=EdDSA")} },
		"PostgreSQL": newNodes,
	} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			nodes, u := start(t), newUser(t)
			for dialect := range addresses {
				c := newClient(t, nodes[0], none)
				const rounds = 5
				for range rounds {
					verifier := oauth2.GenerateVerifier()
					config := oauth2.Config{ClientID: c.ID, Endpoint: endpointOf(nodes[0], dialect), RedirectURL: callback, Scopes: []string{"read"}}
					code := u.agree(t, config.AuthCodeURL("a state", oauth2.S256ChallengeOption(verifier))).Get("code")
					redeemAtOnce(t, nodes, c, dialect, code, verifier)
				}
				checkGrantsRevoked(t, nodes[0], c, rounds)
			}
		})
	}
}

// newNodes starts two nodes on one PostgreSQL, with a user.
func newNodes(t *testing.T) []*program.Program {
	t.Helper()
	database := postgres.Migrated(t)
	var nodes []*program.Program
	for range 2 {
		nodes = append(nodes, program.New(t, "DATABASE="+database, "MASTER_KEY=1 "+strings.Repeat("A", 43), "SIGNING_ALG=EdDSA", "ISSUER=http://127.0.0.1:8080"))
	}
	nodes[0].CreateUser(username, password)
	for _, node := range nodes {
		node.Start()
	}
	return nodes
}

// redeemAtOnce redeems a code many times at once, spread over the nodes, and checks who
// got what.
func redeemAtOnce(t *testing.T, nodes []*program.Program, c program.Client, dialect, code, verifier string) {
	t.Helper()
	const uses = 64
	answers := make([]program.Tokens, uses)
	parameters := url.Values{
		"grant_type": {"authorization_code"}, "client_id": {c.ID}, "redirect_uri": {callback},
		"code": {code}, "code_verifier": {verifier},
	}
	var working sync.WaitGroup
	begin := make(chan struct{})
	for i := range answers {
		working.Go(func() {
			<-begin
			var err error
			if answers[i], err = post(endpointOf(nodes[i%len(nodes)], dialect).TokenURL, parameters); err != nil {
				t.Errorf("%s, use %d: %v", dialect, i, err)
			}
		})
	}
	close(begin)
	working.Wait()
	for _, winner := range checkOneWinner(t, dialect, answers) {
		checkDead(t, nodes, c, dialect, winner)
	}
}

// checkOneWinner checks that one answer has tokens and all others are refusals, and
// returns those with tokens.
func checkOneWinner(t *testing.T, dialect string, answers []program.Tokens) (winners []program.Tokens) {
	t.Helper()
	refusal := map[string]string{"standard": "invalid_grant", "OroCommerce": "invalid_request"}[dialect]
	for i, a := range answers {
		switch {
		case a.Status == http.StatusOK:
			winners = append(winners, a)
		case a.Status != http.StatusBadRequest || a.Error != refusal:
			t.Errorf("%s, use %d: %d %s, want 400 %s", dialect, i, a.Status, a.Error, refusal)
		}
	}
	if len(winners) != 1 {
		t.Errorf("%s: %d of %d redemptions of one code succeeded, want 1", dialect, len(winners), len(answers))
	}
	return winners
}

// checkDead checks that tokens work at no node.
func checkDead(t *testing.T, nodes []*program.Program, c program.Client, dialect string, held program.Tokens) {
	t.Helper()
	status := map[string]int{"standard": http.StatusBadRequest, "OroCommerce": http.StatusUnauthorized}[dialect]
	for i, node := range nodes {
		if got := node.Userinfo(held.AccessToken); got != http.StatusUnauthorized {
			t.Errorf("%s: at node %d the access token of a code used twice gets %d", dialect, i, got)
		}
		answer, err := post(endpointOf(node, dialect).TokenURL, url.Values{
			"grant_type": {"refresh_token"}, "client_id": {c.ID}, "refresh_token": {held.RefreshToken},
		})
		if err != nil || answer.Status != status {
			t.Errorf("%s: at node %d the refresh token of a code used twice gets %d %s, %v; want %d", dialect, i, answer.Status, answer.Error, err, status)
		}
	}
}

// checkGrantsRevoked checks that a client has so many grants and none of them lives.
func checkGrantsRevoked(t *testing.T, p *program.Program, c program.Client, want int) {
	t.Helper()
	var grants []struct{ Status string }
	if err := json.Unmarshal([]byte(p.Run("", "grant", "list", "--client", c.ID, "-o", "json")), &grants); err != nil {
		t.Fatal(err)
	}
	if len(grants) != want {
		t.Errorf("there are %d grants of %d codes", len(grants), want)
	}
	for _, g := range grants {
		if g.Status != "revoked" {
			t.Errorf("a grant of a code used twice is %s", g.Status)
		}
	}
}

// post sends a form to a token endpoint.
func post(endpoint string, parameters url.Values) (program.Tokens, error) {
	response, err := http.PostForm(endpoint, parameters)
	if err != nil {
		return program.Tokens{}, err
	}
	defer func() { _ = response.Body.Close() }()
	answer := program.Tokens{Status: response.StatusCode}
	err = json.NewDecoder(response.Body).Decode(&answer)
	return answer, err
}
