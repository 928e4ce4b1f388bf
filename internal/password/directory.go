package password

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

// Directory is the oauth.Directory of local users.
//
// Timing must not tell who exists. So an unknown account is
// checked like a known one, against a decoy; and a refusal costs at least one hash
// of the present parameters, which makes up for hashes that are cheaper. Taken over
// ones may be dearer (Symfony's take up to ten times as long until their first
// login replaces them): therefore a decoy does the work of a real user's hash, one
// of those seen lately, always the same for a name. What remains: a process that
// has just started has seen nobody yet, and where users of several formats are
// mixed, a name's decoy changes now and then, as no user's hash does.
type Directory struct {
	// FoldEmail lets users log in with their e-mail address in any case.
	FoldEmail bool

	users  Users
	hasher *Hasher
	decoys decoys
}

// NewDirectory returns a directory of the users, whose passwords go through h.
func NewDirectory(users Users, h *Hasher) (*Directory, error) {
	d := &Directory{users: users, hasher: h}
	for i := range d.decoys.slots {
		d.decoys.slots[i] = h.dummy
	}
	if _, err := io.ReadFull(h.random, d.decoys.key[:]); err != nil {
		return nil, fmt.Errorf("read randomness: %w", err)
	}
	return d, nil
}

// Lookup implements oauth.Directory. An unknown account carries the login name as
// its username.
func (d *Directory) Lookup(ctx context.Context, login string) (oauth.Account, error) {
	user, err := d.users.UserByLogin(ctx, login)
	if errors.Is(err, oauth.ErrNotFound) && d.FoldEmail && strings.Contains(login, "@") {
		user, err = d.users.UserByEmail(ctx, login)
	}
	if errors.Is(err, oauth.ErrNotFound) {
		if d.FoldEmail && strings.Contains(login, "@") {
			login = strings.ToLower(login) // the one account that it would be is throttled as one
		}
		return oauth.Account{User: oauth.User{Subject: oauth.Subject{Username: login}}}, nil
	}
	if err != nil {
		return oauth.Account{}, err
	}
	return oauth.Account{User: user, Known: true}, nil
}

// ChoosePassword implements oauth.PasswordSetter.
func (d *Directory) ChoosePassword(ctx context.Context, a oauth.Account, password oauth.Secret, endGrants bool, e oauth.Event) error {
	why := weakness(password, a.Username, a.Email)
	if len(password) > maxLength {
		why = WeakLong
	}
	if why != "" {
		return oauth.ErrPasswordWeak.About(why)
	}
	hash, err := d.hasher.Hash(ctx, password)
	if err != nil {
		return err
	}
	return d.users.ChoosePassword(ctx, a.User, hash, endGrants, e)
}

// Verify implements oauth.Directory. A user without a hash has no password and is
// checked like an unknown account; a malformed hash is a fault. A right password
// whose hash is outdated is hashed anew; where that does not succeed, the next
// login tries again.
func (d *Directory) Verify(ctx context.Context, a oauth.Account, password oauth.Secret) error {
	hash, err := d.hashOf(a)
	if err != nil {
		return fmt.Errorf("user %s: %w", a.ID, err)
	}
	ok, err := d.hasher.verify(ctx, hash, password, true)
	if err != nil {
		return err
	}
	if !ok {
		return oauth.ErrPasswordIncorrect
	}
	if d.hasher.outdated(hash) {
		d.rehash(ctx, a, password)
	}
	return nil
}

func (d *Directory) hashOf(a oauth.Account) (stored, error) {
	if !a.Known || a.PasswordHash == "" {
		return d.decoys.of(a.Username), nil
	}
	hash, err := parse(a.PasswordHash)
	if err == nil {
		d.decoys.see(a.ID, hash)
	}
	return hash, err
}

// rehash is finished even when the client hangs up. Its failure is nobody's
// failure: the password was right.
func (d *Directory) rehash(ctx context.Context, a oauth.Account, password oauth.Secret) {
	ctx = context.WithoutCancel(ctx)
	hash, err := d.hasher.Hash(ctx, password)
	if err != nil {
		return
	}
	_ = d.users.ReplacePasswordHash(ctx, a.ID, a.PasswordHash, hash)
}

// decoys remember the work of some users' hashes, for names that nobody has. A
// user has one slot and so cannot fill them all by many logins.
type decoys struct {
	key   [32]byte
	mu    sync.Mutex
	slots [16]stored
}

// of returns the decoy of a name.
func (d *decoys) of(name string) stored {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.slots[d.slot(name)]
}

// see makes a decoy of a user's hash.
func (d *decoys) see(userID string, hash stored) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.slots[d.slot(userID)] = hash.decoy()
}

func (d *decoys) slot(text string) int {
	h := hmac.New(sha256.New, d.key[:])
	_, _ = io.WriteString(h, text)
	return int(h.Sum(nil)[0]) % len(d.slots)
}
