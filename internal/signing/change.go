package signing

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/internal/failpoint"
	"github.com/counterfoil/counterfoil/internal/oauth"
)

// The reasons of the events that changes are recorded with.
const (
	reasonMade     = "keys_made"
	reasonImported = "key_imported"
	reasonRotated  = "key_rotated"
	reasonResealed = "keys_resealed"
)

// serverActor is who makes the first keys of an algorithm, in the audit.
const serverActor = "server"

// maxAttempts is how often one change is decided again after a conflict.
const maxAttempts = 8

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
		keys, e, err := decide(v.at(at), at)
		if errors.Is(err, errUnchanged) {
			return nil
		}
		if err != nil {
			return err
		}
		e.Type = oauth.EventAdministration
		failpoint.Reach(failpoint.BeforeSigningKeys)
		err = r.store.ReplaceSigningKeys(ctx, v.revision, keys, e)
		if errors.Is(err, oauth.ErrConflict) {
			continue
		}
		if err != nil {
			return fmt.Errorf("replace signing keys: %w", err)
		}
		failpoint.Reach(failpoint.AfterSigningKeys)
		_, err = r.load(ctx)
		return err
	}
	return errors.New("replace signing keys: gave up after repeated conflicts")
}

// ensure makes the first set of an algorithm if it has none. Nil: the key that
// signs is made too.
func (r *Ring) ensure(ctx context.Context, alg string, first *openKey) error {
	if _, err := algorithmOf(alg); err != nil {
		return err
	}
	e := oauth.Event{Reason: reasonMade, Source: serverActor}
	if first != nil {
		e.Reason = reasonImported
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.change(ctx, func(v *view, at time.Time) ([]Key, oauth.Event, error) {
		if active(v.keys, alg, at) >= 0 {
			return nil, e, errUnchanged
		}
		return r.begin(v, alg, first, e, at)
	})
}

// begin adds the first set of an algorithm.
func (r *Ring) begin(v *view, alg string, first *openKey, e oauth.Event, at time.Time) (keys []Key, _ oauth.Event, err error) {
	if first == nil {
		if first, err = generate(alg, r.rand); err != nil {
			return nil, e, err
		}
	}
	next, err := generate(alg, r.rand)
	if err != nil {
		return nil, e, err
	}
	sealed, err := first.seal(r.keys())
	if err != nil {
		return nil, e, err
	}
	sealedNext, err := next.seal(r.keys())
	if err != nil {
		return nil, e, err
	}
	e.Detail = fmt.Sprintf("%s: %s signs, %s waits", alg, first.id, next.id)
	return start(v.keys, sealed, sealedNext, at), e, nil
}

func generate(alg string, random io.Reader) (*openKey, error) {
	a, err := algorithmOf(alg)
	if err != nil {
		return nil, err
	}
	private, err := a.generate(random)
	if err != nil {
		return nil, fmt.Errorf("make %s key: %w", alg, err)
	}
	return newOpenKey(alg, private)
}

// Rotate lets the next key of an algorithm take over: at once if everybody has
// seen it, else when they will have, and makes and publishes a key for the time
// after. The old key stays published until its last token has expired. It returns
// ErrRotationScheduled while an earlier rotation waits, unless o.Now.
func (r *Ring) Rotate(ctx context.Context, alg string, o RotateOptions) (Rotation, error) {
	if r.view().active[alg] == nil {
		if err := r.ensure(ctx, alg, nil); err != nil {
			return Rotation{}, fmt.Errorf("rotate: %w", err)
		}
	}
	fresh, err := generate(alg, r.rand)
	if err != nil {
		return Rotation{}, fmt.Errorf("rotate: %w", err)
	}
	var done Rotation
	r.mu.Lock()
	defer r.mu.Unlock()
	err = r.change(ctx, func(v *view, at time.Time) (keys []Key, e oauth.Event, err error) {
		sealed, err := fresh.seal(r.keys())
		if err != nil {
			return nil, e, err
		}
		keys, done, err = rotate(v.keys, alg, o, sealed, at)
		e = oauth.Event{Reason: reasonRotated, Source: o.Actor, Detail: done.String()}
		return keys, e, err
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
	var made []Key
	err = r.change(ctx, func(v *view, at time.Time) (keys []Key, e oauth.Event, err error) {
		e = oauth.Event{Reason: reasonImported, Source: o.Actor, Detail: o.Alg + ": " + key.id}
		if v.published[key.id] != nil {
			return nil, e, fmt.Errorf("signing key %s: %w", key.id, oauth.ErrExists)
		}
		if active(v.keys, o.Alg, at) < 0 {
			made, e, err = r.begin(v, o.Alg, key, e, at)
			return made, e, err
		}
		sealed, err := key.seal(r.keys())
		if err == nil {
			made, err = addImported(v.keys, sealed, o, at)
		}
		return made, e, err
	})
	if err != nil {
		return Status{}, err
	}
	i := slices.IndexFunc(made, func(k Key) bool { return k.ID == key.id })
	return made[i].status(r.now()), nil
}

// Reseal seals all keys under the active master key, so that they need no other.
func (r *Ring) Reseal(ctx context.Context, actor string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.change(ctx, func(v *view, _ time.Time) ([]Key, oauth.Event, error) {
		e := oauth.Event{Reason: reasonResealed, Source: actor}
		masterKeys, keys := r.keys(), slices.Clone(v.keys)
		var resealed []string
		for i := range keys {
			k := &keys[i]
			if k.MasterKeyID == masterKeys.Active() {
				continue
			}
			sealed, err := v.open[k.ID].seal(masterKeys)
			if err != nil {
				return nil, e, err
			}
			k.MasterKeyID, k.Sealed = sealed.MasterKeyID, sealed.Sealed
			resealed = append(resealed, k.ID)
		}
		if len(resealed) == 0 {
			return nil, e, errUnchanged
		}
		e.Detail = fmt.Sprintf("under master key %d: %s", masterKeys.Active(), strings.Join(resealed, ", "))
		return keys, e, nil
	})
}
