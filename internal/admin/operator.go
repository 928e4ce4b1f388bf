package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

// Operator is somebody who administers an installation. Its errors read as they
// are; errors.Is tells ErrUsage, ErrConfiguration, oauth.ErrNotFound and
// oauth.ErrExists from faults.
type Operator struct {
	Store  Store
	Keys   func() *oauth.Keys // the master keys of the moment
	Hasher Hasher
	Rand   io.Reader
	Actor  string // who it is, for the audit

	// Now is for the ends of overlapping client secrets; nil: time.Now.
	Now func() time.Time
	// Weakness says in words why a password or chosen secret is weak, given what
	// is known about its owner; empty: it is not. nil: nobody judges.
	Weakness func(secret oauth.Secret, about ...string) string
	// KeepGrants lets a user's grants survive a new password, as in OroCommerce
	// (setting password_change: keep).
	KeepGrants bool
}

// Hasher makes the stored form of a password or of a client secret that somebody chose.
type Hasher interface {
	// Hash returns the password hash of a secret, or a fault.
	Hash(ctx context.Context, secret oauth.Secret) (string, error)
}

// The kinds of errors that are the operator's to mend.
var (
	// ErrUsage: what was asked for makes no sense; nothing was done.
	ErrUsage = errors.New("wrong usage")
	// ErrConfiguration: the installation is set up wrongly.
	ErrConfiguration = errors.New("wrong configuration")
)

// problem is an error that reads as it is and belongs to a kind.
type problem struct {
	text string
	kind error
}

// Error implements error.
func (p *problem) Error() string { return p.text }

// Unwrap returns the kind.
func (p *problem) Unwrap() error { return p.kind }

func usage(format string, args ...any) error {
	return &problem{text: fmt.Sprintf(format, args...), kind: ErrUsage}
}

func misconfigured(format string, args ...any) error {
	return &problem{text: fmt.Sprintf(format, args...), kind: ErrConfiguration}
}

// outcome words what a store reports about the named thing; a fault is wrapped
// with what was being done.
func outcome(err error, doing, thing string) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, oauth.ErrNotFound):
		return &problem{text: "there is no " + thing, kind: oauth.ErrNotFound}
	case errors.Is(err, oauth.ErrExists):
		return &problem{text: "a " + thing + " exists already", kind: oauth.ErrExists}
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// event is the record of an act.
func (o *Operator) event(act string) oauth.Event {
	return oauth.Event{Type: oauth.EventAdministration, Reason: act, Source: o.Actor}
}

func (o *Operator) now() time.Time {
	if o.Now == nil {
		return time.Now().UTC()
	}
	return o.Now().UTC()
}

// Weak says why a secret is weak, or nothing.
func (o *Operator) Weak(secret oauth.Secret, about ...string) string {
	if o.Weakness == nil {
		return ""
	}
	return o.Weakness(secret, about...)
}

// maxSecretLength is the longest password or client secret in bytes, as in package oauth.
const maxSecretLength = 4096

// hash checks and hashes a secret that somebody chose; what is its name for people.
func (o *Operator) hash(ctx context.Context, what string, secret oauth.Secret) (string, error) {
	if err := checkSecret(what, secret); err != nil {
		return "", err
	}
	hash, err := o.Hasher.Hash(ctx, secret)
	if err != nil {
		return "", fmt.Errorf("hash %s: %w", what, err)
	}
	return hash, nil
}

func checkSecret(what string, secret oauth.Secret) error {
	switch {
	case secret == "":
		return usage("the %s is empty", what)
	case len(secret) > maxSecretLength:
		return usage("the %s is longer than %d bytes", what, maxSecretLength)
	}
	return nil
}
