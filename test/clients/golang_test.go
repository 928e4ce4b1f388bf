package clients_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"testing"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/counterfoil/counterfoil/test/program"
)

// authStyles are how golang.org/x/oauth2 sends a client's secret. It finds out by
// itself unless it is told: it tries Basic and, where that is refused, the parameters.
var authStyles = map[string]oauth2.AuthStyle{
	"AutoDetect": oauth2.AuthStyleAutoDetect,
	"InHeader":   oauth2.AuthStyleInHeader,
	"InParams":   oauth2.AuthStyleInParams,
}

// addresses are the authorization and the token endpoint of each dialect.
var addresses = map[string]struct{ authorize, token string }{
	"standard":    {"/oauth2/authorize", "/oauth2/token"},
	"OroCommerce": {"/oauth2-token/authorize", "/oauth2-token"},
}

func endpointOf(p *program.Program, dialect string) oauth2.Endpoint {
	at, base := addresses[dialect], "http://"+p.Address
	return oauth2.Endpoint{AuthURL: base + at.authorize, TokenURL: base + at.token}
}

// TestGolang: golang.org/x/oauth2 runs the code flow with PKCE, refreshes by itself,
// and gets tokens for the client itself, at the endpoints of both dialects.
func TestGolang(t *testing.T) {
	t.Parallel()
	p := newServer(t)
	for dialect := range addresses {
		t.Run(dialect, func(t *testing.T) {
			t.Parallel()
			public, confidential := newClient(t, p, none), newClient(t, p, clientSecretBasic)
			for name, style := range authStyles {
				endpoint := endpointOf(p, dialect)
				endpoint.AuthStyle = style
				t.Run(name+"/confidential", func(t *testing.T) {
					testGolangCodeFlow(t, p, confidential, endpoint, dialect)
					testGolangClientCredentials(t, p, confidential, endpoint)
				})
				if style != oauth2.AuthStyleInHeader { // a public client has nothing to put there
					t.Run(name+"/public", func(t *testing.T) { testGolangCodeFlow(t, p, public, endpoint, dialect) })
				}
			}
		})
	}
}

func testGolangCodeFlow(t *testing.T, p *program.Program, c program.Client, endpoint oauth2.Endpoint, dialect string) {
	config := oauth2.Config{ClientID: c.ID, ClientSecret: c.Secret, Endpoint: endpoint, RedirectURL: callback, Scopes: []string{"read"}}
	verifier := oauth2.GenerateVerifier()
	back := newUser(t).agree(t, config.AuthCodeURL("a state", oauth2.S256ChallengeOption(verifier)))
	checkCallback(t, p, dialect, back)
	code := back.Get("code")
	var refused *oauth2.RetrieveError
	if _, err := config.Exchange(t.Context(), code, oauth2.VerifierOption(oauth2.GenerateVerifier())); !errors.As(err, &refused) || refused.ErrorCode != "invalid_grant" {
		t.Errorf("another verifier gets %v, want invalid_grant", err)
	}
	token, err := config.Exchange(t.Context(), code, oauth2.VerifierOption(verifier))
	if err != nil {
		t.Fatal(err)
	}
	session := []tokens{taken(token)}
	for range 2 {
		token.Expiry = time.Now() // an hour later
		source := config.TokenSource(t.Context(), token)
		if info := golangUserinfo(t, source, p); info.ClientID != c.ID || info.Scope != "read" {
			t.Errorf("userinfo is %+v", info)
		}
		if token, err = source.Token(); err != nil {
			t.Fatal(err)
		}
		session = append(session, taken(token))
	}
	checkSession(t, p, 2, session)
}

// checkCallback checks what a user brings back: the state and, from the standard
// endpoint, the issuer (RFC 9207).
func checkCallback(t *testing.T, p *program.Program, dialect string, parameters url.Values) {
	t.Helper()
	issuer := ""
	if dialect == "standard" {
		issuer = "http://" + p.Address
	}
	if parameters.Get("state") != "a state" || parameters.Get("iss") != issuer {
		t.Errorf("the user comes back with state %q and iss %q", parameters.Get("state"), parameters.Get("iss"))
	}
}

func taken(token *oauth2.Token) tokens {
	return tokens{AccessToken: token.AccessToken, RefreshToken: token.RefreshToken}
}

// golangUserinfo asks who the token of a source stands for, with the library's client.
func golangUserinfo(t *testing.T, source oauth2.TokenSource, p *program.Program) claims {
	t.Helper()
	response, err := oauth2.NewClient(t.Context(), source).Get("http://" + p.Address + "/oauth2/userinfo")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	var info claims
	if err := json.NewDecoder(response.Body).Decode(&info); err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("userinfo: %s, %v", response.Status, err)
	}
	return info
}

func testGolangClientCredentials(t *testing.T, p *program.Program, c program.Client, endpoint oauth2.Endpoint) {
	config := clientcredentials.Config{
		ClientID: c.ID, ClientSecret: c.Secret, TokenURL: endpoint.TokenURL, AuthStyle: endpoint.AuthStyle, Scopes: []string{"write"},
	}
	if info := golangUserinfo(t, config.TokenSource(t.Context()), p); info.ClientID != c.ID || info.Scope != "write" || info.GrantID != "" {
		t.Errorf("by client credentials userinfo is %+v", info)
	}
}
