package accesstoken_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/counterfoil/counterfoil/accesstoken"
	"github.com/counterfoil/counterfoil/accesstoken/accesstokentest"
)

// oddSecret has what a client secret must be percent-encoded for (RFC 6749 section 2.3.1).
const oddSecret = "s3cret: 100%+ä&"

// fast has tokens be signed quickly.
var fast = accesstokentest.Algorithm(accesstoken.ES256)

// startIssuer starts an issuer inside of the process, for tests in a bubble.
func startIssuer(t *testing.T, options ...accesstokentest.Option) *accesstokentest.Issuer {
	t.Helper()
	return accesstokentest.NewIssuer(t, append(options, accesstokentest.InMemory(), accesstokentest.Client("orders:api", oddSecret))...)
}

// issue makes an access token that names the API.
func issue(i *accesstokentest.Issuer, subject string, options ...accesstokentest.TokenOption) string {
	return i.AccessToken(subject, append([]accesstokentest.TokenOption{fast, accesstokentest.Audience(i.ClientID)}, options...)...)
}

// verifierOf verifies the tokens of an issuer, of the Standard profile.
func verifierOf(t *testing.T, i *accesstokentest.Issuer, liveness accesstoken.Liveness) *accesstoken.Verifier {
	t.Helper()
	return newVerifier(t, accesstoken.Config{
		Issuer: i.URL, Audience: []string{i.URL, i.ClientID}, HTTPClient: i.HTTPClient(), Liveness: liveness,
	})
}

// oroVerifierOf verifies the tokens of OroCommerce's profile.
func oroVerifierOf(t *testing.T, i *accesstokentest.Issuer, liveness accesstoken.Liveness) *accesstoken.Verifier {
	t.Helper()
	return newVerifier(t, accesstoken.Config{
		Issuer: i.URL, Audience: []string{accesstoken.AnyClient}, Profile: accesstoken.OroCommerce, HTTPClient: i.HTTPClient(), Liveness: liveness,
	})
}

// read returns what a token says, dead or alive.
func read(t *testing.T, i *accesstokentest.Issuer, raw string) *accesstoken.Token {
	t.Helper()
	token, err := verifierOf(t, i, nil).Verify(t.Context(), raw)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// want checks what a verifier says of a token: nil, or the error that it must be.
func want(t *testing.T, v *accesstoken.Verifier, raw string, want error, what string) {
	t.Helper()
	if _, err := v.Verify(t.Context(), raw); !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

func introspect(t *testing.T, i *accesstokentest.Issuer, c accesstoken.IntrospectionConfig) *accesstoken.Introspection {
	t.Helper()
	c.Issuer, c.HTTPClient = i.URL, i.HTTPClient()
	c.ClientID, c.ClientSecret = i.ClientID, accesstoken.Secret(i.ClientSecret)
	introspection, err := accesstoken.NewIntrospection(c)
	if err != nil {
		t.Fatal(err)
	}
	return introspection
}

// TestIntrospection: each end of a token is seen, in both profiles; RFC 7662 over loopback.
func TestIntrospection(t *testing.T) {
	t.Parallel()
	for _, act := range acts {
		t.Run(act.name, func(t *testing.T) {
			t.Parallel()
			i := accesstokentest.NewIssuer(t, accesstokentest.Client("orders:api", oddSecret))
			liveness := introspect(t, i, accesstoken.IntrospectionConfig{CacheFor: -1})
			act.check(t, i, verifierOf(t, i, liveness), oroVerifierOf(t, i, liveness), func() {})
		})
	}
}

// TestIntrospectionShared: a hundred questions about one token at the same time are one
// request, also when the first who asked leaves.
func TestIntrospectionShared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		i := startIssuer(t)
		liveness := introspect(t, i, accesstoken.IntrospectionConfig{})
		token := read(t, i, issue(i, "alice"))
		i.Silence()
		first, leave := context.WithCancel(t.Context())
		left := make(chan error, 1)
		go func() { left <- liveness.Alive(first, token) }()
		synctest.Wait()
		answers := make(chan error, 100)
		for range cap(answers) {
			go func() { answers <- liveness.Alive(t.Context(), token) }()
		}
		synctest.Wait()
		leave()
		if err := <-left; !errors.Is(err, accesstoken.ErrUnavailable) || !errors.Is(err, context.Canceled) {
			t.Errorf("who left: %v, want ErrUnavailable and context.Canceled", err)
		}
		i.Up()
		for range cap(answers) {
			if err := <-answers; err != nil {
				t.Errorf("who waited: %v, want nil", err)
			}
		}
		if n := i.Requests(accesstokentest.PathIntrospect); n != 1 {
			t.Errorf("%d requests, want 1", n)
		}
	})
}

// TestIntrospectionCache: an answer, good or bad, is used for CacheFor from its question on.
func TestIntrospectionCache(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		i := startIssuer(t)
		v := verifierOf(t, i, introspect(t, i, accesstoken.IntrospectionConfig{CacheFor: 2 * time.Second}))
		raw := issue(i, "alice")
		want(t, v, raw, nil, "a living token")
		i.BlockUser("alice")
		time.Sleep(2*time.Second - time.Nanosecond)
		want(t, v, raw, nil, "a dead token that was alive 2 s ago")
		time.Sleep(time.Nanosecond)
		want(t, v, raw, accesstoken.ErrRevoked, "a dead token whose answer is 2 s old")
		i.UnblockUser("alice")
		time.Sleep(2*time.Second - time.Nanosecond)
		want(t, v, raw, accesstoken.ErrRevoked, "a living token that was dead 2 s ago")
		time.Sleep(time.Nanosecond)
		want(t, v, raw, nil, "a living token whose answer is 2 s old")
		if n := i.Requests(accesstokentest.PathIntrospect); n != 3 {
			t.Errorf("%d requests, want 3", n)
		}
	})
}

// TestIntrospectionLate: who comes when CacheFor is over does not join the question of
// who came before, since it may have been answered before.
func TestIntrospectionLate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		i := startIssuer(t)
		liveness := introspect(t, i, accesstoken.IntrospectionConfig{CacheFor: time.Second})
		token := read(t, i, issue(i, "alice"))
		i.Silence()
		answers := make(chan error, 2)
		for range cap(answers) {
			go func() { answers <- liveness.Alive(t.Context(), token) }()
			time.Sleep(time.Second)
		}
		i.Up()
		for range cap(answers) {
			if err := <-answers; err != nil {
				t.Errorf("Alive: %v, want nil", err)
			}
		}
		if n := i.Requests(accesstokentest.PathIntrospect); n != 2 {
			t.Errorf("%d requests, want 2", n)
		}
	})
}

// TestIntrospectionExpiry: no answer is kept beyond the end of its token.
func TestIntrospectionExpiry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		i := startIssuer(t, accesstokentest.Lifetime(10*time.Second))
		liveness := introspect(t, i, accesstoken.IntrospectionConfig{CacheFor: time.Hour})
		token := read(t, i, issue(i, "alice"))
		time.Sleep(10*time.Second - time.Nanosecond)
		if err := liveness.Alive(t.Context(), token); err != nil {
			t.Errorf("before its end: %v, want nil", err)
		}
		time.Sleep(time.Nanosecond)
		if err := liveness.Alive(t.Context(), token); !errors.Is(err, accesstoken.ErrRevoked) {
			t.Errorf("at its end: %v, want ErrRevoked", err)
		}
	})
}

// TestIntrospectionBound: no more than MaxCached answers are kept.
func TestIntrospectionBound(t *testing.T) {
	t.Parallel()
	i := accesstokentest.NewIssuer(t)
	const kept = 10
	v := verifierOf(t, i, introspect(t, i, accesstoken.IntrospectionConfig{CacheFor: time.Hour, MaxCached: kept}))
	tokens := make([]string, 3*kept)
	for n := range tokens {
		tokens[n] = issue(i, "alice")
		want(t, v, tokens[n], nil, "a living token")
	}
	i.BlockUser("alice")
	alive := 0
	for _, raw := range tokens {
		if _, err := v.Verify(t.Context(), raw); err == nil {
			alive++
		}
	}
	if alive > kept {
		t.Errorf("%d answers were kept, want %d at most", alive, kept)
	}
	want(t, v, tokens[len(tokens)-1], accesstoken.ErrRevoked, "the last token, pushed out by those before it")
}

// answers is an issuer that answers each request by the handler.
type answers http.HandlerFunc

// RoundTrip implements http.RoundTripper.
func (h answers) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	h(w, r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return w.Result(), nil
}

// answerJSON is an answer.
func answerJSON(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

// TestIntrospectionFaults: an answer that is none is neither life nor death, and is not
// kept.
func TestIntrospectionFaults(t *testing.T) {
	t.Parallel()
	i := accesstokentest.NewIssuer(t)
	token := read(t, i, issue(i, "alice", accesstokentest.TokenID("7d1f")))
	for name, fault := range map[string]http.HandlerFunc{
		"503":                   answerJSON(503, `{"error":"temporarily_unavailable"}`),
		"500 that says active":  answerJSON(500, `{"active":true}`),
		"401":                   answerJSON(401, `{"error":"invalid_client"}`),
		"400 that says dead":    answerJSON(400, `{"active":false}`),
		"204":                   answerJSON(204, ``),
		"empty":                 answerJSON(200, ``),
		"no JSON":               answerJSON(200, `active`),
		"cut off":               answerJSON(200, `{"active":true`),
		"something behind it":   answerJSON(200, `{"active":true}{}`),
		"a list":                answerJSON(200, `[true]`),
		"null":                  answerJSON(200, `null`),
		"without active":        answerJSON(200, `{"sub":"alice"}`),
		"active is a text":      answerJSON(200, `{"active":"true"}`),
		"active is a number":    answerJSON(200, `{"active":1}`),
		"active is null":        answerJSON(200, `{"active":null}`),
		"Active":                answerJSON(200, `{"Active":true}`),
		"active twice":          answerJSON(200, `{"active":false,"active":true}`),
		"another subject":       answerJSON(200, `{"active":true,"sub":"bob"}`),
		"another client":        answerJSON(200, `{"active":true,"client_id":"other"}`),
		"another end":           answerJSON(200, `{"active":true,"exp":4102444800}`),
		"another id":            answerJSON(200, `{"active":true,"jti":"7d20"}`),
		"another issuer":        answerJSON(200, `{"active":true,"iss":"https://other.example"}`),
		"subject of wrong type": answerJSON(200, `{"active":true,"sub":["alice"]}`),
		"too large":             answerJSON(200, `{"active":true}`+strings.Repeat(" ", 64<<10)),
		"a page":                func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`<title>{"active":true}</title>`)) },
		"another media type": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			_, _ = w.Write([]byte(`{"active":true}`))
		},
		"a redirect": func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/oauth2/introspect" {
				http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
				return
			}
			answerJSON(200, `{"active":true}`)(w, r)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			answer := fault
			liveness, err := accesstoken.NewIntrospection(accesstoken.IntrospectionConfig{
				Issuer: i.URL, ClientID: "api", ClientSecret: oddSecret, CacheFor: time.Hour,
				HTTPClient: &http.Client{Transport: answers(func(w http.ResponseWriter, r *http.Request) { answer(w, r) })},
			})
			if err != nil {
				t.Fatal(err)
			}
			err = liveness.Alive(t.Context(), token)
			if !errors.Is(err, accesstoken.ErrUnavailable) || errors.Is(err, accesstoken.ErrInvalid) {
				t.Errorf("Alive: %v, want ErrUnavailable", err)
			}
			checkSecrets(t, err.Error(), oddSecret, token.Raw())
			answer = answerJSON(200, `{"active":true}`)
			if err := liveness.Alive(t.Context(), token); err != nil {
				t.Errorf("Alive, when the issuer is in order again: %v, want nil", err)
			}
		})
	}
}

// endless is a body that never ends.
type endless struct{ read int }

// Read implements io.Reader.
func (e *endless) Read(b []byte) (int, error) {
	e.read += len(b)
	if e.read > 64<<20 {
		return 0, io.EOF // or the test would not end
	}
	return copy(b, bytes.Repeat([]byte(" "), len(b))), nil
}

// TestAnswerSize: of an answer that never ends no more is read than an answer may have.
func TestAnswerSize(t *testing.T) {
	t.Parallel()
	i := accesstokentest.NewIssuer(t)
	body := &endless{}
	client := &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(body)}, nil
	})}
	liveness, err := accesstoken.NewIntrospection(accesstoken.IntrospectionConfig{Issuer: i.URL, ClientID: "api", ClientSecret: oddSecret, HTTPClient: client})
	if err != nil {
		t.Fatal(err)
	}
	if err := liveness.Alive(t.Context(), read(t, i, issue(i, "alice"))); !errors.Is(err, accesstoken.ErrUnavailable) {
		t.Errorf("Alive: %v, want ErrUnavailable", err)
	}
	if body.read > 256<<10 {
		t.Errorf("%d bytes were read, want little more than 64 KiB", body.read)
	}
}

// checkSecrets refuses text that shows a secret, in any of the forms that are sent.
func checkSecrets(t *testing.T, text string, secrets ...string) {
	t.Helper()
	for _, secret := range secrets {
		request := httptest.NewRequest(http.MethodGet, "/", nil)
		request.SetBasicAuth("api", secret)
		for _, form := range []string{secret, strings.TrimPrefix(request.Header.Get("Authorization"), "Basic ")} {
			if strings.Contains(text, form) {
				t.Errorf("a secret is shown: %s", text)
			}
		}
	}
	if strings.Contains(text, "s3cret") {
		t.Errorf("a part of the secret is shown: %s", text)
	}
}

// TestIntrospectionTimeout: an issuer that says nothing is waited for as long as Timeout,
// and by nobody longer than his own context.
func TestIntrospectionTimeout(t *testing.T) {
	t.Parallel()
	for name, cacheFor := range map[string]time.Duration{"with cache": 0, "without": -1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				i := startIssuer(t)
				liveness := introspect(t, i, accesstoken.IntrospectionConfig{Timeout: 3 * time.Second, CacheFor: cacheFor})
				token := read(t, i, issue(i, "alice"))
				i.Silence()
				for patience, wanted := range map[time.Duration]time.Duration{time.Minute: 3 * time.Second, time.Second: time.Second} {
					ctx, cancel := context.WithTimeout(t.Context(), patience)
					defer cancel()
					began := time.Now()
					if err := liveness.Alive(ctx, token); !errors.Is(err, accesstoken.ErrUnavailable) {
						t.Errorf("Alive: %v, want ErrUnavailable", err)
					}
					if took := time.Since(began); took != wanted {
						t.Errorf("who has %s waited %s, want %s", patience, took, wanted)
					}
					time.Sleep(3 * time.Second) // until nobody's question is on its way
				}
			})
		})
	}
}

// TestClientConfig: what is missing or would send a secret over an open wire is an error
// at the start, of both who ask the issuer.
func TestClientConfig(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name             string
		issuer, url      string
		clientID, secret string
		wrong            bool
	}{
		{name: "issuer", issuer: "https://id.example", clientID: "api", secret: "s3cret"},
		{name: "URL", url: "https://id.example/other/path", clientID: "api", secret: "s3cret"},
		{name: "loopback", issuer: "http://127.0.0.1:8080", clientID: "api", secret: "s3cret"},
		{name: "loopback by name", issuer: "http://localhost:8080", clientID: "api", secret: "s3cret"},
		{name: "loopback of IPv6", issuer: "http://[::1]:8080", clientID: "api", secret: "s3cret"},
		{name: "neither issuer nor URL", clientID: "api", secret: "s3cret", wrong: true},
		{name: "no client", issuer: "https://id.example", secret: "s3cret", wrong: true},
		{name: "no secret", issuer: "https://id.example", clientID: "api", wrong: true},
		{name: "plain http", issuer: "http://id.example", clientID: "api", secret: "s3cret", wrong: true},
		{name: "plain http to what looks like loopback", issuer: "http://localhost.example", clientID: "api", secret: "s3cret", wrong: true},
		{name: "plain http in the URL", issuer: "https://id.example", url: "http://id.example/x", clientID: "api", secret: "s3cret", wrong: true},
		{name: "a secret in the URL", issuer: "https://api:s3cret@id.example", clientID: "api", secret: "s3cret", wrong: true},
		{name: "a broken URL with a secret", issuer: "https://api:s3cret@id.example:x", clientID: "api", secret: "s3cret", wrong: true},
		{name: "another scheme", issuer: "ftp://id.example", clientID: "api", secret: "s3cret", wrong: true},
		{name: "no host", issuer: "https:///oauth2", clientID: "api", secret: "s3cret", wrong: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			introspection := accesstoken.IntrospectionConfig{
				Issuer: test.issuer, URL: test.url, ClientID: test.clientID, ClientSecret: accesstoken.Secret(test.secret),
			}
			i, err := accesstoken.NewIntrospection(introspection)
			if (err != nil) != test.wrong {
				t.Errorf("NewIntrospection: %v, want an error: %t", err, test.wrong)
			}
			feed := accesstoken.FeedConfig{
				Issuer: test.issuer, URL: test.url, ClientID: test.clientID, ClientSecret: accesstoken.Secret(test.secret),
			}
			f, errFeed := accesstoken.NewFeed(feed)
			if (errFeed != nil) != test.wrong {
				t.Errorf("NewFeed: %v, want an error: %t", errFeed, test.wrong)
			}
			checkSecrets(t, fmt.Sprint(err, errFeed))
			if !test.wrong {
				checkSecrets(t, fmt.Sprintf("%v %+v %#v %v %+v %#v", introspection, introspection, introspection, i, i, i))
				checkSecrets(t, fmt.Sprintf("%v %+v %#v %v %+v %#v", feed, feed, feed, f, f, f))
			}
		})
	}
}
