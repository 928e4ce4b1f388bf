package packaging

import (
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/knadh/koanf/parsers/yaml"
)

// identityHeaders are what a gateway passes on from Counterfoil's answer to the API.
var identityHeaders = []string{"X-Auth-Subject", "X-Auth-Username", "X-Auth-Client", "X-Auth-Scope", "X-Auth-Grant"}

// document is a part of a YAML file.
type document struct {
	t     *testing.T
	where string
	value any
}

// shippedYAML reads a file of packaging/.
func shippedYAML(t *testing.T, path string) document {
	t.Helper()
	value, err := yaml.Parser().Unmarshal([]byte(read(t, filepath.Join(source, path))))
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return document{t, path, value}
}

// at descends: by names in mappings, by numbers in sequences. What is missing is nil.
func (d document) at(path ...any) document {
	for _, step := range path {
		next := document{t: d.t, where: fmt.Sprintf("%s/%v", d.where, step)}
		switch step := step.(type) {
		case string:
			members, _ := d.value.(map[string]any)
			next.value = members[step]
		case int:
			if items, ok := d.value.([]any); ok && step < len(items) {
				next.value = items[step]
			}
		}
		d = next
	}
	return d
}

// text is a scalar as it is written.
func (d document) text() string { return fmt.Sprint(d.value) }

// list is a sequence of texts, or of mappings of which one member is taken.
func (d document) list(member ...any) (texts []string) {
	d.t.Helper()
	items, ok := d.value.([]any)
	if !ok {
		d.t.Fatalf("%s is %v, want a sequence", d.where, d.value)
	}
	for i := range items {
		texts = append(texts, d.at(i).at(member...).text())
	}
	return texts
}

func (d document) want(want string) {
	d.t.Helper()
	if got := d.text(); got != want {
		d.t.Errorf("%s is %s, want %s", d.where, got, want)
	}
}

func (d document) wantList(want []string, member ...any) {
	d.t.Helper()
	if got := d.list(member...); !slices.Equal(got, want) {
		d.t.Errorf("%s is %q, want %q", d.where, got, want)
	}
}

func lower(names []string) (lowered []string) {
	for _, name := range names {
		lowered = append(lowered, strings.ToLower(name))
	}
	return lowered
}

// gateway asks Counterfoil what a gateway would ask.
type gateway struct {
	*site
}

// newGateway starts a server, without a gateway: the API's address is Counterfoil's.
func newGateway(t *testing.T) gateway {
	t.Helper()
	return gateway{newSite(t, func(_ *testing.T, node, _ string) string { return "http://" + node })}
}

// wantChecked expects that Counterfoil lets a request through, with all five headers.
func (g gateway) wantChecked(what string, a answered, token, username string) {
	g.t.Helper()
	if a.status != http.StatusOK {
		g.t.Errorf("%s: status %d, want 200", what, a.status)
		return
	}
	want := want(g.t, token, username)
	for _, name := range identityHeaders {
		values, there := a.header[http.CanonicalHeaderKey(name)]
		if !there || len(values) != 1 || values[0] != want[strings.ToLower(name)] {
			g.t.Errorf("%s: %s is %q, want %q once", what, name, values, want[strings.ToLower(name)])
		}
	}
}

// TestTraefik: the shipped configuration has every header that it must, in order, and
// Counterfoil answers what Traefik asks by it.
func TestTraefik(t *testing.T) {
	t.Parallel()
	d := shippedYAML(t, "traefik/forward-auth.yaml").at("http")
	g := newGateway(t)
	read := g.login("orders:read").AccessToken
	write := g.login("orders:write").AccessToken
	for router, tokens := range map[string]struct{ good, bad string }{"read": {read, write}, "write": {write, read}} {
		d.at("routers", "api-"+router, "middlewares").wantList([]string{"forged-headers", "counterfoil-" + router, "no-token"})
		f := d.at("middlewares", "counterfoil-"+router, "forwardAuth")
		f.at("trustForwardHeader").want("false")
		f.at("authRequestHeaders").wantList([]string{"Authorization"})
		f.at("authResponseHeaders").wantList(identityHeaders)

		address, err := url.Parse(f.at("address").text())
		if err != nil {
			t.Fatalf("the address of counterfoil-%s: %v", router, err)
		}
		ask := func(token, uri string) answered {
			return g.send(http.MethodGet, address.RequestURI(), "", "Authorization", "Bearer "+token, "X-Forwarded-Method", "PATCH", "X-Forwarded-Uri", uri)
		}
		g.wantChecked(router, ask(tokens.good, "/orders?scope=x"), tokens.good, "alice")
		g.wantRefused(router+" with the other scope", ask(tokens.bad, "/orders"), http.StatusForbidden, `error="insufficient_scope"`)
		if a := ask(tokens.good, "/orders?access_token=x"); a.status != http.StatusBadRequest {
			t.Errorf("%s with a token in the query: status %d, want 400", router, a.status)
		}
	}
	forged := d.at("middlewares", "forged-headers", "headers", "customRequestHeaders")
	for _, header := range identityHeaders {
		for _, spelling := range forgeries {
			wantRemoved(forged, strings.ReplaceAll(strings.ToLower(spelling), "subject", strings.ToLower(strings.TrimPrefix(header, "X-Auth-"))))
		}
	}
	wantRemoved(d.at("middlewares", "no-token", "headers", "customRequestHeaders"), "authorization")
}

// wantRemoved expects that a header is set to nothing, by which Traefik removes it.
func wantRemoved(d document, name string) {
	d.t.Helper()
	members, _ := d.value.(map[string]any)
	for given, value := range members {
		if strings.EqualFold(given, name) && value == "" {
			return
		}
	}
	d.t.Errorf("%s does not remove %s", d.where, name)
}

// envoyFilters are the HTTP filters of the shipped configuration, by name, and their order.
func envoyFilters(manager document) (filters map[string]document, order []string) {
	order = manager.at("http_filters").list("name")
	filters = map[string]document{}
	for i, name := range order {
		filters[name] = manager.at("http_filters", i, "typed_config")
	}
	return filters, order
}

// TestEnvoy: the shipped configuration has every header that it must, lets nobody through
// when it cannot ask, and asks before anything else.
func TestEnvoy(t *testing.T) {
	t.Parallel()
	manager := shippedYAML(t, "envoy/forward-auth.yaml").at("static_resources", "listeners", 0, "filter_chains", 0, "filters", 0, "typed_config")
	manager.at("common_http_protocol_options", "headers_with_underscores_action").want("DROP_HEADER")
	manager.at("early_header_mutation_extensions", 0, "typed_config", "mutations").wantList(lower(identityHeaders), "remove")
	manager.at("route_config", "virtual_hosts", 0, "routes", 0, "request_headers_to_remove").wantList([]string{"authorization"})

	filters, order := envoyFilters(manager)
	if want := []string{"envoy.filters.http.ext_authz", "envoy.filters.http.rbac", "envoy.filters.http.router"}; !slices.Equal(order, want) {
		t.Errorf("the filters are %q, want %q", order, want)
	}
	check := filters["envoy.filters.http.ext_authz"]
	check.at("failure_mode_allow").want("false")
	check.at("status_on_error", "code").want("ServiceUnavailable")
	answer := check.at("http_service", "authorization_response")
	answer.at("allowed_upstream_headers", "patterns").wantList(lower(identityHeaders), "exact")
	answer.at("allowed_client_headers", "patterns").wantList([]string{"www-authenticate", "cache-control"}, "exact")
	for _, policy := range []string{"read", "write"} {
		p := filters["envoy.filters.http.rbac"].at("rules", "policies", policy)
		permission := p.at("permissions", 0)
		if policy == "write" {
			permission = permission.at("not_rule")
		}
		permission.at("header", "string_match", "safe_regex", "regex").want("GET|HEAD")
		p.at("principals", 0, "header", "name").want("x-auth-scope")
		checkScopePattern(p.at("principals", 0, "header", "string_match", "safe_regex", "regex"), "orders:"+policy)
	}
	filters["envoy.filters.http.rbac"].at("rules", "action").want("ALLOW")
}

// checkScopePattern: a pattern, which Envoy matches against the whole value, matches lists
// that have the scope, and no others.
func checkScopePattern(d document, scope string) {
	d.t.Helper()
	pattern, err := regexp.Compile("^(?:" + d.text() + ")$")
	if err != nil {
		d.t.Fatalf("%s: %v", d.where, err)
	}
	for list, want := range map[string]bool{
		scope: true, "a " + scope: true, scope + " b": true, "a " + scope + " b": true,
		"": false, "a": false, scope + "s": false, "pre" + scope: false, "a pre" + scope + " b": false, "a-" + scope: false,
	} {
		if got := pattern.MatchString(list); got != want {
			d.t.Errorf("%s matches %q: %t, want %t", d.where, list, got, want)
		}
	}
}

// TestEnvoyRequests: Counterfoil answers what Envoy asks: with the path of the request
// appended to the endpoint's, and its method.
func TestEnvoyRequests(t *testing.T) {
	t.Parallel()
	manager := shippedYAML(t, "envoy/forward-auth.yaml").at("static_resources", "listeners", 0, "filter_chains", 0, "filters", 0, "typed_config")
	filters, _ := envoyFilters(manager)
	prefix := filters["envoy.filters.http.ext_authz"].at("http_service", "path_prefix").text()
	g := newGateway(t)
	token := g.login("orders:read").AccessToken
	ask := func(method, path, token string) answered {
		return g.send(method, prefix+path, "", "Authorization", "Bearer "+token)
	}
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "REPORT"} {
		g.wantChecked(method, ask(method, "/orders/7", token), token, "alice")
	}
	for _, path := range []string{"/", "/orders/", "/orders//7", "/a%2Fb", "/a%20b", "/.well-known/x", "/oauth2/token", "/orders?full=1&q=%26"} {
		g.wantChecked(path, ask(http.MethodGet, path, token), token, "alice")
		g.wantRefused(path+" with a bad token", ask(http.MethodGet, path, token+"x"), http.StatusUnauthorized, `error="invalid_token"`)
	}
	g.wantRefused("without a token", g.send(http.MethodGet, prefix+"/orders", ""), http.StatusUnauthorized, "Bearer")
	if a := ask(http.MethodGet, "/orders?access_token="+token, token); a.status != http.StatusBadRequest {
		t.Errorf("a token in the query: status %d, want 400", a.status)
	}
	own := g.tokens(url.Values{"grant_type": {"client_credentials"}, "scope": {"orders:read"}}).AccessToken
	g.wantChecked("a client's own token", ask(http.MethodGet, "/orders", own), own, "")
}
