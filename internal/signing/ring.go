package signing

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

// Options are what a Ring needs. All fields are required unless they say otherwise.
type Options struct {
	Store     Store
	Keys      func() *oauth.Keys // the master keys of the moment
	Now       func() time.Time
	Rand      io.Reader // for the salts of PS256; crypto/* brings its own for the rest
	Alg       string    // the server's algorithm, which has keys from the start
	ImportPEM []byte    // the private key to begin with, if there is none yet; empty: one is made
}

// Ring holds the signing keys of an installation. It implements oauth.Signer.
// Signing and checking take no lock.
type Ring struct {
	store Store
	keys  func() *oauth.Keys
	clock func() time.Time
	rand  io.Reader

	mu      sync.Mutex // one look at, or change of, the stored set at a time
	current atomic.Pointer[view]
}

// view is one revision of the set, as it is until a moment. It does not change.
type view struct {
	revision int64
	keys     []Key // the living ones
	open     map[string]*openKey

	active    map[string]*openKey // by algorithm
	published map[string]*openKey // by kid
	jwks      []byte
	until     time.Time // when a key begins or ends something; zero: never
}

// serverActor is who makes keys that nobody asked for, in the audit.
const serverActor = "server"

// maxAttempts is how often one change is decided again after a conflict.
const maxAttempts = 8

// makeTimeout is how long storing keys may take that a signature waits for.
const makeTimeout = 30 * time.Second

// Open reads the set of keys. If o.Alg has none, it makes or imports them. It
// returns ErrSealed, naming key and master key, if one cannot be opened.
func Open(ctx context.Context, o Options) (*Ring, error) {
	if o.Store == nil || o.Keys == nil || o.Now == nil || o.Rand == nil {
		return nil, errors.New("signing: store, master keys, clock and randomness are required")
	}
	if _, err := algorithmOf(o.Alg); err != nil {
		return nil, err
	}
	r := &Ring{store: o.Store, keys: o.Keys, clock: o.Now, rand: o.Rand}
	r.current.Store(&view{revision: -1})
	if err := r.Refresh(ctx); err != nil {
		return nil, err
	}
	var imported crypto.Signer
	if r.current.Load().revision == 0 && len(o.ImportPEM) > 0 {
		key, err := parsePEM(o.ImportPEM)
		if err != nil {
			return nil, fmt.Errorf("import private key: %w", err)
		}
		if !algorithms[o.Alg].fits(key) {
			return nil, fmt.Errorf("import private key: it is a key for %s, and the signing algorithm is %s", naturalAlg(key), o.Alg)
		}
		imported = key
	}
	return r, r.ensure(ctx, o.Alg, imported)
}

// now is the time of a decision, in the precision of the store.
func (r *Ring) now() time.Time { return r.clock().UTC().Truncate(time.Microsecond) }

// Sign returns the JWS compact serialization of the payload under the active key
// of the algorithm, with the header typ, alg, kid. It makes keys for an algorithm
// that is used for the first time. See oauth.Signer.
func (r *Ring) Sign(alg, typ string, payload []byte) (string, error) {
	key := r.view().active[alg]
	if key == nil {
		ctx, cancel := context.WithTimeout(context.Background(), makeTimeout)
		defer cancel()
		if err := r.ensure(ctx, alg, nil); err != nil {
			return "", err
		}
		key = r.view().active[alg]
	}
	return key.serialize(r.rand, typ, payload)
}

// Verify returns `typ` and payload of a token of at most 8 KiB that one of the
// published keys signed, or an error that says what is wrong. See oauth.Signer.
func (r *Ring) Verify(token string) (typ string, payload []byte, err error) {
	return verify(r.view().published, token)
}

// JWKS returns the JWK set (RFC 7517 section 5) of all published keys: public
// members only. It may be kept for JWKSMaxAge, and must not be changed.
func (r *Ring) JWKS() []byte { return r.view().jwks }

// Status is what there is to say about a signing key. Times that are not set are zero.
type Status struct {
	ID          string    `json:"kid"`
	Alg         string    `json:"alg"`
	State       State     `json:"status"`
	MasterKeyID uint16    `json:"master_key_id"`
	PublishedAt time.Time `json:"published_at"`
	ActiveAt    time.Time `json:"active_at,omitzero"`
	RetiredAt   time.Time `json:"retired_at,omitzero"`
	ExpiresAt   time.Time `json:"expires_at,omitzero"`
}

func (k *Key) status(at time.Time) Status {
	return Status{
		ID: k.ID, Alg: k.Alg, State: k.State(at), MasterKeyID: k.MasterKeyID,
		PublishedAt: k.PublishedAt, ActiveAt: k.ActiveAt, RetiredAt: k.RetiredAt, ExpiresAt: k.ExpiresAt,
	}
}

// List returns the keys as of the last Refresh, oldest first, without expired ones.
func (r *Ring) List() []Status {
	at := r.now()
	var list []Status
	for _, k := range living(r.view().keys, at) {
		list = append(list, k.status(at))
	}
	return list
}

// Refresh reads the set again and takes it over if it changed: another node, or
// the command line, may have rotated. After an error the Ring goes on with what it has.
func (r *Ring) Refresh(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, err := r.load(ctx)
	return err
}

// load reads the set and makes it the current one. r.mu is held.
func (r *Ring) load(ctx context.Context) (*view, error) {
	keys, revision, err := r.store.SigningKeys(ctx)
	if err != nil {
		return nil, fmt.Errorf("read signing keys: %w", err)
	}
	known := r.current.Load()
	if known.revision == revision {
		return known, nil
	}
	at := r.now()
	v := &view{revision: revision, keys: living(keys, at), open: map[string]*openKey{}}
	for i := range v.keys {
		k := &v.keys[i]
		opened := known.open[k.ID]
		if opened == nil || opened.alg != k.Alg {
			if opened, err = k.unseal(r.keys()); err != nil {
				return nil, err
			}
		}
		v.open[k.ID] = opened
	}
	v = v.at(at)
	r.current.Store(v)
	return v, nil
}

// view is the set as it is now.
func (r *Ring) view() *view {
	v := r.current.Load()
	now := r.clock()
	if !reached(v.until, now) {
		return v
	}
	moved := v.at(now)
	r.current.CompareAndSwap(v, moved) // else there is a newer one, for the next call
	return moved
}

// at returns the same revision as it is at a time.
func (v *view) at(at time.Time) *view {
	moved := &view{
		revision: v.revision, keys: v.keys, open: v.open,
		active: map[string]*openKey{}, published: map[string]*openKey{}, until: nextChange(v.keys, at),
	}
	var jwks [][]byte
	for i := range v.keys {
		k := &v.keys[i]
		if k.State(at) == StateExpired {
			continue
		}
		moved.published[k.ID] = v.open[k.ID]
		jwks = append(jwks, v.open[k.ID].jwk)
		if signing := active(v.keys, k.Alg, at); signing >= 0 {
			moved.active[k.Alg] = v.open[v.keys[signing].ID]
		}
	}
	moved.jwks = slices.Concat([]byte(`{"keys":[`), bytes.Join(jwks, []byte(",")), []byte("]}"))
	return moved
}

// nextChange is the first time after at at which a key begins or ends something,
// or zero.
func nextChange(keys []Key, at time.Time) time.Time {
	var first time.Time
	for i := range keys {
		for _, t := range []time.Time{keys[i].ActiveAt, keys[i].RetiredAt, keys[i].ExpiresAt} {
			if t.After(at) && (first.IsZero() || t.Before(first)) {
				first = t
			}
		}
	}
	return first
}

// errUnchanged: there is nothing to change.
var errUnchanged = errors.New("unchanged")

// change replaces the set by what decide makes of it, again if somebody else was
// faster. Expired keys are dropped with it. r.mu is held.
func (r *Ring) change(ctx context.Context, decide func(v *view, at time.Time) ([]Key, oauth.Event, error)) error {
	for range maxAttempts {
		v, err := r.load(ctx)
		if err != nil {
			return err
		}
		at := r.now()
		keys, e, err := decide(v, at)
		if errors.Is(err, errUnchanged) {
			return nil
		}
		if err != nil {
			return err
		}
		e.Type = oauth.EventAdministration
		err = r.store.ReplaceSigningKeys(ctx, v.revision, living(keys, at), e)
		if errors.Is(err, oauth.ErrConflict) {
			continue
		}
		if err != nil {
			return fmt.Errorf("replace signing keys: %w", err)
		}
		_, err = r.load(ctx)
		return err
	}
	return errors.New("replace signing keys: gave up after repeated conflicts")
}

// ensure makes the first set of an algorithm, if it has none, around the imported
// key if there is one.
func (r *Ring) ensure(ctx context.Context, alg string, imported crypto.Signer) error {
	a, err := algorithmOf(alg)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var first, next *openKey
	return r.change(ctx, func(v *view, at time.Time) ([]Key, oauth.Event, error) {
		if active(v.keys, alg, at) >= 0 {
			return nil, oauth.Event{}, errUnchanged
		}
		if first == nil {
			if first, next, err = firstSet(alg, a, r.rand, imported); err != nil {
				return nil, oauth.Event{}, err
			}
		}
		e := oauth.Event{Reason: "keys_made", Source: serverActor, Detail: fmt.Sprintf("%s: %s signs, %s waits", alg, first.id, next.id)}
		if imported != nil {
			e.Reason = "key_imported"
		}
		keys, err := r.started(v.keys, first, next, at)
		return keys, e, err
	})
}

// firstSet makes the two keys that an algorithm begins with, or one to an imported.
func firstSet(alg string, a algorithm, random io.Reader, imported crypto.Signer) (first, next *openKey, err error) {
	if imported == nil {
		if imported, err = a.generate(random); err != nil {
			return nil, nil, fmt.Errorf("make %s key: %w", alg, err)
		}
	}
	if first, err = newOpenKey(alg, imported); err != nil {
		return nil, nil, err
	}
	next, err = generate(alg, a, random)
	return first, next, err
}

func generate(alg string, a algorithm, random io.Reader) (*openKey, error) {
	private, err := a.generate(random)
	if err != nil {
		return nil, fmt.Errorf("make %s key: %w", alg, err)
	}
	return newOpenKey(alg, private)
}

// started seals the first set of an algorithm and adds it.
func (r *Ring) started(keys []Key, first, next *openKey, at time.Time) ([]Key, error) {
	sealedFirst, err := first.seal(r.keys())
	if err != nil {
		return nil, err
	}
	sealedNext, err := next.seal(r.keys())
	if err != nil {
		return nil, err
	}
	return start(keys, sealedFirst, sealedNext, at), nil
}

// Rotate lets the next key of an algorithm take over: at once if everybody has
// seen it, else when they will have, and makes and publishes a key for the time
// after. The old key stays published until its last token has expired. It returns
// ErrRotationScheduled while an earlier rotation waits, unless o.Now.
func (r *Ring) Rotate(ctx context.Context, alg string, o RotateOptions) (Rotation, error) {
	a, err := algorithmOf(alg)
	if err != nil {
		return Rotation{}, err
	}
	fresh, err := generate(alg, a, r.rand)
	if err != nil {
		return Rotation{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var done Rotation
	err = r.change(ctx, func(v *view, at time.Time) ([]Key, oauth.Event, error) {
		sealed, err := fresh.seal(r.keys())
		if err != nil {
			return nil, oauth.Event{}, err
		}
		keys, rotation, err := rotate(v.keys, alg, o, sealed, at)
		done = rotation
		detail := fmt.Sprintf("%s: %s takes over from %s at %s", alg, done.ActiveID, done.RetiredID, done.At.Format(time.RFC3339))
		return keys, oauth.Event{Reason: "key_rotated", Source: o.Actor, Detail: detail}, err
	})
	if err != nil {
		return Rotation{}, fmt.Errorf("rotate: %w", err)
	}
	return done, nil
}

// Import adds a private key in PEM format: PKCS #8, PKCS #1 or SEC 1, not
// encrypted, RSA of 2048 bits or more, P-256 or Ed25519. It takes the place of the
// key that waits for the next rotation, or signs at once: with o.Activate, or if
// its algorithm has no keys yet. It returns oauth.ErrExists if the key is there
// already.
func (r *Ring) Import(ctx context.Context, pem []byte, o ImportOptions) (Status, error) {
	status, err := r.importKey(ctx, pem, o)
	if err != nil {
		return Status{}, fmt.Errorf("import private key: %w", err)
	}
	return status, nil
}

func (r *Ring) importKey(ctx context.Context, pem []byte, o ImportOptions) (Status, error) {
	private, err := parsePEM(pem)
	if err != nil {
		return Status{}, err
	}
	if o.Alg == "" {
		o.Alg = naturalAlg(private)
	}
	key, err := newOpenKey(o.Alg, private)
	if err != nil {
		return Status{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var next *openKey
	err = r.change(ctx, func(v *view, at time.Time) ([]Key, oauth.Event, error) {
		e := oauth.Event{Reason: "key_imported", Source: o.Actor, Detail: o.Alg + ": " + key.id}
		if active(v.keys, o.Alg, at) >= 0 {
			sealed, err := key.seal(r.keys())
			if err != nil {
				return nil, e, err
			}
			keys, err := addImported(v.keys, sealed, o, at)
			return keys, e, err
		}
		if next == nil {
			if next, err = generate(o.Alg, key.algorithm, r.rand); err != nil {
				return nil, e, err
			}
		}
		keys, err := r.started(v.keys, key, next, at)
		return keys, e, err
	})
	if err != nil {
		return Status{}, err
	}
	return r.statusOf(key.id), nil
}

func (r *Ring) statusOf(id string) Status {
	list := r.List()
	if i := slices.IndexFunc(list, func(s Status) bool { return s.ID == id }); i >= 0 {
		return list[i]
	}
	return Status{}
}

// Reseal seals all keys under the active master key, so that they need no other.
func (r *Ring) Reseal(ctx context.Context, actor string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.change(ctx, func(v *view, _ time.Time) ([]Key, oauth.Event, error) {
		masterKeys := r.keys()
		keys := slices.Clone(v.keys)
		resealed := map[string]bool{}
		for i := range keys {
			k := &keys[i]
			if k.MasterKeyID == masterKeys.Active() {
				continue
			}
			sealed, err := v.open[k.ID].seal(masterKeys)
			if err != nil {
				return nil, oauth.Event{}, err
			}
			k.MasterKeyID, k.Sealed = sealed.MasterKeyID, sealed.Sealed
			resealed[k.ID] = true
		}
		if len(resealed) == 0 {
			return nil, oauth.Event{}, errUnchanged
		}
		detail := strings.Join(slices.Sorted(maps.Keys(resealed)), ", ")
		return keys, oauth.Event{Reason: "keys_resealed", Source: actor, Detail: detail}, nil
	})
}
