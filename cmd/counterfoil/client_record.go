package main

import (
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

// clientRecord is a client as it is printed. null means none, or the server's setting.
type clientRecord struct {
	ClientID              string         `json:"client_id"`
	ClientSecret          string         `json:"client_secret,omitempty"` // only when it was just made
	ClientName            string         `json:"client_name"`
	GrantTypes            []string       `json:"grant_types"` // empty: every grant type
	RedirectURIs          []string       `json:"redirect_uris"`
	Public                bool           `json:"public"`
	Active                bool           `json:"active"`
	Scope                 *string        `json:"scope"`
	Owner                 *string        `json:"owner"` // username
	OwnerBlocked          bool           `json:"owner_blocked"`
	Storefront            bool           `json:"storefront"`
	Organization          *string        `json:"organization"`
	APIs                  []string       `json:"apis"` // empty: all
	PlainPKCE             bool           `json:"plain_pkce_allowed"`
	SkipConsent           bool           `json:"skip_consent"`
	AccessTokenLifetime   *float64       `json:"access_token_lifetime"` // seconds, as the next two
	RefreshTokenLifetime  *float64       `json:"refresh_token_lifetime"`
	RetryWindow           *float64       `json:"retry_window"`
	SigningAlg            *string        `json:"signing_alg"`
	ReusableRefreshTokens bool           `json:"reusable_refresh_tokens"`
	Secrets               []secretRecord `json:"secrets"`
	CreatedAt             timestamp      `json:"created_at"`
	UpdatedAt             timestamp      `json:"updated_at"`
	LastUsedAt            timestamp      `json:"last_used_at"`

	client oauth.Client // for people
}

// secretRecord is what is told about a stored client secret.
type secretRecord struct {
	Generated bool      `json:"generated"`
	ExpiresAt timestamp `json:"expires_at"`
}

// newClientRecord makes the record of a client; owners are the usernames by Client.Owner.
func newClientRecord(c oauth.Client, owners map[string]string) clientRecord {
	r := clientRecord{
		ClientID: c.ID, ClientName: c.Name, Public: c.Public, Active: c.Active, OwnerBlocked: c.OwnerBlocked,
		GrantTypes: append([]string{}, c.GrantTypes...), RedirectURIs: append([]string{}, c.RedirectURIs...),
		Storefront: c.Storefront, Organization: optional(c.Organization), APIs: append([]string{}, c.APIs...),
		PlainPKCE: c.PlainPKCE, SkipConsent: c.SkipConsent,
		AccessTokenLifetime: optional(c.AccessTokenLifetime.Seconds()), RefreshTokenLifetime: optional(c.RefreshTokenLifetime.Seconds()),
		SigningAlg: optional(c.SigningAlg), ReusableRefreshTokens: c.ReusableRefreshTokens, Secrets: []secretRecord{},
		CreatedAt: timestamp(c.CreatedAt), UpdatedAt: timestamp(c.UpdatedAt), LastUsedAt: timestamp(c.LastUsedAt), client: c,
	}
	if c.Scope != nil {
		scope := c.Scope.String()
		r.Scope = &scope
	}
	if c.RetryWindow != nil {
		window := c.RetryWindow.Seconds()
		r.RetryWindow = &window
	}
	if c.Owner != "" {
		name, there := owners[c.Owner]
		if !there {
			name = "(deleted)"
		}
		r.Owner = &name
	}
	for _, s := range c.Secrets {
		r.Secrets = append(r.Secrets, secretRecord{Generated: oauth.IsGeneratedSecretHash(s.Hash), ExpiresAt: timestamp(s.ExpiresAt)})
	}
	return r
}

func (r clientRecord) fields() []field {
	c := &r.client
	fields := []field{{name: "client_id", text: c.ID, column: "client id"}}
	if r.ClientSecret != "" {
		fields = append(fields, field{name: "client_secret", text: r.ClientSecret})
	}
	return append(
		fields,
		field{name: "client_name", text: c.Name, column: "name"},
		field{name: "grant_types", text: grantTypesText(c), column: "grant types"},
		field{name: "redirect_uris", text: strings.Join(c.RedirectURIs, " ")},
		field{name: "public", text: yesNo(c.Public), column: "public"},
		field{name: "active", text: yesNo(c.Active), column: "active"},
		field{name: "scope", text: scopeText(c)},
		field{name: "owner", text: ownerText(&r)},
		field{name: "storefront", text: yesNo(c.Storefront)},
		field{name: "organization", text: c.Organization},
		field{name: "apis", text: apisText(c)},
		field{name: "plain_pkce_allowed", text: yesNo(c.PlainPKCE)},
		field{name: "skip_consent", text: yesNo(c.SkipConsent)},
		field{name: "access_token_lifetime", text: lifetimeText(c.AccessTokenLifetime)},
		field{name: "refresh_token_lifetime", text: lifetimeText(c.RefreshTokenLifetime)},
		field{name: "retry_window", text: windowText(c.RetryWindow)},
		field{name: "signing_alg", text: orServers(c.SigningAlg)},
		field{name: "reusable_refresh_tokens", text: yesNo(c.ReusableRefreshTokens)},
		field{name: "secrets", text: secretsText(r.Secrets)},
		field{name: "created_at", text: r.CreatedAt.String()},
		field{name: "updated_at", text: r.UpdatedAt.String()},
		field{name: "last_used_at", text: r.LastUsedAt.String()},
		field{text: dayText(c.LastUsedAt), column: "last used"},
	)
}

func grantTypesText(c *oauth.Client) string {
	if len(c.GrantTypes) == 0 {
		return "all"
	}
	return strings.Join(c.GrantTypes, " ")
}

func apisText(c *oauth.Client) string {
	if len(c.APIs) == 0 {
		return "all"
	}
	return strings.Join(c.APIs, " ")
}

func scopeText(c *oauth.Client) string {
	if c.Scope == nil {
		return "no list"
	}
	return c.Scope.String()
}

func ownerText(r *clientRecord) string {
	switch {
	case r.Owner == nil:
		return ""
	case r.OwnerBlocked:
		return *r.Owner + " (blocked, and the client with it)"
	}
	return *r.Owner
}

// dayText is a time as lists show it, where room is short.
func dayText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.DateOnly)
}

func orServers(s string) string {
	if s == "" {
		return "the server's"
	}
	return s
}

func lifetimeText(d time.Duration) string {
	if d == 0 {
		return orServers("")
	}
	return d.String()
}

func windowText(d *time.Duration) string {
	if d == nil {
		return orServers("")
	}
	return d.String()
}

func secretsText(secrets []secretRecord) string {
	var texts []string
	for _, s := range secrets {
		text := "chosen"
		if s.Generated {
			text = "generated"
		}
		if end := s.ExpiresAt.String(); end != "" {
			text += " until " + end
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, ", ")
}
