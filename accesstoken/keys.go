package accesstoken

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"
)

// How often keys are fetched.
const (
	fetchTimeout = 5 * time.Second
	fetchFloor   = 5 * time.Second // between the beginnings of two fetches, whatever is asked for

	defaultMaxAge = 5 * time.Minute // where the issuer does not say how long a set may be kept
	minMaxAge     = time.Minute
	maxMaxAge     = time.Hour // so long may a withdrawn key live, whatever the issuer says

	unknownFor = 10 * time.Second // a key that was not in the set is not asked for again
)

// The limits of what is kept.
const (
	maxSetBytes = 256 << 10
	maxKeys     = 64
	maxUnknown  = 1024
	maxHeaders  = 64
)

// keySet is a JWK set as it was fetched. It does not change, but for what it remembers
// of headers.
type keySet struct {
	keys map[string]*key

	fetchedAt time.Time
	renewAt   time.Time // from here on, a new set is fetched while this one serves
	expiresAt time.Time // from here on, requests wait for it
	uselessAt time.Time // an outage of the issuer lasted too long

	mu      sync.Mutex
	headers atomic.Pointer[map[string]*key]
}

// header returns the key of a token whose encoded header is one that was seen above a
// good signature.
func (s *keySet) header(encoded string) *key { return (*s.headers.Load())[encoded] }

// remember keeps an encoded header, which was above a good signature: so that strangers
// cannot fill the memory.
func (s *keySet) remember(encoded string, k *key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := *s.headers.Load()
	if len(old) >= maxHeaders {
		return
	}
	headers := maps.Clone(old)
	headers[strings.Clone(encoded)] = k
	s.headers.Store(&headers)
}

// keySource fetches the issuer's JWK set (RFC 7517 section 5) and keeps it.
type keySource struct {
	url        string
	client     *http.Client
	algorithms []string
	maxStale   time.Duration

	set     atomic.Pointer[keySet]
	failing atomic.Bool // the last fetch did

	mu      sync.Mutex
	running *fetch               // nil: none is
	tried   time.Time            // when the last one began
	unknown map[string]time.Time // identifiers that were not in the set, until when nobody asks again
}

// fetch is a request for the set. Any number of callers wait for it.
type fetch struct {
	done chan struct{} // closed when it is over
	err  error         // to be read after that
}

// wait returns what became of the fetch, or that the context ended before.
func (f *fetch) wait(ctx context.Context) error {
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// errTooSoon: the floor between fetches forbids one.
var errTooSoon = errors.New("the issuer was asked a moment ago")

// current returns the set to use. A request waits for it where there is none, or where
// nobody asked for so long that the set expired; not while the issuer is down.
func (s *keySource) current(ctx context.Context, now time.Time) (*keySet, error) {
	set := s.set.Load()
	if set != nil && now.Before(set.renewAt) && !now.Before(set.fetchedAt) { // else the clock was put back
		return set, nil
	}
	f := s.fetch(now)
	serves := set != nil && now.Before(set.uselessAt)
	if serves && (now.Before(set.expiresAt) || s.failing.Load()) {
		return set, nil
	}
	err := errTooSoon
	if f != nil {
		err = f.wait(ctx)
	}
	if set = s.set.Load(); set != nil && now.Before(set.uselessAt) {
		return set, nil
	}
	return nil, fmt.Errorf("%w: keys: %w", ErrUnavailable, err)
}

// lookUp returns the key that a token names. Where the set has none, the issuer is asked
// for a newer set, but not twice about the same name and not often.
func (s *keySource) lookUp(ctx context.Context, now time.Time, kid string) (*keySet, *key, error) {
	set, err := s.current(ctx, now)
	if err != nil {
		return nil, nil, err
	}
	if k := set.keys[kid]; k != nil {
		return set, k, nil
	}
	if s.isUnknown(kid, now) {
		return nil, nil, ErrKeyUnknown
	}
	f := s.fetch(now)
	if f != nil {
		err = f.wait(ctx)
	}
	set = s.set.Load()
	k := set.keys[kid]
	switch {
	case k != nil:
		return set, k, nil
	case err != nil:
		return nil, nil, fmt.Errorf("%w: keys: %w", ErrUnavailable, err)
	case s.failing.Load():
		return nil, nil, fmt.Errorf("%w: keys: %w", ErrUnavailable, errTooSoon)
	}
	if f != nil {
		s.noteUnknown(kid, now)
	}
	return nil, nil, ErrKeyUnknown // by a set that is a few seconds old at most
}

func (s *keySource) isUnknown(kid string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	until, known := s.unknown[kid]
	return known && now.Before(until)
}

// noteUnknown remembers a name that no key has. When there are too many, all are
// forgotten: the floor between fetches still holds.
func (s *keySource) noteUnknown(kid string, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unknown == nil || len(s.unknown) >= maxUnknown {
		s.unknown = make(map[string]time.Time)
	}
	s.unknown[strings.Clone(kid)] = now.Add(unknownFor)
}

// fetch returns the fetch that runs, or one that it begins, or nil where it is too soon
// for that.
func (s *keySource) fetch(now time.Time) *fetch {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running != nil {
		return s.running
	}
	if !s.tried.IsZero() && now.Before(s.tried.Add(fetchFloor)) && !now.Before(s.tried) {
		return nil
	}
	s.tried = now
	s.running = &fetch{done: make(chan struct{})}
	go s.run(s.running, now)
	return s.running
}

// run fetches the set. The request is nobody's: who began it may have gone.
func (s *keySource) run(f *fetch, now time.Time) {
	ctx, cancel := context.WithTimeout(context.Background(), fetchTimeout)
	defer cancel()
	set, err := s.get(ctx, now)
	if err == nil {
		s.set.Store(set)
	}
	s.failing.Store(err != nil)
	f.err = err
	s.mu.Lock()
	s.running = nil
	s.mu.Unlock()
	close(f.done)
}

// get asks the issuer for its set, as old as the beginning of the request.
func (s *keySource) get(ctx context.Context, now time.Time) (*keySet, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/jwk-set+json, application/json")
	request.Header.Set("Cache-Control", "no-cache") // a cache on the way may have an older set
	answer, err := s.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }() // it is read, or the connection is given up
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the issuer answered %d", answer.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxSetBytes+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read JWK set: %w", err)
	case len(body) > maxSetBytes:
		return nil, errors.New("the JWK set is longer than 256 KiB")
	}
	keys, err := parseSet(body, s.algorithms)
	if err != nil {
		return nil, err
	}
	age := maxAge(answer.Header)
	set := &keySet{keys: keys, fetchedAt: now, renewAt: now.Add(age * 3 / 4), expiresAt: now.Add(age), uselessAt: now.Add(max(age, s.maxStale))}
	set.headers.Store(&map[string]*key{})
	return set, nil
}

// maxAge is how long an answer may be kept (RFC 9111 section 5.2.2), within bounds.
func maxAge(h http.Header) time.Duration {
	age := defaultMaxAge
	for _, field := range h.Values("Cache-Control") {
		for directive := range strings.SplitSeq(field, ",") {
			name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
			switch strings.ToLower(name) {
			case "no-store", "no-cache":
				return minMaxAge
			case "max-age":
				age = seconds(strings.Trim(value, `"`))
			}
		}
	}
	return min(max(age, minMaxAge), maxMaxAge)
}

// seconds reads the seconds of a directive. What cannot be read is stale (RFC 9111
// section 4.2.1).
func seconds(text string) time.Duration {
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return 0
	}
	return time.Duration(n) * time.Second
}

// parseSet reads a JWK set. Keys that are not for access tokens, or that are no good,
// are as if they were not there (RFC 7517 section 5), and so are all keys of an
// identifier that occurs twice.
func parseSet(body []byte, algorithms []string) (map[string]*key, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &set); err != nil || set.Keys == nil {
		return nil, errors.New("malformed JWK set")
	}
	if len(set.Keys) > maxKeys {
		return nil, fmt.Errorf("the JWK set has more than %d keys", maxKeys)
	}
	keys := make(map[string]*key, len(set.Keys))
	seen := make(map[string]bool, len(set.Keys))
	for _, raw := range set.Keys {
		var jwk jose.JSONWebKey
		if jwk.UnmarshalJSON(raw) != nil {
			continue
		}
		if seen[jwk.KeyID] {
			delete(keys, jwk.KeyID)
			continue
		}
		seen[jwk.KeyID] = true
		if k := usable(&jwk, algorithms); k != nil {
			keys[k.id] = k
		}
	}
	return keys, nil
}

// usable returns the key that a JWK is, or nil: only public keys for signatures, which
// say what they are for and are strong enough. A symmetric key is never one, and neither
// is a private one, which everybody knows by now.
func usable(jwk *jose.JSONWebKey, algorithms []string) *key {
	if jwk.Use != "" && jwk.Use != "sig" || !slices.Contains(algorithms, jwk.Algorithm) {
		return nil
	}
	verify := verifierOf(jwk.Algorithm, jwk.Key)
	if verify == nil {
		return nil
	}
	return &key{id: jwk.KeyID, alg: jwk.Algorithm, verify: verify}
}
