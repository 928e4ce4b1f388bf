package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/counterfoil/counterfoil/internal/config"
	"github.com/counterfoil/counterfoil/internal/oauth"
	"github.com/counterfoil/counterfoil/internal/password"
)

// memberTable says what members the records of an import may have.
type memberTable[T any] struct {
	kinds []memberKind[T]
	oro   map[string]string // OroCommerce's names for some of them
	same  map[string]string // which of them says the same in another way
}

// memberKind is such a member and what it does to what is imported. Without set it says
// nothing that could be taken over.
type memberKind[T any] struct {
	name string
	set  func(t *T, value any) error
}

// importedClient is what a record says about a client; Owner is a username.
type importedClient struct {
	oauth.Client
	secret     oauth.Secret // as text
	hash, salt string       // of the secret
	allAPIs    *bool        // whether it is limited to none; nil: APIs says it
	changes    []func(c *oauth.Client)
}

// importedUser is what a record says about a user.
type importedUser struct {
	oauth.User
	password    oauth.Secret // as text
	hash, salt  string       // of the password
	unconfirmed bool
}

// clientMembers are as `client list -o json` prints them.
var clientMembers = memberTable[importedClient]{
	kinds: []memberKind[importedClient]{
		{"client_id", func(c *importedClient, v any) error { return textMember(&c.ID, v) }},
		{"client_secret", func(c *importedClient, v any) error { return textMember((*string)(&c.secret), v) }},
		{"client_secret_hash", func(c *importedClient, v any) error { return textMember(&c.hash, v) }},
		{"salt", func(c *importedClient, v any) error { return textMember(&c.salt, v) }},
		{"client_name", clientMember(textMember, func(c *oauth.Client) *string { return &c.Name })},
		{"grant_types", clientMember(listMember, func(c *oauth.Client) *[]string { return &c.GrantTypes })},
		{"redirect_uris", clientMember(listMember, func(c *oauth.Client) *[]string { return &c.RedirectURIs })},
		{"public", clientMember(truthMember, func(c *oauth.Client) *bool { return &c.Public })},
		{"confidential", clientMember(untruthMember, func(c *oauth.Client) *bool { return &c.Public })},
		{"active", clientMember(truthMember, func(c *oauth.Client) *bool { return &c.Active })},
		{"scope", clientMember(scopeMember, func(c *oauth.Client) *oauth.Scope { return &c.Scope })},
		{"scopes", clientMember(listMember, func(c *oauth.Client) *[]string { return (*[]string)(&c.Scope) })},
		{"owner", clientMember(textMember, func(c *oauth.Client) *string { return &c.Owner })},
		{"storefront", clientMember(truthMember, func(c *oauth.Client) *bool { return &c.Storefront })},
		{"organization", clientMember(textMember, func(c *oauth.Client) *string { return &c.Organization })},
		{"apis", clientMember(listMember, func(c *oauth.Client) *[]string { return &c.APIs })},
		{"all_apis", func(c *importedClient, v any) error { c.allAPIs = new(bool); return truthMember(c.allAPIs, v) }},
		{"plain_pkce_allowed", clientMember(truthMember, func(c *oauth.Client) *bool { return &c.PlainPKCE })},
		{"skip_consent", clientMember(truthMember, func(c *oauth.Client) *bool { return &c.SkipConsent })},
		{"access_token_lifetime", clientMember(durationMember, func(c *oauth.Client) *time.Duration { return &c.AccessTokenLifetime })},
		{"refresh_token_lifetime", clientMember(durationMember, func(c *oauth.Client) *time.Duration { return &c.RefreshTokenLifetime })},
		{"retry_window", clientMember(windowMember, func(c *oauth.Client) **time.Duration { return &c.RetryWindow })},
		{"signing_alg", clientMember(textMember, func(c *oauth.Client) *string { return &c.SigningAlg })},
		{"reusable_refresh_tokens", clientMember(truthMember, func(c *oauth.Client) *bool { return &c.ReusableRefreshTokens })},
		{"owner_blocked", nil},
		{"secrets", nil},
		{"created_at", nil},
		{"updated_at", nil},
		{"last_used_at", nil},
	},
	oro: map[string]string{
		"identifier": "client_id", "secret": "client_secret_hash", "name": "client_name", "grants": "grant_types", "owner_username": "owner",
		"frontend": "storefront", "plain_text_pkce_allowed": "plain_pkce_allowed", "skip_authorize_client_allowed": "skip_consent",
	},
	same: map[string]string{"confidential": "public", "scopes": "scope"},
}

// userMembers are as `user list -o json` prints them.
var userMembers = memberTable[importedUser]{
	kinds: []memberKind[importedUser]{
		{"username", func(u *importedUser, v any) error { return textMember(&u.Username, v) }},
		{"email", func(u *importedUser, v any) error { return textMember(&u.Email, v) }},
		{"plain_password", func(u *importedUser, v any) error { return textMember((*string)(&u.password), v) }},
		{"password_hash", func(u *importedUser, v any) error { return textMember(&u.hash, v) }},
		{"salt", func(u *importedUser, v any) error { return textMember(&u.salt, v) }},
		{"enabled", func(u *importedUser, v any) error { return truthMember(&u.Enabled, v) }},
		{"state", func(u *importedUser, v any) error { return stateMember(&u.State, v) }},
		{"confirmed", func(u *importedUser, v any) error { return untruthMember(&u.unconfirmed, v) }},
		{"subject", func(u *importedUser, v any) error { return textMember(&u.ID, v) }},
		{"created_at", nil},
		{"updated_at", nil},
	},
	oro: map[string]string{"password": "password_hash", "auth_status": "state", "auth_status_id": "state"},
}

// clientMember sets a field of a client, and remembers to do so again for one that
// exists already.
func clientMember[F any](read func(*F, any) error, field func(*oauth.Client) *F) func(*importedClient, any) error {
	return func(c *importedClient, v any) error {
		value := field(&c.Client)
		if err := read(value, v); err != nil {
			return err
		}
		was := *value
		c.changes = append(c.changes, func(c *oauth.Client) { *field(c) = was })
		return nil
	}
}

// change changes a client that exists already as the record says.
func (c *importedClient) change(existing *oauth.Client) {
	for _, change := range c.changes {
		change(existing)
	}
}

// parseClient reads what a record says about a client. Without a word it is active,
// confidential and of the back office, as in OroCommerce.
func parseClient(members []importMember, ignoreUnknown bool) (*importedClient, error) {
	c := &importedClient{Client: oauth.Client{Active: true}}
	err := clientMembers.set(c, members, ignoreUnknown)
	switch {
	case err != nil:
		return c, err
	case c.ID == "":
		return c, errors.New("it has no client_id")
	case c.secret != "" && c.hash != "":
		return c, errors.New("it has a client_secret and a hash: give one of them")
	}
	if err := c.settleAPIs(); err != nil {
		return c, err
	}
	return c, c.settleSecret()
}

// settleAPIs: where all APIs are allowed, OroCommerce does not look at the list.
func (c *importedClient) settleAPIs() error {
	if c.allAPIs == nil {
		return nil
	}
	if *c.allAPIs {
		c.APIs = nil
		c.changes = append(c.changes, func(c *oauth.Client) { c.APIs = nil })
	} else if len(c.APIs) == 0 {
		return errors.New("all_apis is false and apis is empty: here a client without a list may use all")
	}
	return nil
}

// settleSecret takes the hash over. OroCommerce keeps one of public clients too, and
// never looks at it.
func (c *importedClient) settleSecret() error {
	if c.hash == "" || c.Public {
		return nil
	}
	hash, err := password.ImportHash(c.hash, c.salt)
	if err != nil {
		return fmt.Errorf("its secret cannot be taken over: %w; as text it belongs in client_secret", err)
	}
	secrets := []oauth.ClientSecret{{Hash: hash}}
	c.Secrets = secrets
	c.changes = append(c.changes, func(c *oauth.Client) { c.Secrets = secrets })
	return nil
}

// parseUser reads what a record says about a user. Without a word it is enabled,
// active and confirmed.
func parseUser(members []importMember, ignoreUnknown bool) (*importedUser, error) {
	u := &importedUser{User: oauth.User{Subject: oauth.Subject{Enabled: true, State: oauth.SubjectActive}}}
	err := userMembers.set(u, members, ignoreUnknown)
	switch {
	case err != nil:
		return u, err
	case u.Username == "":
		return u, errors.New("it has no username")
	case u.password != "" && u.hash != "":
		return u, errors.New("it has a plain_password and a hash: give one of them")
	}
	if u.unconfirmed && u.State == oauth.SubjectActive {
		u.State = oauth.SubjectLocked // which OroCommerce tells an unconfirmed customer user
	}
	if u.hash == "" {
		return u, nil
	}
	if u.PasswordHash, err = password.ImportHash(u.hash, u.salt); err != nil {
		return u, fmt.Errorf("its password cannot be taken over: %w; as text it belongs in plain_password", err)
	}
	return u, nil
}

// set sets what the members say. Of what is refused the first is told; the others are
// set all the same, so that it can be told whose they are.
func (t *memberTable[T]) set(of *T, members []importMember, ignoreUnknown bool) error {
	var refusal error
	said := map[string]bool{}
	for _, m := range members {
		kind, meaning := t.find(m.name)
		var err error
		switch {
		case kind == nil && ignoreUnknown:
		case kind == nil:
			err = t.unknown(m.name)
		case said[meaning]:
			err = fmt.Errorf("it says %s twice", meaning)
		case kind.set != nil:
			err = because(m.name, kind.set(of, m.value))
		}
		said[meaning] = kind != nil
		if refusal == nil {
			refusal = err
		}
	}
	return refusal
}

// checkColumns refuses names of columns that no line could be imported with.
func (t *memberTable[T]) checkColumns(columns []string, ignoreUnknown bool) error {
	said := map[string]bool{}
	for _, name := range columns {
		kind, meaning := t.find(name)
		switch {
		case kind == nil && !ignoreUnknown:
			return t.unknown(name)
		case kind != nil && said[meaning]:
			return fmt.Errorf("two columns say %s", meaning)
		}
		said[meaning] = kind != nil
	}
	return nil
}

// because says which member is wrong.
func because(name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %w", name, err)
}

// find finds a member by its name or OroCommerce's, and what it is about; or nil.
func (t *memberTable[T]) find(name string) (kind *memberKind[T], meaning string) {
	if ours, theirs := t.oro[name]; theirs {
		name = ours
	}
	i := slices.IndexFunc(t.kinds, func(k memberKind[T]) bool { return k.name == name })
	if i < 0 {
		return nil, ""
	}
	if other, same := t.same[name]; same {
		return &t.kinds[i], other
	}
	return &t.kinds[i], name
}

// unknown names the member that is nearest to an unknown one, if any is near.
func (t *memberTable[T]) unknown(name string) error {
	best := config.Nearest(name, t.names())
	if best == "" {
		return fmt.Errorf("there is no member %.64q", name)
	}
	return fmt.Errorf("there is no member %.64q; did you mean %s?", name, best)
}

// names are all the names, in an order that does not change.
func (t *memberTable[T]) names() []string {
	names := slices.Sorted(maps.Keys(t.oro))
	for _, k := range t.kinds {
		names = append(names, k.name)
	}
	return names
}
