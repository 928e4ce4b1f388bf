package signing

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

// FuzzUnseal: of a signing key in the database nothing can be changed, nor can it be
// taken for another one.
func FuzzUnseal(f *testing.F) {
	keys, err := oauth.ParseKeys("1 " + strings.Repeat("A", 43))
	if err != nil {
		f.Fatal(err)
	}
	opened, err := newOpenKey(EdDSA, ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
	if err != nil {
		f.Fatal(err)
	}
	good, err := opened.seal(keys)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good.ID, good.Alg, good.MasterKeyID, good.Sealed)
	f.Add(good.ID, RS256, good.MasterKeyID, good.Sealed)
	f.Add(good.ID, good.Alg, uint16(2), good.Sealed)
	f.Add("other", good.Alg, good.MasterKeyID, good.Sealed)
	f.Add(good.ID, good.Alg, good.MasterKeyID, good.Sealed[:12])
	f.Add(good.ID, good.Alg, good.MasterKeyID, []byte(nil))
	f.Fuzz(func(t *testing.T, id, alg string, master uint16, sealed []byte) {
		k := Key{ID: id, Alg: alg, MasterKeyID: master, Sealed: sealed}
		_, broken := keys.Open(master, sealName(id), sealed)
		got, err := k.unseal(keys)
		switch {
		case broken != nil && !errors.Is(err, ErrSealed):
			t.Errorf("a seal that is broken or another key's: %v", err)
		case broken == nil && id != good.ID:
			t.Errorf("the seal of %q opens as that of %q", good.ID, id)
		case err == nil && (alg != good.Alg || got.id != id):
			t.Errorf("opened key %q for %q", id, alg)
		case broken == nil && alg == good.Alg && err != nil:
			t.Errorf("the right key: %v", err)
		}
	})
}

// FuzzParseHeader: what a token's header says is what encoding/json reads there, by
// its exact names; crit is never passed over.
func FuzzParseHeader(f *testing.F) {
	for _, seed := range []string{`{"typ":"JWT","alg":"EdDSA","kid":"x"}`, `{}`, `{"ALG":"none","alg":"EdDSA"}`, `{"crit":null}`, `{"alg":"a","alg":"b"}`, `{"kid":"` + strings.Repeat("k", 65) + `"}`, `null`, `[]`, ``} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		h, err := parseHeader(encoding.EncodeToString([]byte(text)))
		if err != nil {
			return
		}
		var want map[string]any
		if err := json.Unmarshal([]byte(text), &want); err != nil {
			t.Fatalf("%q is taken: %v", text, err)
		}
		for name, got := range map[string]string{"typ": h.Type, "alg": h.Alg, "kid": h.KeyID} {
			if is, _ := want[name].(string); is != got {
				t.Errorf("%q: %s is %q", text, name, got)
			}
		}
		if _, critical := want["crit"]; critical || len(h.KeyID) > maxKeyIDBytes {
			t.Errorf("%q is taken", text)
		}
	})
}
