package endpoint

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

// forwardAuthPath is where gateways ask whether a request may pass. What is below it is
// for those that append the path of the request.
const forwardAuthPath = "/oauth2/forward-auth"

// originalURIs are the headers in which gateways say what was asked for.
var originalURIs = []string{"X-Original-Uri", "X-Forwarded-Uri", "X-Original-Url", "X-Envoy-Original-Path"}

// demand is what a gateway demands of access tokens beyond being alive.
type demand struct {
	scope    oauth.Scope
	audience string         // empty: the issuer, which is that of a token for no resource in particular
	profile  *oauth.Profile // nil: either
}

// asksForwardAuth reports whether a gateway asks. The mux would not take the paths that
// a gateway passes on as they are.
func asksForwardAuth(path string) bool {
	return path == forwardAuthPath || strings.HasPrefix(path, forwardAuthPath+"/")
}

// forwardAuth answers gateways (nginx auth_request, Caddy and Traefik forward_auth, Envoy
// ext_authz): 200 and whom the access token of the request stands for, or what to tell
// the caller (RFC 6750 section 3). Every header is always there, so that a gateway which
// copies them overwrites what the caller made up.
func (e *endpoint) forwardAuth(w *response, r *http.Request) error {
	w.Header()["Cache-Control"] = noStore
	wanted, err := demanded(r)
	if err != nil {
		return err
	}
	if tokenInQuery(r) {
		return oauth.ErrParameterInQuery
	}
	info, err := e.presented(w, r)
	if err != nil {
		return err
	}
	if err := wanted.check(&info, e.Server.Settings.Issuer); err != nil {
		return err
	}
	h := w.Header()
	for name, value := range map[string]string{
		"X-Auth-Subject": info.Subject, "X-Auth-Username": info.Username, "X-Auth-Client": info.ClientID,
		"X-Auth-Scope": info.Scope.String(), "X-Auth-Grant": info.GrantID,
	} {
		h[name] = []string{headerValue(value)}
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// headerValue is a text as a header can carry it: what is not printable ASCII, and %, is
// percent-encoded (RFC 3986 section 2.1), so that each text has one spelling, and so are
// blanks at the ends, which would be lost (RFC 9110 section 5.5).
func headerValue(text string) string {
	strange := func(c rune) bool { return c < 0x20 || c > 0x7E || c == '%' }
	if !strings.ContainsFunc(text, strange) && strings.Trim(text, " ") == text {
		return text
	}
	inner := strings.Trim(text, " ")
	first := strings.Index(text, inner)
	var b strings.Builder
	for i := range len(text) {
		if c := text[i]; strange(rune(c)) || i < first || i >= first+len(inner) {
			b.WriteString(strings.ToUpper(url.PathEscape(text[i : i+1])))
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// demandHeader is where a gateway demands something whose query is that of the request.
const demandHeader = "X-Forward-Auth"

// demanded reads what the gateway's configuration demands: the query or, where the path
// and the query are those of the request itself, a header of the same form. A demand that
// is misspelt is no demand, so it is refused.
func demanded(r *http.Request) (d demand, err error) {
	text := r.URL.RawQuery
	if r.URL.Path != forwardAuthPath {
		if text, err = single(r.Header, demandHeader); err != nil {
			return d, err
		}
	}
	values, err := url.ParseQuery(text)
	if err != nil {
		return d, oauth.ErrBodyMalformed.Because(errEncoding)
	}
	for name, given := range values {
		switch {
		case !slices.Contains([]string{"scope", "audience", "profile"}, name) || given[0] == "":
			return d, oauth.ErrParameterInvalid.About(name)
		case len(given) > 1:
			return d, oauth.ErrParameterRepeated.About(name)
		}
	}
	d.scope, d.audience = oauth.ParseScope(values.Get("scope")), values.Get("audience")
	switch values.Get("profile") {
	case "":
	case "standard":
		d.profile = new(oauth.Standard)
	case "orocommerce":
		d.profile = new(oauth.OroCommerce)
	default:
		err = oauth.ErrParameterInvalid.About("profile")
	}
	return d, err
}

func (d *demand) check(info *oauth.AccessTokenInfo, issuer string) error {
	switch {
	case d.profile != nil && info.Profile != *d.profile:
		return oauth.ErrAccessTokenInvalid.Because(errors.New("of the other profile"))
	case d.audience == "" && !isForIssuer(info, issuer), d.audience != "" && !slices.Contains(info.Audience, d.audience):
		return errAudience
	}
	for _, scope := range d.scope {
		if !slices.Contains(info.Scope, scope) {
			return oauth.ErrScopeInsufficient.About(d.scope.String())
		}
	}
	return nil
}

// tokenInQuery reports whether a token came in an address, where logs and histories keep
// it (RFC 9700 section 4.3.2).
func tokenInQuery(r *http.Request) bool {
	addresses := []string{r.URL.RequestURI()}
	for _, name := range originalURIs {
		addresses = append(addresses, r.Header[name]...)
	}
	return slices.ContainsFunc(addresses, func(address string) bool {
		_, query, _ := strings.Cut(address, "?")
		for name := range pairs(query) {
			if decoded, err := url.QueryUnescape(name); err == nil && decoded == "access_token" {
				return true
			}
		}
		return false
	})
}
