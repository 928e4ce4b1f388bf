package signing

import (
	"context"
	"time"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

// Key is a signing key as the database keeps it. Where it is in its life follows
// from the times: published, then active, then retired, then gone.
type Key struct {
	ID          string    // `kid`: the RFC 7638 thumbprint
	Alg         string    // JWS algorithm (RFC 7518 section 3.1)
	MasterKeyID uint16    // the master key that Sealed is sealed under
	Sealed      []byte    // PKCS#8, sealed (oauth.Keys.Seal)
	PublishedAt time.Time // when it first was in the JWK set
	ActiveAt    time.Time // when it begins to sign; zero: it waits for the next rotation
	RetiredAt   time.Time // when its successor took over; zero: not yet
	ExpiresAt   time.Time // when it leaves the JWK set; zero: not yet
}

// Store keeps the signing keys of an installation, so that every node has them.
type Store interface {
	// SigningKeys returns all keys, oldest first, and the revision of the set,
	// which every change raises. There are none at revision 0.
	SigningKeys(ctx context.Context) ([]Key, int64, error)

	// ReplaceSigningKeys replaces the whole set and records the event with it, if
	// the revision is still the given one; else oauth.ErrConflict.
	ReplaceSigningKeys(ctx context.Context, revision int64, keys []Key, e oauth.Event) error
}
