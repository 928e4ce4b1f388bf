package resource_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/accesstoken"
	"github.com/counterfoil/counterfoil/test/postgres"
	"github.com/counterfoil/counterfoil/test/program"
)

const password = "right horse staple"

// site is an issuer, of one node or of two.
type site struct {
	node  *program.Program // where everything is done
	asked *program.Program // whom APIs ask; the same, or another one beside the same database
	api   program.Client   // what the API is at the issuer
}

// sites are the issuers that there are.
var sites = map[string]func(*testing.T) *site{"one_node": newSite, "another_node": newSiteOfTwo}

// newSite starts an issuer of one node, on SQLite.
func newSite(t *testing.T) *site {
	t.Helper()
	p := program.New(t, "SIGNING_ALG=EdDSA")
	p.Start()
	return (&site{node: p, asked: p}).register()
}

// newSiteOfTwo starts an issuer of two nodes on PostgreSQL. Everything is done at one of
// them, and APIs ask the other one.
func newSiteOfTwo(t *testing.T) *site {
	t.Helper()
	shared := []string{"SIGNING_ALG=EdDSA", "DATABASE=" + postgres.Migrated(t), "MASTER_KEY=1 " + strings.Repeat("A", 43)}
	one := program.New(t, shared...)
	other := program.New(t, append(shared, "ISSUER=http://"+one.Address)...)
	one.Start()
	other.Start()
	return (&site{node: one, asked: other}).register()
}

func (s *site) register() *site {
	s.api = s.node.CreateClient("--grant-type", "client_credentials", "--name", "Orders API")
	return s
}

// issuer is the issuer identifier.
func (s *site) issuer() string { return "http://" + s.node.Address }

// session is a client with a user's tokens.
type session struct {
	*site
	t       *testing.T
	profile accesstoken.Profile
	client  program.Client
	user    string
	held    program.Tokens
	first   string // a refresh token that was used long ago
}

// logIn makes a client and a user, and logs in.
func (s *site) logIn(t *testing.T, profile accesstoken.Profile, clientFlags ...string) *session {
	t.Helper()
	n := s.newSession(t, profile, clientFlags...)
	n.logIn()
	return n
}

// newSession makes a client and a user who did not log in yet.
func (s *site) newSession(t *testing.T, profile accesstoken.Profile, clientFlags ...string) *session {
	t.Helper()
	n := &session{site: s, t: t, profile: profile, client: s.node.CreateClient(clientFlags...)}
	n.user = "user-of-" + n.client.ID
	s.node.CreateUser(n.user, password)
	return n
}

func (s *session) logIn() {
	s.t.Helper()
	s.logInFor("")
}

// logInFor logs in with a scope.
func (s *session) logInFor(scope string) {
	s.t.Helper()
	s.take(url.Values{"grant_type": {"password"}, "username": {s.user}, "password": {password}, "scope": {scope}})
}

func (s *session) refresh() {
	s.t.Helper()
	s.take(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {s.held.RefreshToken}})
}

// take asks for tokens, which are for the API.
func (s *session) take(form url.Values) {
	s.t.Helper()
	path := "/oauth2/token"
	if s.profile == accesstoken.OroCommerce {
		path = "/oauth2-token"
	} else {
		form.Set("resource", s.api.ID)
	}
	var answer program.Tokens
	s.post(path, form, &answer)
	s.held = answer
}

// post sends a form as the client, and decodes what must be a good answer.
func (s *session) post(path string, form url.Values, answer any) {
	s.t.Helper()
	form.Set("client_id", s.client.ID)
	form.Set("client_secret", s.client.Secret)
	response, err := http.PostForm(s.issuer()+path, form)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		s.t.Fatalf("%s with %s answers %s", path, form.Get("grant_type"), response.Status)
	}
	if err := json.NewDecoder(response.Body).Decode(answer); err != nil {
		s.t.Fatalf("%s: %v", path, err)
	}
}

// claims are what an access token says about its life.
type claims struct {
	GrantID   string `json:"grant_id"`
	ExpiresAt int64  `json:"exp"`
}

func (s *session) claims() (c claims) {
	s.t.Helper()
	parts := strings.Split(s.held.AccessToken, ".")
	content, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err == nil {
		err = json.Unmarshal(content, &c)
	}
	if err != nil {
		s.t.Fatalf("claims of an access token: %v", err)
	}
	return c
}

// expires is when the access token does.
func (s *session) expires() time.Time { return time.Unix(s.claims().ExpiresAt, 0) }
