package admin

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

// GrantChoice says which grants are meant; empty fields mean all.
type GrantChoice struct {
	GrantID  string // oauth.Grant.PublicID
	Username string
	ClientID string
	Limit    int // 0: no limit
}

// String names the choice for people.
func (c GrantChoice) String() string {
	text := c.GrantID
	if c.Username != "" {
		text += " of user " + c.Username
	}
	if c.ClientID != "" {
		text += " of client " + c.ClientID
	}
	return strings.TrimSpace(text)
}

// GrantState is what is the matter with a grant, as people see it.
type GrantState string

// The states of a grant as people see it.
const (
	StatePending GrantState = "pending" // its authorization code was not redeemed yet
	StateActive  GrantState = "active"
	StateExpired GrantState = "expired"
	StateRevoked GrantState = "revoked" // itself, or with its subject or client
)

// StateOf returns the state of a grant at the time of the view. The policy of the
// server and its client may end a grant earlier than its row says.
func StateOf(v *oauth.GrantView) GrantState {
	switch {
	case v.Grant.Status == oauth.GrantRevoked, !v.SubjectExists, v.Grant.SubjectEpoch != v.Subject.Epoch, v.ClientVersion == 0:
		return StateRevoked
	case !v.Now.Before(ExpiresAt(v)):
		return StateExpired
	case v.Grant.Status == oauth.GrantPending:
		return StatePending
	}
	return StateActive
}

// ExpiresAt returns when the grant ends if nobody refreshes it.
func ExpiresAt(v *oauth.GrantView) time.Time { return v.Grant.ExpiresAt(oauth.Policy{}) }

// Grant returns a grant by the identifier that access tokens carry.
func (o *Operator) Grant(ctx context.Context, grantID string) (oauth.GrantView, error) {
	v, err := o.Store.GrantByPublicID(ctx, grantID)
	return v, outcome(err, "read grant", "grant "+grantID)
}

// Grants lists grants, newest first.
func (o *Operator) Grants(ctx context.Context, c GrantChoice) ([]oauth.GrantView, error) {
	f, err := o.filter(ctx, c)
	if err != nil {
		return nil, err
	}
	views, err := o.Store.Grants(ctx, f)
	return views, outcome(err, "list grants", "grant")
}

// filter finds out who is meant.
func (o *Operator) filter(ctx context.Context, c GrantChoice) (GrantFilter, error) {
	f := GrantFilter{PublicID: c.GrantID, ClientID: c.ClientID, Limit: c.Limit}
	if c.Username != "" {
		u, err := o.User(ctx, c.Username)
		if err != nil {
			return f, err
		}
		f.Subject = u.ID
	}
	if c.ClientID != "" {
		if _, err := o.Client(ctx, c.ClientID); err != nil {
			return f, err
		}
	}
	return f, nil
}

// RevokeGrants ends the chosen grants, at once and for good, and returns how many
// were active. A grant, a user or a client must be named.
func (o *Operator) RevokeGrants(ctx context.Context, c GrantChoice) (int, error) {
	if c.GrantID == "" && c.Username == "" && c.ClientID == "" {
		return 0, usage("say which grants to revoke: a grant, a user or a client")
	}
	f, err := o.filter(ctx, c)
	if err != nil {
		return 0, err
	}
	e := o.event("grant_revoked")
	e.GrantID, e.Subject, e.ClientID = f.PublicID, f.Subject, f.ClientID
	n, err := o.Store.RevokeGrants(ctx, f, "administrator", e)
	return n, outcome(err, "revoke grants", "grant "+c.String())
}

// activeGrants counts the grants that are alive.
func (o *Operator) activeGrants(ctx context.Context, f GrantFilter) (int, error) {
	views, err := o.Store.Grants(ctx, f)
	if err != nil {
		return 0, fmt.Errorf("list grants: %w", err)
	}
	n := 0
	for i := range views {
		if StateOf(&views[i]) == StateActive {
			n++
		}
	}
	return n, nil
}

// Explain returns what is known of a request, oldest first: why it was refused, or
// what it led to. ErrNotFound if nothing is known, or no more.
func (o *Operator) Explain(ctx context.Context, requestID string) ([]oauth.Event, error) {
	events, err := o.Store.Events(ctx, requestID)
	if err == nil && len(events) == 0 {
		err = oauth.ErrNotFound
	}
	return events, outcome(err, "read events", "event of the request "+requestID)
}

// Cleanup deletes what is over, or only counts it.
func (o *Operator) Cleanup(ctx context.Context, c Cleanup) (Removed, error) {
	if c.DeadFor < 0 || c.Events < 0 || c.Batch < 0 {
		return Removed{}, usage("a clean-up needs times and a batch that are not negative")
	}
	removed, err := o.Store.Cleanup(ctx, c)
	if err != nil {
		return removed, fmt.Errorf("clean up: %w", err)
	}
	if c.DryRun || removed == (Removed{}) {
		return removed, nil
	}
	e := o.event("cleaned_up")
	e.Detail = fmt.Sprintf("%d grants, %d events, %d failures, %d secrets", removed.Grants, removed.Events, removed.Failures, removed.Secrets)
	if err := o.Store.RecordEvent(ctx, e); err != nil {
		return removed, fmt.Errorf("record clean-up: %w", err)
	}
	return removed, nil
}
