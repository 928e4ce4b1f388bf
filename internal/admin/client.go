package admin

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

// maxAttempts is how often a change is tried when somebody else changes the same client.
const maxAttempts = 5

// CreateClient registers a client, which is active. An empty ID is generated: 32
// characters of the base64url alphabet, as OroCommerce's. A confidential client gets
// the chosen secret or, where that is empty, a generated one of 256 bits; it is
// returned this once. Owner is a username.
func (o *Operator) CreateClient(ctx context.Context, c oauth.Client, chosen oauth.Secret) (oauth.Client, oauth.Secret, error) {
	var err error
	if c.ID == "" {
		if c.ID, err = o.generateClientID(); err != nil {
			return oauth.Client{}, "", err
		}
	}
	c.Active, c.Secrets = true, nil
	if err := o.completeClient(ctx, &c); err != nil {
		return oauth.Client{}, "", err
	}
	if c.Public && chosen != "" {
		return oauth.Client{}, "", errPublicSecret
	}
	secret := oauth.Secret("")
	if !c.Public {
		var stored oauth.ClientSecret
		if stored, secret, err = o.newSecret(ctx, chosen); err != nil {
			return oauth.Client{}, "", err
		}
		c.Secrets = []oauth.ClientSecret{stored}
	}
	if err := o.insertClient(ctx, c, ""); err != nil {
		return oauth.Client{}, "", err
	}
	created, err := o.Client(ctx, c.ID)
	return created, secret, err
}

// completeClient tidies and checks what was said about a new client, and finds its owner.
func (o *Operator) completeClient(ctx context.Context, c *oauth.Client) (err error) {
	tidyClient(c)
	if err := checkClient(c); err != nil {
		return err
	}
	if err := o.mustBeNoSubject(ctx, c.ID); err != nil {
		return err
	}
	c.Owner, err = o.ownerID(ctx, c.Owner)
	return err
}

// mustBeNoSubject refuses a client id that is a user's subject: in a token that a client
// gets for itself it would stand for the user (RFC 9700 section 4.15).
func (o *Operator) mustBeNoSubject(ctx context.Context, id string) error {
	_, err := o.Store.Subject(ctx, id)
	switch {
	case err == nil:
		return usage("the client id %s is a user's subject", id)
	case errors.Is(err, oauth.ErrNotFound):
		return nil
	}
	return outcome(err, "look for subject", "subject "+id)
}

// tidyClient drops repetitions from the lists of a client.
func tidyClient(c *oauth.Client) {
	c.GrantTypes, c.RedirectURIs, c.APIs = distinct(c.GrantTypes), distinct(c.RedirectURIs), distinct(c.APIs)
}

func (o *Operator) insertClient(ctx context.Context, c oauth.Client, detail string) error {
	e := o.event("client_created")
	e.ClientID, e.Detail = c.ID, detail
	return outcome(o.Store.CreateClient(ctx, c, e), "create client", "client "+c.ID)
}

// generateClientID makes a client id. None begins with a dash, which a command
// line would take for a flag.
func (o *Operator) generateClientID() (string, error) {
	for {
		var b [24]byte
		if _, err := io.ReadFull(o.Rand, b[:]); err != nil {
			return "", fmt.Errorf("read randomness: %w", err)
		}
		if id := base64.RawURLEncoding.EncodeToString(b[:]); !strings.HasPrefix(id, "-") {
			return id, nil
		}
	}
}

// newSecret returns the stored form and the text of the chosen secret, or of a
// generated one.
func (o *Operator) newSecret(ctx context.Context, chosen oauth.Secret) (oauth.ClientSecret, oauth.Secret, error) {
	if chosen != "" {
		hash, err := o.hash(ctx, "client secret", chosen)
		return oauth.ClientSecret{Hash: hash}, chosen, err
	}
	secret, err := oauth.GenerateClientSecret(o.Rand)
	if err != nil {
		return oauth.ClientSecret{}, "", err
	}
	return oauth.ClientSecret{Hash: o.Keys().HashClientSecret(secret)}, secret, nil
}

// Client returns a client.
func (o *Operator) Client(ctx context.Context, id string) (oauth.Client, error) {
	c, err := o.Store.Client(ctx, id)
	return c, outcome(err, "read client", "client "+id)
}

// Clients returns all clients, by ID.
func (o *Operator) Clients(ctx context.Context) ([]oauth.Client, error) {
	clients, err := o.Store.Clients(ctx)
	return clients, outcome(err, "list clients", "client")
}

// Owners returns the usernames of the clients' owners, by oauth.Client.Owner; one
// who is gone is missing.
func (o *Operator) Owners(ctx context.Context, clients ...oauth.Client) (map[string]string, error) {
	names := map[string]string{}
	if !slices.ContainsFunc(clients, func(c oauth.Client) bool { return c.Owner != "" }) {
		return names, nil
	}
	users, err := o.Users(ctx)
	for i := range users {
		names[users[i].ID] = users[i].Username
	}
	return names, err
}

// UpdateClient changes what change changes. That may be called again, when
// somebody else changed the client meanwhile; Owner, where set, is a username.
func (o *Operator) UpdateClient(ctx context.Context, id string, change func(*oauth.Client)) (oauth.Client, error) {
	return o.changeClient(ctx, id, "client_updated", o.checked(ctx, change))
}

// checked is a change that is checked afterwards, and whose new owner is found.
func (o *Operator) checked(ctx context.Context, change func(*oauth.Client)) func(*oauth.Client) error {
	return func(c *oauth.Client) (err error) {
		owner, public := c.Owner, c.Public
		change(c)
		tidyClient(c)
		if c.Public != public {
			return usage("whether a client is public cannot be changed: its tokens were made for the one kind")
		}
		if err := checkClient(c); err != nil || c.Owner == owner {
			return err
		}
		c.Owner, err = o.ownerID(ctx, c.Owner)
		return err
	}
}

// IsNameTaken reports whether another client of the same organization and owner, or
// without owner of the same kind, has the client's name. OroCommerce refuses that;
// nothing here depends on it.
func (o *Operator) IsNameTaken(ctx context.Context, c oauth.Client) (bool, error) {
	clients, err := o.Clients(ctx)
	return slices.ContainsFunc(clients, func(other oauth.Client) bool {
		sameKind := c.Owner != "" || other.Storefront == c.Storefront
		return other.ID != c.ID && other.Name == c.Name && other.Organization == c.Organization && other.Owner == c.Owner && sameKind
	}), err
}

// ActivateClient lets a client authenticate again.
func (o *Operator) ActivateClient(ctx context.Context, id string) (oauth.Client, error) {
	return o.changeClient(ctx, id, "client_activated", func(c *oauth.Client) error {
		c.Active = true
		return nil
	})
}

// DeactivateClient stops a client, and its grants with it, until it is activated again.
func (o *Operator) DeactivateClient(ctx context.Context, id string) (oauth.Client, error) {
	return o.changeClient(ctx, id, "client_deactivated", func(c *oauth.Client) error {
		c.Active = false
		return nil
	})
}

// RotateClientSecret gives a confidential client a new secret: the chosen one, or
// a generated one. The secrets before it end now, or live on for the overlap,
// unless they end before.
func (o *Operator) RotateClientSecret(ctx context.Context, id string, chosen oauth.Secret, overlap time.Duration) (oauth.Client, oauth.Secret, error) {
	if overlap < 0 {
		return oauth.Client{}, "", usage("the overlap must not be negative")
	}
	if c, err := o.Client(ctx, id); err != nil || c.Public {
		return oauth.Client{}, "", orElse(err, usage("the client %s is public and has no secret", id))
	}
	stored, secret, err := o.newSecret(ctx, chosen)
	if err != nil {
		return oauth.Client{}, "", err
	}
	c, err := o.changeClient(ctx, id, "client_secret_rotated", func(c *oauth.Client) error {
		if c.Public {
			return usage("the client %s is public and has no secret", id)
		}
		c.Secrets = append([]oauth.ClientSecret{stored}, overlapping(c.Secrets, o.now(), overlap)...)
		return nil
	})
	if err != nil {
		return oauth.Client{}, "", err
	}
	return c, secret, nil
}

// overlapping returns the secrets that live on beside a new one.
func overlapping(secrets []oauth.ClientSecret, now time.Time, overlap time.Duration) []oauth.ClientSecret {
	if overlap == 0 {
		return nil
	}
	end := now.Add(overlap).Truncate(time.Microsecond)
	var kept []oauth.ClientSecret
	for _, s := range secrets {
		if s.ExpiresAt.IsZero() || s.ExpiresAt.After(end) {
			s.ExpiresAt = end
		}
		kept = append(kept, s)
	}
	return kept
}

// changeClient reads, changes and writes a client, again when it changed in between.
func (o *Operator) changeClient(ctx context.Context, id, act string, change func(*oauth.Client) error) (oauth.Client, error) {
	for range maxAttempts {
		c, err := o.Client(ctx, id)
		if err != nil {
			return oauth.Client{}, err
		}
		changed := c
		if err := change(&changed); err != nil {
			return oauth.Client{}, err
		}
		changed.ID, changed.Version = c.ID, c.Version
		e := o.event(act)
		e.ClientID, e.Detail = id, difference(&c, &changed)
		err = o.Store.UpdateClient(ctx, changed, e)
		if errors.Is(err, oauth.ErrConflict) {
			continue
		}
		if err != nil {
			return oauth.Client{}, outcome(err, "update client", "client "+id)
		}
		return o.Client(ctx, id)
	}
	return oauth.Client{}, fmt.Errorf("update client %s: %w, again and again", id, oauth.ErrConflict)
}

// DeleteClient removes a client, ends its grants, and returns how many were active.
func (o *Operator) DeleteClient(ctx context.Context, id string) (int, error) {
	ended, err := o.activeGrants(ctx, GrantFilter{ClientID: id})
	if err != nil {
		return 0, err
	}
	e := o.event("client_deleted")
	e.ClientID = id
	return ended, outcome(o.Store.DeleteClient(ctx, id, e), "delete client", "client "+id)
}

// orElse returns the first error that is one.
func orElse(err, other error) error {
	if err != nil {
		return err
	}
	return other
}
