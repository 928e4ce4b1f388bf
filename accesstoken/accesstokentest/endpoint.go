package accesstokentest

import (
	"crypto/subtle"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// How long a request for what is new waits, unless it says so itself, and at most.
const (
	defaultWait = 25 * time.Second
	maxWait     = 50 * time.Second
)

const typeIntrospection = "token-introspection+jwt" // RFC 9701 section 5

func (i *Issuer) serveKeys(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Cache-Control", "public, max-age=300")
	writeJSON(w, http.StatusOK, i.published())
}

// serveMetadata answers with what an API may look for (RFC 8414 section 2).
func (i *Issuer) serveMetadata(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]any{
		"issuer":                 i.URL,
		"jwks_uri":               i.URL + PathKeys,
		"introspection_endpoint": i.URL + PathIntrospect,
		"introspection_endpoint_auth_methods_supported": []string{"client_secret_basic", "client_secret_post"},
	})
}

// claims is what of a token's payload decides about its life.
type claims struct {
	Issuer     string  `json:"iss"`
	ClientID   string  `json:"client_id"`
	GrantID    string  `json:"grant_id"`
	Generation int64   `json:"gen"`
	NotBefore  int64   `json:"client_not_before"`
	Expires    float64 `json:"exp"`
}

// serveIntrospection answers RFC 7662, as a signed JWT where that is asked for (RFC 9701).
func (i *Issuer) serveIntrospection(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	if err := r.ParseForm(); err != nil || len(r.PostForm["token"]) != 1 {
		writeError(w, http.StatusBadRequest, "invalid_request")
		return
	}
	if !i.knows(r, r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")) {
		refuseClient(w)
		return
	}
	answer := i.introspect(r.PostForm.Get("token"))
	if !strings.Contains(r.Header.Get("Accept"), "application/"+typeIntrospection) {
		writeJSON(w, http.StatusOK, answer)
		return
	}
	k, _ := i.signingKey("RS256")
	payload := must(json.Marshal(map[string]any{"iss": i.URL, "aud": i.ClientID, "iat": i.now().Unix(), "token_introspection": answer}))
	w.Header().Set("Content-Type", "application/"+typeIntrospection)
	_, _ = w.Write([]byte(sign(k, typeIntrospection, payload)))
}

// introspect says what there is to say about a token, dead or alive.
func (i *Issuer) introspect(raw string) map[string]any {
	dead := map[string]any{"active": false}
	payload, ok := i.verify(raw)
	if !ok {
		return dead
	}
	var c claims
	var all map[string]any
	if json.Unmarshal(payload, &c) != nil || json.Unmarshal(payload, &all) != nil {
		return dead
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	now := i.now()
	visible := c.ClientID == i.ClientID || all["aud"] == i.ClientID || slices.Contains(texts(all["aud"]), i.ClientID)
	if c.Issuer != i.URL || c.Expires <= float64(now.Unix()) || !visible || !i.life.alive(&c, now) {
		return dead
	}
	answer := map[string]any{"active": true, "token_type": "Bearer", "scope": scopeText(all)}
	for _, name := range []string{"client_id", "exp", "iat", "nbf", "sub", "aud", "iss", "jti", "grant_id", "gen", "cnf"} {
		if value, present := all[name]; present {
			answer[name] = value
		}
	}
	if g := i.life.grants[c.GrantID]; g != nil {
		answer["username"] = g.username
	}
	return answer
}

// scopeText is the scope of either profile (RFC 7662 section 2.2).
func scopeText(all map[string]any) string {
	if text, ok := all["scope"].(string); ok {
		return text
	}
	return strings.Join(texts(all["scopes"]), " ")
}

// texts returns the texts of a JSON list.
func texts(list any) []string {
	values, _ := list.([]any)
	var texts []string
	for _, v := range values {
		if text, ok := v.(string); ok {
			texts = append(texts, text)
		}
	}
	return texts
}

// verify checks a token's signature against the published keys; the key decides about the
// algorithm (RFC 8725 section 3.1).
func (i *Issuer) verify(raw string) (payload []byte, ok bool) {
	signed, err := jose.ParseSignedCompact(raw, []jose.SignatureAlgorithm{jose.RS256, jose.PS256, jose.ES256, jose.EdDSA})
	if err != nil {
		return nil, false
	}
	header := signed.Signatures[0].Header
	i.mu.Lock()
	keys := slices.Clone(i.retired)
	if k, known := i.keys[header.Algorithm]; known {
		keys = append(keys, k)
	}
	i.mu.Unlock()
	for _, k := range keys {
		if k.alg != header.Algorithm || k.made().KeyID != header.KeyID {
			continue
		}
		payload, err := signed.Verify(k.public())
		return payload, err == nil
	}
	return nil, false
}

// serveRevocations is the feed. With `since` and nothing new it holds the request.
func (i *Issuer) serveRevocations(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if !i.knows(r, "", "") {
		refuseClient(w)
		return
	}
	query := r.URL.Query()
	wait, err := parseWait(query.Get("wait"))
	if err != nil {
		writeError(w, http.StatusBadRequest, "invalid_request")
		return
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	first, turned := i.feed(query.Get("since"))
	answer := first
	for !answer.Complete && len(answer.Revocations) == 0 && wait > 0 {
		select {
		case <-timer.C:
			wait = 0
		case <-turned:
		case <-r.Context().Done():
			return
		case <-i.closed:
			return
		}
		if state := i.awaitVoice(r.Context()); state != up {
			writeUnavailable(w)
			return
		}
		if answer, turned = i.feed(query.Get("since")); answer.run != first.run {
			panic(http.ErrAbortHandler) // the server is another now
		}
	}
	writeJSON(w, http.StatusOK, answer)
}

// page is an answer of the feed.
type page struct {
	Next        string  `json:"next"`
	Complete    bool    `json:"complete,omitempty"`
	More        bool    `json:"more,omitempty"`
	Revocations []entry `json:"revocations"`

	run string
}

// feed returns what came after a cursor, or a whole list where it cannot be continued; and
// a channel that is closed at the next change.
func (i *Issuer) feed(since string) (page, <-chan struct{}) {
	i.mu.Lock()
	defer i.mu.Unlock()
	run, text, _ := strings.Cut(since, ".")
	number, err := strconv.ParseInt(text, 10, 64)
	complete := err != nil || run != i.life.run || number > i.life.number
	if complete {
		number = 0
	}
	entries, last, more := i.life.after(number, i.pageSize, i.now())
	return page{
		Next:        i.life.run + "." + strconv.FormatInt(last, 10),
		Complete:    complete,
		More:        more,
		Revocations: append([]entry{}, entries...),
		run:         i.life.run,
	}, i.turned
}

func parseWait(text string) (time.Duration, error) {
	if text == "" {
		return defaultWait, nil
	}
	seconds, err := strconv.ParseUint(text, 10, 16)
	if wait := time.Duration(seconds) * time.Second; err == nil && wait <= maxWait {
		return wait, nil
	}
	return 0, errors.New("wait is no number of seconds up to 50")
}

// knows authenticates the API: by HTTP Basic, percent-encoded or not (RFC 6749 section
// 2.3.1), or by what the body said.
func (i *Issuer) knows(r *http.Request, id, secret string) bool {
	basicID, basicSecret, basic := r.BasicAuth()
	if !basic {
		return i.is(id, secret)
	}
	if id != "" || secret != "" {
		return false // one way only (RFC 6749 section 2.3)
	}
	decodedID, errID := url.QueryUnescape(basicID)
	decodedSecret, errSecret := url.QueryUnescape(basicSecret)
	return i.is(basicID, basicSecret) || errID == nil && errSecret == nil && i.is(decodedID, decodedSecret)
}

func (i *Issuer) is(id, secret string) bool {
	return id == i.ClientID && subtle.ConstantTimeCompare([]byte(secret), []byte(i.ClientSecret)) == 1
}

func refuseClient(w http.ResponseWriter) {
	w.Header().Set("WWW-Authenticate", `Basic realm="accesstokentest"`)
	writeError(w, http.StatusUnauthorized, "invalid_client")
}

func writeUnavailable(w http.ResponseWriter) {
	w.Header().Set("Retry-After", "1")
	writeError(w, http.StatusServiceUnavailable, "temporarily_unavailable")
}

func writeError(w http.ResponseWriter, status int, code string) {
	writeJSON(w, status, map[string]string{"error": code})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	body := must(json.Marshal(v))
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
