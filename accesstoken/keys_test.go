package accesstoken_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/counterfoil/counterfoil/accesstoken"
)

// wire stands for the network in tests with a clock of their own: the issuer answers
// with a set, after a time.
type wire struct {
	set     atomic.Pointer[string]
	takes   atomic.Int64 // nanoseconds
	down    atomic.Bool
	control string // Cache-Control
	fetches atomic.Int32
}

func (w *wire) publish(keys ...signingKey) {
	text := set(keys...)
	w.set.Store(&text)
}

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	w.fetches.Add(1)
	select {
	case <-time.After(time.Duration(w.takes.Load())):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	if w.down.Load() {
		return nil, errors.New("connection refused")
	}
	h := http.Header{"Cache-Control": {w.control}}
	return &http.Response{StatusCode: http.StatusOK, Header: h, Body: io.NopCloser(strings.NewReader(*w.set.Load())), Request: r}, nil
}

// bubble is a verifier in a bubble of synctest, whose time is its own.
type bubble struct {
	*wire
	*accesstoken.Verifier
	t *testing.T
}

func inBubble(t *testing.T, c accesstoken.Config, test func(b *bubble)) {
	t.Helper()
	for _, k := range allKeys() { // not made in the bubble, which others do not share
		k.jwk()
	}
	synctest.Test(t, func(t *testing.T) {
		w := &wire{control: "public, max-age=300"}
		w.publish(edDSA())
		c.Issuer, c.Audience, c.HTTPClient = "https://as.example", []string{audience}, &http.Client{Transport: w}
		test(&bubble{wire: w, Verifier: newVerifier(t, c), t: t})
	})
}

// token is a token by a key that lives as long as these tests.
func (b *bubble) token(k signingKey) string {
	i := issuer{URL: "https://as.example"}
	return k.token(i.claims().with("iat", 0).with("exp", int64(1)<<36))
}

// verify verifies a token by a key and checks what comes of it.
func (b *bubble) verify(k signingKey, want error) {
	b.t.Helper()
	if _, err := b.Verify(b.t.Context(), b.token(k)); !errors.Is(err, want) {
		b.t.Errorf("token by key %s: %v, want %v", k.kid, err, want)
	}
}

// fetched checks how often the issuer was asked up to now.
func (b *bubble) fetched(want int32) {
	b.t.Helper()
	synctest.Wait()
	if got := b.fetches.Load(); got != want {
		b.t.Errorf("%d fetches, want %d", got, want)
	}
}

// The set is fetched when the first token comes, and kept for max-age; within its last
// quarter a new one is fetched while requests go on with the old.
func TestKeysAreKept(t *testing.T) {
	t.Parallel()
	inBubble(t, accesstoken.Config{}, func(b *bubble) {
		b.fetched(0)
		b.verify(edDSA(), nil)
		b.fetched(1)
		time.Sleep(224 * time.Second)
		b.verify(edDSA(), nil)
		b.fetched(1)
		b.takes.Store(int64(2 * time.Second))
		time.Sleep(2 * time.Second)
		before := time.Now()
		for range 3 {
			b.verify(edDSA(), nil)
		}
		if waited := time.Since(before); waited != 0 {
			t.Errorf("requests waited %v for a set that is renewed in the background", waited)
		}
		b.fetched(2)
		time.Sleep(3 * time.Second)
		b.verify(edDSA(), nil)
		b.fetched(2)
	})
}

// A set that expired while nobody asked is not used again before it was renewed: a key
// may have been withdrawn.
func TestKeysExpire(t *testing.T) {
	t.Parallel()
	inBubble(t, accesstoken.Config{}, func(b *bubble) {
		b.verify(edDSA(), nil)
		b.publish(es256())
		time.Sleep(301 * time.Second)
		b.takes.Store(int64(time.Second))
		b.verify(edDSA(), accesstoken.ErrKeyUnknown)
		b.verify(es256(), nil)
		b.fetched(2)
	})
}

// A key that disappears is not taken after the next fetch, though its header was seen.
func TestKeyWithdrawal(t *testing.T) {
	t.Parallel()
	inBubble(t, accesstoken.Config{}, func(b *bubble) {
		b.publish(edDSA(), es256())
		b.verify(es256(), nil)
		b.verify(edDSA(), nil)
		b.publish(edDSA())
		time.Sleep(226 * time.Second)
		b.verify(es256(), nil) // begins the fetch
		b.fetched(2)
		b.verify(es256(), accesstoken.ErrKeyUnknown)
		b.verify(edDSA(), nil)
	})
}

func TestMaxAge(t *testing.T) {
	t.Parallel()
	tests := []struct {
		control string
		kept    time.Duration
	}{
		{"public, max-age=300", 5 * time.Minute},
		{"", 5 * time.Minute},
		{"MAX-AGE=\"600\"", 10 * time.Minute},
		{"max-age=1", time.Minute},
		{"max-age=0", time.Minute},
		{"max-age=-1", time.Minute},
		{"max-age=99999999999999999999", time.Minute},
		{"no-store", time.Minute},
		{"max-age=600, no-cache", time.Minute},
		{"max-age=31536000", time.Hour},
	}
	for _, tt := range tests {
		t.Run(tt.control, func(t *testing.T) {
			t.Parallel()
			inBubble(t, accesstoken.Config{}, func(b *bubble) {
				b.control = tt.control
				b.verify(edDSA(), nil)
				time.Sleep(tt.kept*3/4 - time.Second)
				b.verify(edDSA(), nil)
				b.fetched(1)
				time.Sleep(time.Second)
				b.verify(edDSA(), nil)
				b.fetched(2)
			})
		})
	}
}

// A rotation is noticed by the first token of the new key, but strangers cannot make the
// issuer be asked more than once in five seconds.
func TestKeyRotationAndForgedKeys(t *testing.T) {
	t.Parallel()
	inBubble(t, accesstoken.Config{}, func(b *bubble) {
		b.verify(edDSA(), nil)
		b.publish(edDSA(), es256())
		time.Sleep(5 * time.Second)
		b.verify(es256(), nil)
		b.fetched(2)
		forged := func(n int) signingKey {
			return signingKey{kid: fmt.Sprint("forged", n), alg: accesstoken.EdDSA, signer: edDSA().signer}
		}
		for n := range 20 {
			b.verify(forged(n), accesstoken.ErrKeyUnknown)
			time.Sleep(500 * time.Millisecond)
		}
		b.fetched(3) // one in 10 seconds, after those before
		b.verify(edDSA(), nil)
	})
}

// A name that no key has is not asked for again within ten seconds.
func TestUnknownKeyIsRemembered(t *testing.T) {
	t.Parallel()
	inBubble(t, accesstoken.Config{}, func(b *bubble) {
		b.verify(edDSA(), nil)
		time.Sleep(5 * time.Second)
		for range 5 {
			b.verify(es256(), accesstoken.ErrKeyUnknown)
			time.Sleep(2 * time.Second)
		}
		b.fetched(2)
		b.publish(edDSA(), es256())
		b.verify(es256(), nil)
		b.fetched(3)
	})
}

// A clock that was put back does not keep a withdrawn key alive until it is where it was.
func TestClockPutBack(t *testing.T) {
	t.Parallel()
	var back time.Duration
	config := accesstoken.Config{Now: func() time.Time { return time.Now().Add(-back) }}
	inBubble(t, config, func(b *bubble) {
		b.verify(edDSA(), nil)
		b.publish(es256())
		back = 8 * time.Second
		b.verify(edDSA(), nil) // it serves, while a new set is fetched
		synctest.Wait()
		b.verify(edDSA(), accesstoken.ErrKeyUnknown)
		b.verify(es256(), nil)
	})
}

// 100 requests with an unknown key wait for one fetch.
func TestUnknownKeyCausesOneFetch(t *testing.T) {
	t.Parallel()
	inBubble(t, accesstoken.Config{}, func(b *bubble) {
		b.verify(edDSA(), nil)
		b.publish(edDSA(), es256())
		b.takes.Store(int64(time.Second))
		time.Sleep(5 * time.Second)
		token := b.token(es256())
		var wait sync.WaitGroup
		var good atomic.Int32
		for range 100 {
			wait.Go(func() {
				if _, err := b.Verify(context.Background(), token); err == nil {
					good.Add(1)
				}
			})
		}
		wait.Wait()
		b.fetched(2)
		if n := good.Load(); n != 100 {
			t.Errorf("%d of 100 were verified", n)
		}
	})
}

// Known keys serve through an outage without anybody waiting, for MaxStale; what needs an
// unknown key cannot be told.
func TestOutage(t *testing.T) {
	t.Parallel()
	inBubble(t, accesstoken.Config{MaxStale: time.Hour}, func(b *bubble) {
		b.verify(edDSA(), nil)
		b.down.Store(true)
		b.takes.Store(int64(4 * time.Second))
		time.Sleep(10 * time.Minute)
		b.verify(edDSA(), nil) // it waits: that the issuer is down was not known
		before := time.Now()
		for range 20 {
			b.verify(edDSA(), nil)
			time.Sleep(time.Second)
		}
		if waited := time.Since(before) - 20*time.Second; waited != 0 {
			t.Errorf("requests waited %v during an outage", waited)
		}
		b.verify(es256(), accesstoken.ErrUnavailable)
		b.verify(es256(), accesstoken.ErrUnavailable)
		time.Sleep(time.Hour)
		b.verify(edDSA(), accesstoken.ErrUnavailable)
		b.down.Store(false)
		b.verify(edDSA(), accesstoken.ErrUnavailable) // the floor
		time.Sleep(5 * time.Second)
		b.verify(edDSA(), nil)
	})
}

// Where keys were never had, a request that comes a moment after a failure is refused at
// once, and the next fetch helps.
func TestOutageAtStart(t *testing.T) {
	t.Parallel()
	inBubble(t, accesstoken.Config{}, func(b *bubble) {
		b.down.Store(true)
		if err := b.FetchKeys(b.t.Context()); !errors.Is(err, accesstoken.ErrUnavailable) {
			t.Errorf("FetchKeys: %v", err)
		}
		b.verify(edDSA(), accesstoken.ErrUnavailable)
		b.fetched(1)
		b.down.Store(false)
		time.Sleep(5 * time.Second)
		if err := b.FetchKeys(b.t.Context()); err != nil {
			t.Errorf("FetchKeys: %v", err)
		}
		b.verify(edDSA(), nil)
		b.fetched(2)
	})
}

// An issuer that hangs is given up after five seconds; who gives up earlier does not end
// the fetch for the others.
func TestFetchTimeout(t *testing.T) {
	t.Parallel()
	inBubble(t, accesstoken.Config{}, func(b *bubble) {
		b.takes.Store(int64(time.Hour))
		before := time.Now()
		b.verify(edDSA(), accesstoken.ErrUnavailable)
		if waited := time.Since(before); waited != 5*time.Second {
			t.Errorf("waited %v, want 5s", waited)
		}
		b.takes.Store(int64(3 * time.Second))
		var wait sync.WaitGroup
		wait.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			_, err := b.Verify(ctx, b.token(edDSA()))
			if !errors.Is(err, accesstoken.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("after a second: %v", err)
			}
		})
		wait.Go(func() { b.verify(edDSA(), nil) })
		wait.Wait()
		b.fetched(2)
	})
}

// The issuer is not asked about what no key can mend, however old its set is.
func TestNoFetchInVain(t *testing.T) {
	t.Parallel()
	inBubble(t, accesstoken.Config{Algorithms: []string{accesstoken.EdDSA}}, func(b *bubble) {
		b.verify(edDSA(), nil)
		time.Sleep(10 * time.Second)
		for _, header := range []string{
			`{"typ":"at+jwt","alg":"EdDSA"}`, `{"typ":"at+jwt","alg":"EdDSA","kid":""}`, `{"typ":"at+jwt","alg":"EdDSA","kid":"` + strings.Repeat("k", 65) + `"}`,
			`{"typ":"at+jwt","alg":"HS256","kid":"x"}`, `{"typ":"at+jwt","alg":"RS256","kid":"x"}`, `{"typ":"JWT","alg":"EdDSA","kid":"x"}`,
			`{"typ":"at+jwt","alg":"EdDSA","kid":"x","crit":["y"]}`,
		} {
			if _, err := b.Verify(b.t.Context(), edDSA().forge(accesstoken.EdDSA, header, "{}")); !errors.Is(err, accesstoken.ErrInvalid) {
				t.Errorf("%s: %v", header, err)
			}
		}
		b.fetched(1)
	})
}

// What is no JWK set is a fault, and does not replace the one that is known.
func TestMalformedSets(t *testing.T) {
	t.Parallel()
	many := strings.Repeat(string(edDSA().jwk())+",", 64) + string(edDSA().jwk())
	sets := map[string]string{
		"empty": "", "not JSON": "<html>", "a list": "[]", "null": "null", "no keys": "{}", "keys null": `{"keys":null}`,
		"keys an object": `{"keys":{}}`, "keys twice": `{"keys":[],"keys":[]}`, "something behind it": set(edDSA()) + "x",
		"too long": set(edDSA()) + strings.Repeat(" ", 256<<10), "too many keys": `{"keys":[` + many + `]}`,
	}
	for name, text := range sets {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := newIssuer(t, edDSA())
			now := instant
			c := i.config()
			c.Now = func() time.Time { return now }
			v := newVerifier(t, c)
			if err := v.FetchKeys(t.Context()); err != nil {
				t.Fatal(err)
			}
			i.answerText(text)
			now = now.Add(10 * time.Minute)
			if _, err := v.Verify(t.Context(), edDSA().token(i.claims())); err != nil {
				t.Errorf("with the keys from before: %v", err)
			}
			if n := i.fetches.Load(); n != 2 {
				t.Errorf("%d fetches, want 2", n)
			}
			if err := newVerifier(t, c).FetchKeys(t.Context()); !errors.Is(err, accesstoken.ErrUnavailable) {
				t.Errorf("FetchKeys: %v, want %v", err, accesstoken.ErrUnavailable)
			}
		})
	}
}

// Keys that must not be used are as if they were not in the set, and do no harm to those
// beside them.
func TestUnusableKeys(t *testing.T) {
	t.Parallel()
	weak := signingKey{"weak", accesstoken.RS256, must(rsa.GenerateKey(rand.Reader, 1024))}
	p384 := signingKey{"ed", accesstoken.ES256, must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))}
	changed := func(old, replacement string) string {
		text := strings.Replace(string(edDSA().jwk()), old, replacement, 1)
		if text == string(edDSA().jwk()) {
			t.Fatalf("%s is not in %s", old, text)
		}
		return text
	}
	private := string(must(jose.JSONWebKey{Key: edDSA().signer, KeyID: "ed", Algorithm: "EdDSA", Use: "sig"}.MarshalJSON()))
	tests := []struct {
		name, jwk string
		key       signingKey
	}{
		{"symmetric", `{"kty":"oct","k":"c2VjcmV0","kid":"ed","alg":"HS256","use":"sig"}`, edDSA()},
		{"symmetric, which says EdDSA", `{"kty":"oct","k":"c2VjcmV0","kid":"ed","alg":"EdDSA","use":"sig"}`, edDSA()},
		{"private", private, edDSA()},
		{"for encryption", changed(`"use":"sig"`, `"use":"enc"`), edDSA()},
		{"without alg", changed(`"alg":"EdDSA",`, ``), edDSA()},
		{"of another alg", changed(`"alg":"EdDSA"`, `"alg":"RS256"`), edDSA()},
		{"without kid", changed(`"kid":"ed",`, ``), edDSA()},
		{"with another kid", changed(`"kid":"ed"`, `"kid":"other"`), edDSA()},
		{"no key", `{"kid":"ed","alg":"EdDSA","use":"sig"}`, edDSA()},
		{"not an object", `"ed"`, edDSA()},
		{"twice", string(edDSA().jwk()) + "," + string(edDSA().jwk()), edDSA()},
		{"thrice", strings.Repeat(string(edDSA().jwk())+",", 2) + string(edDSA().jwk()), edDSA()},
		{"RSA of 1024 bits", string(weak.jwk()), weak},
		{"ES256 on P-384", string(p384.jwk()), edDSA()},
		{"a point that is not on the curve", `{"kty":"EC","crv":"P-256","x":"` + b64(strings.Repeat("\x01", 32)) + `","y":"` + b64(strings.Repeat("\x01", 32)) + `","kid":"ed","alg":"ES256","use":"sig"}`, edDSA()},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			i := newIssuer(t)
			i.answerText(`{"keys":[` + tt.jwk + `,` + string(es256().jwk()) + `]}`)
			v := newVerifier(t, i.config())
			if _, err := v.Verify(t.Context(), es256().token(i.claims())); err != nil {
				t.Errorf("token by the key beside it: %v", err)
			}
			if _, err := v.Verify(t.Context(), tt.key.token(i.claims())); !errors.Is(err, accesstoken.ErrKeyUnknown) {
				t.Errorf("token by the key: %v, want %v", err, accesstoken.ErrKeyUnknown)
			}
		})
	}
}

// A set without a usable key withdraws all; a program that asks for keys at start is told.
func TestEmptySet(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	v := newVerifier(t, i.config())
	if err := v.FetchKeys(t.Context()); !errors.Is(err, accesstoken.ErrUnavailable) {
		t.Errorf("FetchKeys: %v", err)
	}
	if _, err := v.Verify(t.Context(), edDSA().token(i.claims())); !errors.Is(err, accesstoken.ErrKeyUnknown) {
		t.Errorf("Verify: %v, want %v", err, accesstoken.ErrKeyUnknown)
	}
}

func TestIssuerAnswersOtherwise(t *testing.T) {
	t.Parallel()
	evil := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.Errorf("%s was fetched", r.URL)
		_, _ = w.Write([]byte(set(edDSA())))
	}))
	t.Cleanup(evil.Close)
	tests := []struct {
		name   string
		answer http.HandlerFunc
		good   bool
	}{
		{"503", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }, false},
		{"404 with a set", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNotFound)
			_, _ = w.Write([]byte(set(edDSA())))
		}, false},
		{"redirect elsewhere", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, evil.URL, http.StatusFound) }, false},
		{"redirect in a circle", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/oauth2/jwks", http.StatusFound) }, false},
		{"redirect within the origin", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/oauth2/jwks" {
				http.Redirect(w, r, "/keys", http.StatusFound)
				return
			}
			_, _ = w.Write([]byte(set(edDSA())))
		}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			i := newIssuer(t)
			i.answer(tt.answer)
			err := newVerifier(t, i.config()).FetchKeys(t.Context())
			if tt.good != (err == nil) || err != nil && !errors.Is(err, accesstoken.ErrUnavailable) {
				t.Errorf("FetchKeys: %v", err)
			}
			if n := i.fetches.Load(); n > 4 {
				t.Errorf("%d fetches, want 4 at most", n)
			}
		})
	}
}
