package signing

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
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
	first, err := r.firstKey(o)
	if err != nil {
		return nil, fmt.Errorf("import private key: %w", err)
	}
	if err := r.ensure(ctx, o.Alg, first); err != nil {
		return nil, err
	}
	return r, nil
}

// firstKey is the private key that an installation begins with, or nil.
func (r *Ring) firstKey(o Options) (*openKey, error) {
	if r.current.Load().revision != 0 || len(o.ImportPEM) == 0 {
		return nil, nil
	}
	private, err := parsePEM(o.ImportPEM)
	if err != nil {
		return nil, err
	}
	if !algorithms[o.Alg].fits(private) {
		return nil, fmt.Errorf("it is a key for %s, and the signing algorithm is %s", naturalAlg(private), o.Alg)
	}
	return newOpenKey(o.Alg, private)
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
		if key = r.view().active[alg]; key == nil {
			return "", fmt.Errorf("there is no %s key", alg)
		}
	}
	return key.serialize(r.rand, typ, payload)
}

// Verify returns `typ` and payload of a token of at most 8 KiB that one of the
// published keys signed, or an error that says what is wrong. Before a token under an
// unknown key is refused, the set is read again: another node may use a key since a
// moment. See oauth.Signer.
func (r *Ring) Verify(token string) (typ string, payload []byte, err error) {
	typ, payload, err = verify(r.view().published, token)
	if !errors.Is(err, errTokenKey) {
		return typ, payload, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), makeTimeout)
	defer cancel()
	if err := r.Refresh(ctx); err != nil {
		return "", nil, fmt.Errorf("%w: %w", oauth.ErrKeysUnread, err)
	}
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
		revision: v.revision, keys: living(v.keys, at), open: v.open,
		active: map[string]*openKey{}, published: map[string]*openKey{}, until: nextChange(v.keys, at),
	}
	var jwks [][]byte
	for i := range moved.keys {
		k := &moved.keys[i]
		moved.published[k.ID] = v.open[k.ID]
		jwks = append(jwks, v.open[k.ID].jwk)
		if signing := active(moved.keys, k.Alg, at); signing >= 0 {
			moved.active[k.Alg] = v.open[moved.keys[signing].ID]
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
