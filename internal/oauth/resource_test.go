package oauth_test

import (
	"errors"
	"fmt"
	"net/url"
	"testing"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

// askFor makes a request with the resources it asks for.
func (r *rig) askFor(resource oauth.Parameter, profile oauth.Profile, pairs ...string) (oauth.TokenResponse, error) {
	p := parameters(pairs...)
	p["resource"] = resource
	return r.Token(r.t.Context(), oauth.TokenRequest{Profile: profile, Parameters: p, Source: home, RequestID: "request"})
}

// audienceOf is `aud` of an access token.
func audienceOf(t *testing.T, token oauth.Secret) string {
	t.Helper()
	_, claims := claimsOf(t, token)
	return fmt.Sprint(claims["aud"])
}

// servers are n registered resource servers.
func (r *rig) servers(n int) []string {
	r.t.Helper()
	var list []string
	for i := range n {
		id := fmt.Sprint("server ", i)
		if err := r.memory.CreateClient(r.t.Context(), oauth.Client{ID: id, Active: true}, oauth.Event{}); err != nil {
			r.t.Fatal(err)
		}
		list = append(list, id)
	}
	return list
}

const issuerURL = "https://issuer.example.com"

// TestResource: what a new grant, or a client's own token, may be for (RFC 8707 section
// 2): this server, and resource servers that are registered and in order.
func TestResource(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	eight := r.servers(8)
	for _, c := range []oauth.Client{{ID: "inactive"}, {ID: "owned", Active: true, Owner: "id-of-other"}} {
		if err := r.memory.CreateClient(t.Context(), c, oauth.Event{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.memory.SetUserState(t.Context(), "id-of-other", new(false), "", oauth.Event{}); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		resource oauth.Parameter
		want     string // aud
		refusal  error
	}{
		"none":                  {oauth.Parameter{}, issuerURL, nil},
		"this server":           {oauth.Parameter{Value: issuerURL}, issuerURL, nil},
		"one":                   {oauth.Parameter{Value: "site"}, "site", nil},
		"itself":                {oauth.Parameter{Value: "machine"}, "machine", nil},
		"a list of one":         {oauth.Parameter{List: []string{"site"}}, "site", nil},
		"two":                   {oauth.Parameter{List: []string{"site", issuerURL}}, "[site " + issuerURL + "]", nil},
		"one twice":             {oauth.Parameter{List: []string{"site", "site"}}, "site", nil},
		"an empty list":         {oauth.Parameter{List: []string{}}, issuerURL, nil},
		"eight":                 {oauth.Parameter{List: eight}, fmt.Sprint(eight), nil},
		"nine":                  {oauth.Parameter{List: append(eight, "site")}, "", oauth.ErrTargetInvalid},
		"unknown":               {oauth.Parameter{Value: "nobody"}, "", oauth.ErrTargetInvalid},
		"unknown, the second":   {oauth.Parameter{List: []string{"site", "nobody"}}, "", oauth.ErrTargetInvalid},
		"public":                {oauth.Parameter{Value: "public"}, "", oauth.ErrTargetInvalid},
		"inactive":              {oauth.Parameter{Value: "inactive"}, "", oauth.ErrTargetInvalid},
		"of a blocked owner":    {oauth.Parameter{Value: "owned"}, "", oauth.ErrTargetInvalid},
		"in other letters":      {oauth.Parameter{Value: "Site"}, "", oauth.ErrTargetInvalid},
		"this server, almost":   {oauth.Parameter{Value: issuerURL + "/"}, "", oauth.ErrTargetInvalid},
		"neither text nor list": {oauth.Parameter{Invalid: true}, "", oauth.ErrParameterInvalid},
	} {
		for grantType, request := range map[string][]string{
			"password":           r.as("confidential", "grant_type", "password", "username", "user", "password", "right horse"),
			"client_credentials": r.as("machine", "grant_type", "client_credentials"),
		} {
			tokens, err := r.askFor(c.resource, oauth.Standard, request...)
			if !errors.Is(err, c.refusal) || (c.refusal == nil) != (err == nil) {
				t.Errorf("%s, %s: got %v, want %v", name, grantType, err, c.refusal)
				continue
			}
			if err == nil && audienceOf(t, tokens.AccessToken) != c.want {
				t.Errorf("%s, %s: aud is %s, want %s", name, grantType, audienceOf(t, tokens.AccessToken), c.want)
			}
			if tokens, err := r.askFor(c.resource, oauth.OroCommerce, request...); err != nil || audienceOf(t, tokens.AccessToken) != tokens.ClientID {
				t.Errorf("%s, %s: OroCommerce's endpoint does not ignore it: %v", name, grantType, err)
			}
		}
		p := parameters(ofWeb()...)
		p["resource"] = c.resource
		_, err := r.CheckAuthorization(t.Context(), oauth.AuthorizationRequest{Parameters: p, Source: home})
		if !errors.Is(err, c.refusal) || (c.refusal == nil) != (err == nil) {
			t.Errorf("%s, at the authorization endpoint: got %v, want %v", name, err, c.refusal)
		}
	}
}

// TestResourceIsNarrowed: a refresh may ask for some of the grant's resources, for this
// access token only; it never gets one that the grant does not have (RFC 8707 section
// 2.2). What is refused uses nothing up (row S).
func TestResourceIsNarrowed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	tokens, err := r.askFor(oauth.Parameter{List: []string{"machine", "site"}}, oauth.Standard, r.as("confidential", "grant_type", "password", "username", "user", "password", "right horse")...)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name     string
		resource oauth.Parameter
		want     string
		refusal  error
	}{
		{"one", oauth.Parameter{Value: "site"}, "site", nil},
		{"none", oauth.Parameter{}, "[machine site]", nil},
		{"unknown", oauth.Parameter{Value: "nobody"}, "", oauth.ErrTargetInvalid},
		{"another", oauth.Parameter{Value: "code"}, "", oauth.ErrTargetInvalid},
		{"this server", oauth.Parameter{Value: issuerURL}, "", oauth.ErrTargetInvalid},
		{"one of each", oauth.Parameter{List: []string{"site", "code"}}, "", oauth.ErrTargetInvalid},
		{"neither text nor list", oauth.Parameter{Invalid: true}, "", oauth.ErrParameterInvalid},
		{"the other order", oauth.Parameter{List: []string{"site", "machine", "site"}}, "[site machine]", nil},
		{"none again", oauth.Parameter{}, "[machine site]", nil},
		{"an empty list", oauth.Parameter{List: []string{}}, "[machine site]", nil},
		{"one without a value", oauth.Parameter{List: []string{"", "site"}}, "site", nil},
	} {
		next, err := r.askFor(c.resource, oauth.Standard, r.as("confidential", "grant_type", "refresh_token", "refresh_token", string(tokens.RefreshToken))...)
		if !errors.Is(err, c.refusal) || (c.refusal == nil) != (err == nil) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.refusal)
		}
		if err != nil {
			continue
		}
		if next.Outcome != "rotated" || audienceOf(t, next.AccessToken) != c.want {
			t.Errorf("%s: %s, aud %s; want that it rotates, and %s", c.name, next.Outcome, audienceOf(t, next.AccessToken), c.want)
		}
		tokens = next
	}
	oro := r.tokens(oauth.OroCommerce, "confidential", "grant_type", "refresh_token", "refresh_token", string(tokens.RefreshToken), "resource", "nobody")
	if got := audienceOf(t, oro.AccessToken); got != "confidential" {
		t.Errorf("a refresh at OroCommerce's endpoint: aud %s, want the client", got)
	}
	again := r.refreshed(oro.RefreshToken)
	if got := audienceOf(t, again.AccessToken); got != "[machine site]" {
		t.Errorf("back at the standard endpoint: aud %s, want that of the grant", got)
	}
}

// TestResourceOfGrantWithoutAny: a grant that names no resource is for this server.
func TestResourceOfGrantWithoutAny(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	token := r.ofUser().RefreshToken
	_, err := r.askFor(oauth.Parameter{Value: "site"}, oauth.Standard, r.as("confidential", "grant_type", "refresh_token", "refresh_token", string(token))...)
	if !errors.Is(err, oauth.ErrTargetInvalid) {
		t.Errorf("got %v, want %v", err, oauth.ErrTargetInvalid)
	}
	if got := audienceOf(t, r.refreshed(token).AccessToken); got != issuerURL {
		t.Errorf("aud %s, want the issuer", got)
	}
}

// TestResourceOfCode: the resources of an authorization request are the grant's; the
// redemption of the code may narrow its access token (RFC 8707 section 2.2).
func TestResourceOfCode(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := parameters(ofWeb()...)
	p["resource"] = oauth.Parameter{List: []string{"machine", "site"}}
	a, err := r.CheckAuthorization(t.Context(), oauth.AuthorizationRequest{Parameters: p, Source: home})
	if err != nil {
		t.Fatal(err)
	}
	to, err := r.Approve(t.Context(), &a, r.user(), r.clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	code := u.Query().Get("code")
	if _, err := r.redeem(code, "resource", "code"); !errors.Is(err, oauth.ErrTargetInvalid) {
		t.Errorf("another resource: got %v, want %v", err, oauth.ErrTargetInvalid)
	}
	tokens, err := r.redeem(code, "resource", "site")
	if err != nil {
		t.Fatalf("the right request afterwards: %v", err)
	}
	if got := audienceOf(t, tokens.AccessToken); got != "site" {
		t.Errorf("narrowed: aud %s, want site", got)
	}
	next, err := r.ask(oauth.Standard, home, "grant_type", "refresh_token", "client_id", "web", "refresh_token", string(tokens.RefreshToken))
	if err != nil {
		t.Fatal(err)
	}
	if got := audienceOf(t, next.AccessToken); got != "[machine site]" {
		t.Errorf("refreshed: aud %s, want those of the grant", got)
	}
}

// TestResourceFault: a resource that cannot be looked up is no invalid one.
func TestResourceFault(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.faulty.failNext(2, false, errDisk) // 1: the client that asks
	_, err := r.ask(oauth.Standard, home, r.as("machine", "grant_type", "client_credentials", "resource", "site")...)
	if !isFault(err) {
		t.Errorf("got %v, want a fault", err)
	}
}
