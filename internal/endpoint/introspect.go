package endpoint

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

// introspectionMedia is the media type of a signed answer (RFC 9701 section 4).
const introspectionMedia = "application/token-introspection+jwt"

var introspectionType = []string{introspectionMedia}

// introspect is the introspection endpoint (RFC 7662 section 2).
func (e *endpoint) introspect(w *response, r *http.Request) error {
	request, err := tokenRequest(&standard, w, r)
	if err != nil {
		return err
	}
	answer, err := e.Server.Introspect(r.Context(), request)
	w.clientID = answer.Caller
	if err != nil {
		return err
	}
	w.outcome = "inactive"
	if answer.Active {
		w.outcome, w.grantID = "active", answer.Token.GrantID
	}
	h := w.Header()
	h["Cache-Control"], h["Vary"] = noStore, varyAccept
	object := appendIntrospection(make([]byte, 0, 512), &answer, e.Server.Settings.Issuer)
	if !wantsSigned(r) {
		w.send(http.StatusOK, jsonType, object)
		return nil
	}
	signed, err := e.Server.SignIntrospection(answer, object)
	if err != nil {
		return err
	}
	w.send(http.StatusOK, introspectionType, []byte(signed))
	return nil
}

// wantsSigned reports whether the caller asks for a signed answer (RFC 9701 section 4).
func wantsSigned(r *http.Request) bool {
	for _, line := range r.Header["Accept"] {
		for media := range strings.SplitSeq(line, ",") {
			media, _, _ = strings.Cut(media, ";")
			if strings.EqualFold(strings.TrimSpace(media), introspectionMedia) {
				return true
			}
		}
	}
	return false
}

// appendIntrospection writes an answer (RFC 7662 section 2.2). Of a token that is not
// active nothing is told.
func appendIntrospection(b []byte, a *oauth.Introspection, issuer string) []byte {
	if !a.Active {
		return append(b, `{"active":false}`...)
	}
	t := &a.Token
	b = appendMember(append(b, `{"active":true`...), "iss", issuer)
	b = appendMember(b, "sub", t.Subject)
	if t.Username != "" {
		b = appendMember(b, "username", t.Username)
	}
	b = appendMember(b, "client_id", t.ClientID)
	b = appendMember(b, "scope", t.Scope.String())
	b = appendAudience(b, t.Audience)
	if !a.RefreshToken {
		b = appendMember(b, "token_type", "Bearer")
		b = appendMember(b, "jti", t.ID)
	}
	b = appendNumber(b, "iat", t.IssuedAt)
	if t.NotBefore != 0 {
		b = appendNumber(b, "nbf", t.NotBefore)
	}
	b = appendNumber(b, "exp", t.ExpiresAt)
	if t.GrantID != "" {
		b = appendMember(b, "grant_id", t.GrantID)
		b = appendNumber(b, "gen", int64(t.Generation))
	}
	return append(b, '}')
}

// appendAudience writes `aud`, as in the token: one text or a list.
func appendAudience(b []byte, audience []string) []byte {
	if len(audience) == 1 {
		return appendMember(b, "aud", audience[0])
	}
	if len(audience) == 0 {
		return b
	}
	return appendTexts(append(b, `,"aud":`...), audience)
}

// appendTexts writes a list of texts.
func appendTexts(b []byte, texts []string) []byte {
	b = append(b, '[')
	for i, text := range texts {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, text)
	}
	return append(b, ']')
}

// appendMember writes a further member of an object.
func appendMember(b []byte, name, value string) []byte {
	b = append(b, `,"`...)
	b = append(b, name...)
	b = append(b, `":`...)
	return appendString(b, value)
}

func appendNumber(b []byte, name string, value int64) []byte {
	b = append(b, `,"`...)
	b = append(b, name...)
	b = append(b, `":`...)
	return strconv.AppendInt(b, value, 10)
}

// refuseCaller words the refusals of what only clients may ask: without credentials, or
// with wrong ones, they are told how to authenticate (RFC 9110 section 15.5.2).
func refuseCaller(w *response, r *http.Request, refusal *oauth.Refusal) {
	if refusal.Code == oauth.ErrClientUnauthenticated.Code {
		w.Header()["Www-Authenticate"] = basicChallenge
	}
	refuseStandard(w, r, refusal)
}
