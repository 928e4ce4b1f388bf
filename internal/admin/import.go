package admin

import (
	"context"
	"errors"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

// imported is the detail of the event of what was taken over from elsewhere.
const imported = "imported"

// ImportClient registers a client as it was elsewhere: active or not, and with the
// secrets in c.Secrets, whose hashes package password can verify, or with the chosen
// one. It may have none: then it cannot authenticate until it gets one. Owner is a
// username. A dry run checks all the same, and changes nothing.
func (o *Operator) ImportClient(ctx context.Context, c oauth.Client, chosen oauth.Secret, dryRun bool) error {
	if _, err := o.Store.Client(ctx, c.ID); !errors.Is(err, oauth.ErrNotFound) {
		return orElse(outcome(err, "look for client", "client "+c.ID), outcome(oauth.ErrExists, "", "client "+c.ID))
	}
	err := o.completeClient(ctx, &c)
	if err == nil && chosen != "" {
		c.Secrets, err = o.importedSecrets(ctx, &c, chosen, dryRun)
	}
	if err != nil || dryRun {
		return err
	}
	return o.insertClient(ctx, c, imported)
}

// UpdateImportedClient changes a client as UpdateClient does, and gives it the chosen
// secret in place of the ones it has, where one is given.
func (o *Operator) UpdateImportedClient(ctx context.Context, id string, change func(*oauth.Client), chosen oauth.Secret, dryRun bool) error {
	c, err := o.Client(ctx, id)
	if err == nil {
		err = o.checked(ctx, change)(&c)
	}
	if err == nil && chosen != "" {
		c.Secrets, err = o.importedSecrets(ctx, &c, chosen, dryRun)
	}
	if err != nil || dryRun {
		return err
	}
	_, err = o.changeClient(ctx, id, "client_updated", o.checked(ctx, func(now *oauth.Client) {
		change(now)
		if chosen != "" {
			now.Secrets = c.Secrets
		}
	}))
	return err
}

// importedSecrets is the stored form of a secret that is taken over as text.
func (o *Operator) importedSecrets(ctx context.Context, c *oauth.Client, chosen oauth.Secret, dryRun bool) ([]oauth.ClientSecret, error) {
	if c.Public {
		return nil, errPublicSecret
	}
	if dryRun {
		return nil, checkSecret("client secret", chosen)
	}
	stored, _, err := o.newSecret(ctx, chosen)
	return []oauth.ClientSecret{stored}, err
}

// ImportUser adds a user as it was elsewhere: enabled or not, in its state, and with
// u.PasswordHash, which package password can verify, or the hash of a password given
// as text. It may have neither: then it cannot log in until it gets one. An empty ID
// is generated. A dry run checks all the same, and changes nothing.
func (o *Operator) ImportUser(ctx context.Context, u oauth.User, password oauth.Secret, dryRun bool) error {
	if err := o.checkNewUser(ctx, &u); err != nil {
		return err
	}
	if password != "" {
		err := checkSecret("password", password)
		if err == nil && !dryRun {
			u.PasswordHash, err = o.hash(ctx, "password", password)
		}
		if err != nil {
			return err
		}
	}
	if dryRun {
		return o.mustBeFreeSubject(ctx, u.ID)
	}
	return o.insertUser(ctx, u, imported)
}

// mustBeFreeSubject refuses the ID of another user. That of a deleted one is found out
// by the store alone.
func (o *Operator) mustBeFreeSubject(ctx context.Context, id string) error {
	if id == "" {
		return nil
	}
	_, err := o.Store.Subject(ctx, id)
	switch {
	case errors.Is(err, oauth.ErrNotFound):
		return nil
	case err != nil:
		return outcome(err, "look for subject", "subject "+id)
	}
	return errSubjectTaken(id)
}

func errSubjectTaken(id string) error {
	return &problem{text: "the subject " + id + " is, or was, another user's", kind: oauth.ErrExists}
}
