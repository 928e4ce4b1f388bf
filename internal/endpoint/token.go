package endpoint

import (
	"net/http"
	"slices"

	"github.com/counterfoil/counterfoil/internal/failpoint"
	"github.com/counterfoil/counterfoil/internal/oauth"
)

// token is the token endpoint (RFC 6749 section 3.2) in a dialect.
func (e *endpoint) token(d *dialect) handler {
	return func(w *response, r *http.Request) error {
		d.shareWith(e.origins, w, r)
		request, err := tokenRequest(d, w, r)
		if err != nil {
			return err
		}
		answer, err := e.Server.Token(r.Context(), request)
		w.clientID, w.grantID = answer.ClientID, answer.GrantID
		if err != nil {
			return err
		}
		w.outcome = answer.Outcome
		w.ResponseWriter = failpoint.Halve(failpoint.HalfAnswer, w.ResponseWriter)
		d.grant(w, &answer)
		return nil
	}
}

// tokenRequest reads a request to the token endpoint.
func tokenRequest(d *dialect, w *response, r *http.Request) (oauth.TokenRequest, error) {
	authorization, err := single(r.Header, "Authorization")
	if err != nil {
		return oauth.TokenRequest{}, err
	}
	parameters, err := d.parameters(w, r)
	if err != nil {
		return oauth.TokenRequest{}, err
	}
	if grantType := parameters["grant_type"].Value; slices.Contains(oauth.GrantTypes(), grantType) {
		w.grantType = grantType
	}
	basic, err := d.basic(authorization)
	return oauth.TokenRequest{
		Profile: d.profile, Parameters: parameters, Basic: basic, Source: w.source, RequestID: w.requestID,
	}, err
}

// appendTokens writes the members that the answers of both dialects begin with
// (RFC 6749 section 5.1).
func appendTokens(b []byte, t *oauth.TokenResponse) []byte {
	b = append(b, `{"token_type":"Bearer","expires_in":`...)
	b = appendSeconds(b, t.ExpiresIn)
	b = append(b, `,"access_token":`...)
	b = appendString(b, string(t.AccessToken))
	if t.RefreshToken != "" {
		b = append(b, `,"refresh_token":`...)
		b = appendString(b, string(t.RefreshToken))
	}
	return b
}
