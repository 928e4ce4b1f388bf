package endpoint

import (
	"cmp"
	"fmt"
	"html"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

// dialect is how a token endpoint reads requests and words its answers.
type dialect struct {
	profile    oauth.Profile
	parameters func(*response, *http.Request) (oauth.Parameters, error)
	query      func(string) (oauth.Parameters, error)
	basic      func(authorization string) ([]oauth.BasicCredentials, error)
	shareWith  func(origins, *response, *http.Request) // CORS
	grant      func(*response, *oauth.TokenResponse)
	refuse     refuser
	sendBack   func(w *response, to string) // redirects to a client
	uncached   []string                     // Cache-Control of a page
}

// standard is the dialect of the RFCs.
var standard = dialect{
	profile:    oauth.Standard,
	parameters: standardParameters,
	query:      standardForm,
	basic:      standardBasic,
	shareWith:  shareWithAllowed,
	grant:      grantStandard,
	refuse:     refuseStandard,
	sendBack:   sendBackStandard,
	uncached:   noStore,
}

// oroCommerce is the dialect of OroCommerce, to the byte.
var oroCommerce = dialect{
	profile:    oauth.OroCommerce,
	parameters: oroParameters,
	query:      oroForm,
	basic:      oroBasic,
	shareWith:  shareLikeOro,
	grant:      grantOro,
	refuse:     refuseOro,
	sendBack:   sendBackOro,
	uncached:   noCachePrivate,
}

// Header values, shared by all answers: nobody may change them.
var (
	jsonType       = []string{"application/json"}
	jsonTypeUTF8   = []string{"application/json; charset=UTF-8"}
	htmlType       = []string{"text/html; charset=UTF-8"}
	plainText      = []string{"text/plain; charset=UTF-8"}
	noStore        = []string{"no-store"}
	noStorePrivate = []string{"no-store, private"}
	noCachePrivate = []string{"no-cache, private"}
	noCache        = []string{"no-cache"}
	publicFor300   = []string{"public, max-age=300"}
	forEver        = []string{"public, max-age=31536000, immutable"}
	noSniff        = []string{"nosniff"}
	noReferrer     = []string{"no-referrer"}
	anyOrigin      = []string{"*"}
	varyOrigin     = []string{"Origin"}
	varyAccept     = []string{"Accept"}
	exposedHeaders = []string{"X-Request-Id, Retry-After, WWW-Authenticate"}
	noContent      = []string{"default-src 'none'; frame-ancestors 'none'"}
	noFrame        = []string{"DENY"}
	basicChallenge = []string{`Basic realm="counterfoil"`}
)

// statuses are the statuses of refusals that are about HTTP or time, by reason.
var statuses = map[string]int{
	oauth.ErrPathUnknown.Reason:       http.StatusNotFound,
	oauth.ErrMethodNotAllowed.Reason:  http.StatusMethodNotAllowed,
	oauth.ErrBodyTooLarge.Reason:      http.StatusRequestEntityTooLarge,
	oauth.ErrURITooLong.Reason:        http.StatusRequestURITooLong,
	oauth.ErrMediaType.Reason:         http.StatusUnsupportedMediaType,
	oauth.ErrScopeInsufficient.Reason: http.StatusForbidden,
	oauth.ErrThrottled.Reason:         http.StatusTooManyRequests,
	oauth.ErrRetryBudgetSpent.Reason:  http.StatusTooManyRequests,
	oauth.ErrBusy.Reason:              http.StatusServiceUnavailable,
	errFault.Reason:                   http.StatusServiceUnavailable,
}

// status is the status of a refusal (RFC 6749 section 5.2, where none is named).
func status(refusal *oauth.Refusal) int {
	return cmp.Or(statuses[refusal.Reason], http.StatusBadRequest)
}

// refuse writes the refusals of everything but the token endpoints and resources.
// Where OroCommerce has an answer of its own, that is a page, unless JSON is asked
// for, and its headers are kept.
func refuse(w *response, r *http.Request, refusal *oauth.Refusal) {
	h, code := w.Header(), status(refusal)
	h["Cache-Control"] = noCachePrivate
	if strings.HasPrefix(w.route.path, "/oauth2/") {
		h["Cache-Control"] = noStore
	}
	oros := strings.HasPrefix(w.route.path, "/oauth2-token") || w.route.path == "unknown"
	if !oros || strings.Contains(r.Header.Get("Accept"), "json") {
		writeError(w, code, refusal)
		return
	}
	h["Content-Security-Policy"], h["X-Frame-Options"] = noContent, noFrame
	title := http.StatusText(code)
	w.send(code, htmlType, []byte("<!DOCTYPE html>\n<html lang=\"en\"><head><title>"+title+"</title></head><body><h1>"+title+"</h1><p>"+refusal.Description+"</p></body></html>"))
}

// writeError writes an error in JSON (RFC 6749 section 5.2).
func writeError(w *response, status int, refusal *oauth.Refusal) {
	b := append(make([]byte, 0, 256), `{"error":`...)
	b = appendString(b, refusal.Code)
	b = append(b, `,"error_description":`...)
	b = appendString(b, refusal.Description)
	w.send(status, jsonType, append(b, '}'))
}

// grantStandard writes tokens as RFC 6749 section 5.1 has it.
func grantStandard(w *response, t *oauth.TokenResponse) {
	b := appendTokens(make([]byte, 0, 1280), t)
	b = append(b, `,"scope":`...)
	b = appendString(b, t.Scope.String())
	h := w.Header()
	h["Cache-Control"], h["Pragma"] = noStore, noCache
	w.send(http.StatusOK, jsonType, append(b, '}'))
}

// refuseStandard words a refusal as RFC 6749 section 5.2 has it.
func refuseStandard(w *response, r *http.Request, refusal *oauth.Refusal) {
	h := w.Header()
	h["Cache-Control"], h["Pragma"] = noStore, noCache
	code := status(refusal)
	if refusal.Code == oauth.ErrClientUnauthenticated.Code {
		code = http.StatusUnauthorized
		if r.Header.Get("Authorization") != "" {
			h["Www-Authenticate"] = basicChallenge
		}
	}
	writeError(w, code, refusal)
}

// grantOro writes tokens as OroCommerce does: never a scope.
func grantOro(w *response, t *oauth.TokenResponse) {
	b := appendTokens(make([]byte, 0, 1280), t)
	h := w.Header()
	h["Cache-Control"], h["Pragma"] = noStorePrivate, noCache
	w.send(http.StatusOK, jsonTypeUTF8, append(b, '}'))
}

// oroError is how OroCommerce words an error. An empty hint is left out; %s in one
// stands for what the refusal is about.
type oroError struct {
	status                  int
	code, description, hint string
}

const (
	oroRequest = "The request is missing a required parameter, includes an invalid parameter value, includes a parameter more than once, or is otherwise malformed."
	oroGrant   = "The provided authorization grant (e.g., authorization code, resource owner credentials) or refresh token is invalid, expired, revoked, does not match the redirection URI used in the authorization request, or was issued to another client."
	oroRefresh = "The refresh token is invalid."
	oroClient  = "Client authentication failed"
	oroScopes  = "The requested scope is invalid, unknown, or malformed"
	oroRevoked = "Token has been revoked"
	oroCode    = "Authorization code has been revoked"
	oroRead    = "Check that all required parameters have been provided"
	oroBlocked = "Your password was reset by administrator. Please, check your email for details."
)

// oroErrors words the refusals, by reason. The others get their status and, for a
// bad request, the text that OroCommerce has for all of them.
var oroErrors = map[string]oroError{
	oauth.ErrGrantTypeMissing.Reason:      {400, "unsupported_grant_type", oauth.ErrGrantTypeUnsupported.Description, oroRead},
	oauth.ErrGrantTypeUnsupported.Reason:  {400, "unsupported_grant_type", oauth.ErrGrantTypeUnsupported.Description, oroRead},
	oauth.ErrParameterInvalid.Reason:      {400, "invalid_request", oroRequest, "Check the `%s` parameter"},
	oauth.ErrClientUnauthenticated.Reason: {401, "invalid_client", oroClient, ""},
	oauth.ErrClientUnauthorized.Reason:    {401, "invalid_client", oroClient, ""},
	oauth.ErrRedirectURIUnknown.Reason:    {401, "invalid_client", oroClient, ""},
	oauth.ErrPasswordIncorrect.Reason:     {400, "invalid_grant", oauth.ErrPasswordIncorrect.Description, ""},
	oauth.ErrSubjectDisabled.Reason:       {400, "invalid_grant", oroGrant, "Account is disabled."},
	oauth.ErrSubjectLocked.Reason:         {400, "invalid_grant", oroGrant, "Account is locked."},
	oauth.ErrSubjectReset.Reason:          {400, "invalid_grant", oroGrant, oroBlocked},
	oauth.ErrScopeInvalid.Reason:          {400, "invalid_scope", oroScopes, "Check the `%s` scope"},
	oauth.ErrRefreshTokenMalformed.Reason: {401, "invalid_request", oroRefresh, "Cannot decrypt the refresh token"},
	oauth.ErrGrantOfAnotherClient.Reason:  {401, "invalid_request", oroRefresh, "Token is not linked to client"},
	oauth.ErrGrantExpired.Reason:          {401, "invalid_request", oroRefresh, "Token has expired"},
	oauth.ErrGrantUnknown.Reason:          {401, "invalid_request", oroRefresh, oroRevoked},
	oauth.ErrSubjectGone.Reason:           {401, "invalid_request", oroRefresh, oroRevoked},
	oauth.ErrGrantRevoked.Reason:          {401, "invalid_request", oroRefresh, oroRevoked},
	oauth.ErrGenerationUnknown.Reason:     {401, "invalid_request", oroRefresh, oroRevoked},
	oauth.ErrHistoryForked.Reason:         {401, "invalid_request", oroRefresh, oroRevoked},
	oauth.ErrReplay.Reason:                {401, "invalid_request", oroRefresh, oroRevoked},
	oauth.ErrStraggler.Reason:             {401, "invalid_request", oroRefresh, oroRevoked},
	oauth.ErrKeyBindingMismatch.Reason:    {401, "invalid_request", oroRefresh, ""},

	oauth.ErrClientUnknown.Reason:       {401, "invalid_client", oroClient, ""},
	oauth.ErrChallengeMissing.Reason:    {400, "invalid_request", oroRequest, "Code challenge must be provided for public clients"},
	oauth.ErrChallengeMethod.Reason:     {400, "invalid_request", oroRequest, "Code challenge method must be one of `S256`, `plain`"},
	oauth.ErrChallengeMalformed.Reason:  {400, "invalid_request", oroRequest, "Code challenge must follow the specifications of RFC-7636."},
	oauth.ErrChallengePlain.Reason:      {400, "invalid_request", oroRequest, "Plain code challenge method is not allowed for this client"},
	oauth.ErrCodeMalformed.Reason:       {400, "invalid_request", oroRequest, "Cannot decrypt the authorization code"},
	oauth.ErrCodeIsRefreshToken.Reason:  {400, "invalid_request", oroRequest, "Authorization code malformed"},
	oauth.ErrCodeExpired.Reason:         {400, "invalid_request", oroRequest, "Authorization code has expired"},
	oauth.ErrCodeUsed.Reason:            {400, "invalid_request", oroRequest, oroCode},
	oauth.ErrCodeUnknown.Reason:         {400, "invalid_request", oroRequest, oroCode},
	oauth.ErrCodeOfAnotherClient.Reason: {400, "invalid_request", oroRequest, "Authorization code was not issued to this client"},
	oauth.ErrRedirectURIMissing.Reason:  {400, "invalid_request", oroRequest, "Check the `redirect_uri` parameter"},
	oauth.ErrRedirectURIDiffers.Reason:  {400, "invalid_request", oroRequest, "Invalid redirect URI"},
	oauth.ErrVerifierUnexpected.Reason:  {400, "invalid_request", oroRequest, "code_verifier received when no code_challenge is present"},
	oauth.ErrVerifierMissing.Reason:     {400, "invalid_request", oroRequest, "Check the `code_verifier` parameter"},
	oauth.ErrVerifierMalformed.Reason:   {400, "invalid_request", oroRequest, "Code Verifier must follow the specifications of RFC-7636."},
	oauth.ErrVerifierWrong.Reason:       {400, "invalid_grant", oroGrant, "Failed to verify `code_verifier`."},
}

// oroErrorOf words a refusal, with its hint.
func oroErrorOf(refusal *oauth.Refusal) oroError {
	e, listed := oroErrors[refusal.Reason]
	if !listed {
		e = oroError{status(refusal), refusal.Code, refusal.Description, ""}
		if e.code == "invalid_request" {
			e.description = oroRequest
		}
		return e
	}
	switch refusal.Reason {
	case oauth.ErrParameterInvalid.Reason:
		e.hint = fmt.Sprintf(e.hint, refusal.Parameter)
	case oauth.ErrScopeInvalid.Reason:
		e.hint = fmt.Sprintf(e.hint, escapeLikePHP(refusal.Parameter))
		if refusal.Parameter == "" || refusal.Parameter == "0" { // both are empty in PHP
			e.hint = "Specify a scope in the request or set a default scope"
		}
	}
	return e
}

// refuseOro words a refusal as OroCommerce does. What should not be cached says
// so in its own header, which there is `no-cache, private`.
func refuseOro(w *response, r *http.Request, refusal *oauth.Refusal) {
	h := w.Header()
	h["Cache-Control"] = noCachePrivate
	if refusal.Reason == oauth.ErrBodyMalformed.Reason { // refused by its framework, not by OAuth
		h.Del("Access-Control-Allow-Origin")
		w.send(http.StatusBadRequest, jsonType, []byte(`{"code":400,"message":"Invalid json message received"}`))
		return
	}
	if refusal.Reason == oauth.ErrPathUnknown.Reason {
		refuse(w, r, refusal)
		return
	}
	e := oroErrorOf(refusal)
	if authorization := r.Header.Get("Authorization"); e.code == "invalid_client" && authorization != "" {
		scheme := "Basic"
		if strings.HasPrefix(authorization, "Bearer") {
			scheme = "Bearer"
		}
		h["Www-Authenticate"] = []string{scheme + ` realm="OAuth"`}
	}
	b := append(make([]byte, 0, 768), `{"error":`...)
	b = appendString(b, e.code)
	b = append(b, `,"error_description":`...)
	b = appendString(b, e.description)
	if e.hint != "" {
		b = append(b, `,"hint":`...)
		b = appendString(b, e.hint)
	}
	b = append(b, `,"message":`...)
	b = appendString(b, e.description)
	w.send(e.status, jsonType, append(b, '}'))
}

// escapeLikePHP is htmlspecialchars with quotes and without double encoding. Of
// text that is not UTF-8 it leaves nothing.
func escapeLikePHP(s string) string {
	if !utf8.ValidString(s) {
		return ""
	}
	var b strings.Builder
	for i, r := range s {
		switch r {
		case '&':
			if isEntity(s[i:]) {
				b.WriteByte('&')
			} else {
				b.WriteString("&amp;")
			}
		case '<':
			b.WriteString("&lt;")
		case '>':
			b.WriteString("&gt;")
		case '"':
			b.WriteString("&quot;")
		case '\'':
			b.WriteString("&#039;")
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// isEntity reports whether a text begins with a character reference of HTML.
func isEntity(s string) bool {
	name, _, closed := strings.Cut(s[1:], ";")
	meant := html.UnescapeString("&" + name + ";")
	return closed && !strings.ContainsAny(name, "& ") && !strings.HasSuffix(meant, ";")
}

// appendString writes a JSON string as PHP's json_encode does, which is one of the
// spellings that JSON allows: slashes escaped, and everything beyond ASCII.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	if isPlain(s) {
		return append(append(b, s...), '"')
	}
	for _, r := range s {
		switch {
		case r == '"' || r == '\\' || r == '/':
			b = append(b, '\\', byte(r))
		case r >= 0x20 && r < 0x7F:
			b = append(b, byte(r))
		default:
			b = appendEscape(b, r)
		}
	}
	return append(b, '"')
}

// isPlain reports whether no character of s needs an escape. Tokens are plain, and
// long enough for this to matter.
func isPlain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c >= 0x7F || c == '"' || c == '\\' || c == '/' {
			return false
		}
	}
	return true
}

func appendEscape(b []byte, r rune) []byte {
	const escapes, letters = "\b\f\n\r\t", "bfnrt"
	if i := strings.IndexRune(escapes, r); i >= 0 {
		return append(b, '\\', letters[i])
	}
	if r > 0xFFFF {
		return fmt.Appendf(b, `\u%04x\u%04x`, 0xD800+(r-0x10000)>>10, 0xDC00+(r-0x10000)&0x3FF)
	}
	return fmt.Appendf(b, `\u%04x`, r)
}

// appendSeconds writes a duration in whole seconds.
func appendSeconds(b []byte, d time.Duration) []byte {
	return strconv.AppendInt(b, int64(d/time.Second), 10)
}
