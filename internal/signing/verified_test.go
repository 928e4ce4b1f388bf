package signing

import (
	"crypto/sha256"
	"encoding/binary"
	"strings"
	"sync"
	"testing"
	"time"
)

// remembers reports whether a token was found good lately.
func remembers(r *Ring, alg, token string) bool {
	key := r.view().active[alg]
	_, known := key.verified.has(token)
	return known
}

// TestVerifiedTampered: of a token that is remembered no other spelling is taken, whatever
// octet differs (RFC 8725 section 3.3), and what was refused is not remembered.
func TestVerifiedTampered(t *testing.T) {
	t.Parallel()
	r := openAll(t)
	for _, alg := range Algorithms() {
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			token := sign(t, r, alg)
			for range 2 { // the second time it is remembered
				if typ, payload, err := r.Verify(token); err != nil || typ != "JWT" || string(payload) != "payload" {
					t.Fatalf("the token itself: %q, %q, %v", typ, payload, err)
				}
			}
			if !remembers(r, alg, token) {
				t.Fatal("a good token is not remembered")
			}
			another, err := r.Sign(alg, "at+jwt", []byte("payload of another"))
			if err != nil {
				t.Fatal(err)
			}
			parts, others := strings.Split(token, "."), strings.Split(another, ".")
			forged := map[string]string{
				"another header":    others[0] + "." + parts[1] + "." + parts[2],
				"another payload":   parts[0] + "." + others[1] + "." + parts[2],
				"another signature": parts[0] + "." + parts[1] + "." + others[2],
				"no signature":      parts[0] + "." + parts[1] + ".",
				"a further part":    token + "." + parts[2],
				"longer":            token + "A",
				"shorter":           token[:len(token)-1],
				"padded":            token + "=",
				"a line break":      token + "\n",
				"a blank":           " " + token,
			}
			for i := range len(token) {
				b := []byte(token)
				b[i] ^= 1
				forged["octet changed: "+string(b)] = string(b)
			}
			for name, text := range forged {
				if typ, payload, err := r.Verify(text); err == nil {
					t.Errorf("%s: taken as %q, %q", name, typ, payload)
				}
				if remembers(r, alg, text) {
					t.Errorf("%s: remembered", name)
				}
			}
		})
	}
}

// TestVerifiedOfOneKey: what one key signed is not remembered for another.
func TestVerifiedOfOneKey(t *testing.T) {
	t.Parallel()
	r, foreign := openAll(t), openAll(t)
	for _, alg := range Algorithms() {
		token := sign(t, foreign, alg)
		if _, _, err := foreign.Verify(token); err != nil {
			t.Fatal(err)
		}
		first, _, _ := strings.Cut(sign(t, r, alg), ".")
		_, rest, _ := strings.Cut(token, ".")
		for name, text := range map[string]string{"as it is": token, "under our kid": first + "." + rest} {
			if _, _, err := r.Verify(text); err == nil {
				t.Errorf("%s: another installation's token is taken, %s", alg, name)
			}
		}
	}
}

// TestVerifiedOfWithdrawnKey: a key that was withdrawn, or expired, takes what it
// remembered along, at every node.
func TestVerifiedOfWithdrawnKey(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(t *testing.T, r *Ring, clock *testClock) error{
		"withdrawn": func(t *testing.T, r *Ring, _ *testClock) error {
			_, err := r.Rotate(t.Context(), EdDSA, RotateOptions{Withdraw: true, TokenLifetime: hour})
			return err
		},
		"expired": func(t *testing.T, r *Ring, clock *testClock) error {
			_, err := r.Rotate(t.Context(), EdDSA, RotateOptions{TokenLifetime: hour})
			clock.set(t0.Add(100 * 24 * time.Hour))
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := &memoryStore{}
			r, clock := openAt(t, store)
			node, nodeClock := openAt(t, store)
			token := sign(t, r, EdDSA)
			for _, ring := range []*Ring{r, node} {
				if _, _, err := ring.Verify(token); err != nil || !remembers(ring, EdDSA, token) {
					t.Fatalf("before: %v, remembered %v", err, remembers(ring, EdDSA, token))
				}
			}
			if err := end(t, r, clock); err != nil {
				t.Fatal(err)
			}
			nodeClock.set(clock.now())
			if err := node.Refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
			for n, ring := range []*Ring{r, node} {
				if _, _, err := ring.Verify(token); err == nil {
					t.Errorf("node %d still takes the token", n)
				}
			}
			if _, _, err := r.Verify(sign(t, r, EdDSA)); err != nil {
				t.Errorf("a token of the next key: %v", err)
			}
		})
	}
}

// digestOf is the digest of the n-th of many tokens.
func digestOf(n int) [sha256.Size]byte {
	return sha256.Sum256(tokenNumber(n))
}

func tokenNumber(n int) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) }

// TestVerifiedIsBounded: however many tokens there are, twice mostVerified are remembered
// at most, among them the latest mostVerified, and those in use.
func TestVerifiedIsBounded(t *testing.T) {
	t.Parallel()
	const tokens, inUse = 5*mostVerified + mostVerified/2, 0
	var v verified
	most := 0
	for n := range tokens {
		v.add(digestOf(n))
		if n%1000 == 0 {
			if _, known := v.has(string(tokenNumber(inUse))); !known {
				t.Fatalf("after %d tokens one in use is forgotten", n)
			}
		}
		most = max(most, len(v.young)+len(v.old))
	}
	if most > 2*mostVerified {
		t.Errorf("%d are remembered, want %d at most", most, 2*mostVerified)
	}
	known := func(n int) bool { _, known := v.has(string(tokenNumber(n))); return known }
	for n := tokens - mostVerified + 1; n < tokens; n++ { // one place is that of the one in use
		if !known(n) {
			t.Fatalf("token %d of %d is forgotten", n, tokens)
		}
	}
	if known(1) {
		t.Error("the first of all, long not in use, is remembered")
	}
}

// TestVerifiedTogether: many at once; with -race.
func TestVerifiedTogether(t *testing.T) {
	t.Parallel()
	r, _ := openAt(t, &memoryStore{})
	good := sign(t, r, EdDSA)
	var working sync.WaitGroup
	for range 16 {
		working.Go(func() {
			for range 50 {
				if _, _, err := r.Verify(good); err != nil {
					t.Errorf("the good token: %v", err)
				}
				if _, _, err := r.Verify(good[:len(good)-2] + "AA"); err == nil && !strings.HasSuffix(good, "AA") {
					t.Error("a bad token is taken")
				}
			}
		})
	}
	working.Wait()
}
