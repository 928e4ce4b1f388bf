package endpoint

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

// userinfo is a protected resource (RFC 6750): whom the access token stands for.
func (e *endpoint) userinfo(w *response, r *http.Request) error {
	shareWithAllowed(e.origins, w, r)
	info, err := e.presented(w, r)
	if err != nil {
		return err
	}
	if !isForIssuer(&info, e.Server.Settings.Issuer) {
		return errAudience
	}
	b := append(make([]byte, 0, 256), `{"sub":`...)
	b = appendString(b, info.Subject)
	b = append(b, `,"client_id":`...)
	b = appendString(b, info.ClientID)
	b = append(b, `,"scope":`...)
	b = appendString(b, info.Scope.String())
	b = append(b, `,"grant_id":`...)
	b = appendString(b, info.GrantID)
	w.Header()["Cache-Control"] = noStore
	w.send(http.StatusOK, jsonType, append(b, '}'))
	return nil
}

// presented checks the access token of a request's Authorization header.
func (e *endpoint) presented(w *response, r *http.Request) (oauth.AccessTokenInfo, error) {
	authorization, err := single(r.Header, "Authorization")
	if err != nil {
		return oauth.AccessTokenInfo{}, err
	}
	token, given := bearerToken(authorization)
	if !given {
		return oauth.AccessTokenInfo{}, oauth.ErrAccessTokenMissing
	}
	info, err := e.Server.AccessToken(r.Context(), oauth.Secret(token))
	if err == nil {
		w.clientID, w.grantID = info.ClientID, info.GrantID
	}
	return info, err
}

// errAudience refuses a token that another resource was meant to get: who gets it there
// must not use it elsewhere (RFC 9068 section 4).
var errAudience = oauth.ErrAccessTokenInvalid.Because(errors.New("for another audience"))

// isForIssuer reports whether a token is for this server. In OroCommerce's profile the
// audience is the client, and there is one API.
func isForIssuer(info *oauth.AccessTokenInfo, issuer string) bool {
	return info.Profile == oauth.OroCommerce || slices.Contains(info.Audience, issuer)
}

// bearerToken takes the token out of an Authorization header (RFC 6750 section
// 2.1). As at OroCommerce's API, the case of the scheme matters and the number of
// spaces does not.
func bearerToken(authorization string) (string, bool) {
	rest, ok := strings.CutPrefix(authorization, "Bearer")
	token := strings.TrimLeft(rest, " \t")
	return token, ok && token != "" && token != rest
}

// refuseAccess writes the refusals of a protected resource (RFC 6750 section 3).
func refuseAccess(w *response, _ *http.Request, refusal *oauth.Refusal) {
	h := w.Header()
	h["Cache-Control"] = noStore
	code := status(refusal)
	if refusal.Code == "invalid_token" || refusal.Code == "" {
		code = http.StatusUnauthorized
	}
	if code == http.StatusServiceUnavailable {
		writeError(w, code, refusal)
		return
	}
	if refusal.Code == "" { // nothing was presented: nothing to say about it
		h["Www-Authenticate"] = []string{`Bearer realm="counterfoil"`}
		w.WriteHeader(code)
		return
	}
	challenge := `Bearer realm="counterfoil", error="` + refusal.Code + `", error_description="` + refusal.Description + `"`
	if scope := oauth.ParseScope(refusal.Parameter); refusal.Code == oauth.ErrScopeInsufficient.Code && scope.Valid() {
		challenge += `, scope="` + scope.String() + `"`
	}
	h["Www-Authenticate"] = []string{challenge}
	writeError(w, code, refusal)
}
