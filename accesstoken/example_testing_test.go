package accesstoken_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/counterfoil/counterfoil/accesstoken"
	"github.com/counterfoil/counterfoil/accesstoken/accesstokentest"
)

// newOrders is an API. It gets its verifier from outside, so that tests have their own.
func newOrders(verifier *accesstoken.Verifier) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /orders", verifier.Require("orders:read")(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, _ := accesstoken.FromContext(r.Context())
		fmt.Fprintln(w, "orders of", token.Subject)
	})))
	return mux
}

// testOrders would be TestOrders in the tests of the API. The issuer is real, but for
// what makes it give out tokens.
func testOrders(t *testing.T) {
	issuer := accesstokentest.NewIssuer(t)
	const audience = "https://api.example/orders"
	verifier, err := accesstoken.NewVerifier(accesstoken.Config{
		Issuer:   issuer.URL,
		Audience: []string{audience},
		Liveness: accesstoken.NewGenerations(accesstoken.GenerationsConfig{}),
	})
	if err != nil {
		t.Fatal(err)
	}
	orders := newOrders(verifier)
	get := func(token string) int {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/orders", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		orders.ServeHTTP(w, r)
		return w.Code
	}

	options := []accesstokentest.TokenOption{accesstokentest.Audience(audience), accesstokentest.Grant("g"), accesstokentest.Scope("orders:read")}
	token := issuer.AccessToken("alice", options...)
	if got := get(token); got != http.StatusOK {
		t.Errorf("a good token: %d, want 200", got)
	}
	if got := get(issuer.AccessToken("alice", accesstokentest.Audience(audience))); got != http.StatusForbidden {
		t.Errorf("a token without a scope: %d, want 403", got)
	}
	if got := get(issuer.AccessToken("alice", accesstokentest.Scope("orders:read"))); got != http.StatusUnauthorized {
		t.Errorf("a token for others: %d, want 401", got)
	}
	issuer.Refresh("g")
	if got := get(issuer.AccessToken("alice", options...)); got != http.StatusOK {
		t.Errorf("the token of a refresh: %d, want 200", got)
	}
	if got := get(token); got != http.StatusUnauthorized {
		t.Errorf("the token before it: %d, want 401", got)
	}
}

// One's own handlers are tested against an issuer of package accesstokentest.
func Example_testing() {
	// go test calls testOrders, under a name that begins with Test.
}
