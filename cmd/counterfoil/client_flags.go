package main

import (
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

// clientFlags are the flags of what can be set of a client.
type clientFlags struct {
	name, scope, owner, signingAlg     string
	organization                       string
	grantTypes, redirectURIs, apis     []string
	accessToken, refreshToken          durationFlag
	retryWindow                        durationFlag
	storefront, plainPKCE, skipConsent bool
	reusable                           bool
	noScope, noRetryWindow, noAPI      bool // of an update
}

// add adds the flags to a command. Some have the names of settings, which they
// replace for this one client.
func (f *clientFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.name, "name", "", "name for people")
	flags.StringSliceVar(&f.grantTypes, "grant-type", nil, "password, authorization_code or client_credentials; repeatable")
	flags.StringArrayVar(&f.redirectURIs, "redirect-uri", nil, "where an authorization may be sent; repeatable")
	flags.StringVar(&f.scope, "scope", "", "the scope tokens it may ask for, separated by spaces")
	flags.StringVar(&f.owner, "owner", "", "username of the owner: blocked, they stop the client")
	flags.BoolVar(&f.storefront, "storefront", false, "it is of OroCommerce's storefront, not of the back office")
	flags.StringVar(&f.organization, "organization", "", "name of its organization; nothing depends on it")
	flags.StringArrayVar(&f.apis, "api", nil, "an API it is limited to, a scope token of all its access tokens; repeatable; none: all")
	flags.BoolVar(&f.plainPKCE, "plain-pkce", false, "it may use code_challenge_method plain at OroCommerce's endpoint")
	flags.BoolVar(&f.skipConsent, "skip-consent", false, "its users are not asked whether they agree")
	flags.Var(&f.accessToken, "access-token-lifetime", "lifetime of its access tokens; 0: the server's")
	flags.Var(&f.refreshToken, "refresh-token-lifetime", "lifetime of its idle refresh tokens; 0: the server's")
	flags.Var(&f.retryWindow, "retry-window", "how long a refresh token may be sent again; 0: never")
	flags.StringVar(&f.signingAlg, "signing-alg", "", "algorithm of its access tokens: RS256, ES256, EdDSA or PS256")
	flags.BoolVar(&f.reusable, "reusable-refresh-tokens", false, "do not rotate its refresh tokens; for confidential clients only")
}

// addRemovals adds what takes a value away that no value of a flag could.
func (f *clientFlags) addRemovals(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.noScope, "no-scope", false, "it has no list of scope tokens")
	cmd.Flags().BoolVar(&f.noAPI, "no-api", false, "it is limited to no APIs: it may use all")
	cmd.Flags().BoolVar(&f.noRetryWindow, "no-retry-window", false, "its retry window is the server's")
}

// check refuses an update that changes nothing, or says two things at once.
func (f *clientFlags) check(cmd *cobra.Command) error {
	given := cmd.Flags().Changed
	switch {
	case f.noScope && given("scope"):
		return usageError{errors.New("--scope and --no-scope exclude each other")}
	case f.noRetryWindow && given("retry-window"):
		return usageError{errors.New("--retry-window and --no-retry-window exclude each other")}
	case f.noAPI && given("api"):
		return usageError{errors.New("--api and --no-api exclude each other")}
	case f.noScope || f.noRetryWindow || f.noAPI || slices.ContainsFunc(clientFlagNames, given):
		return nil
	}
	return usageError{errors.New("nothing to change: give at least one flag")}
}

// clientFlagNames are the names of the flags that add adds.
var clientFlagNames = []string{
	"name", "grant-type", "redirect-uri", "scope", "owner", "storefront", "organization", "api", "plain-pkce", "skip-consent",
	"access-token-lifetime", "refresh-token-lifetime", "retry-window", "signing-alg", "reusable-refresh-tokens",
}

// apply sets of a client what was given.
func (f *clientFlags) apply(cmd *cobra.Command, c *oauth.Client) {
	set := map[string]func(){
		"name":                    func() { c.Name = f.name },
		"grant-type":              func() { c.GrantTypes = withoutEmpty(f.grantTypes) },
		"redirect-uri":            func() { c.RedirectURIs = withoutEmpty(f.redirectURIs) },
		"scope":                   func() { c.Scope = oauth.ParseScope(f.scope) },
		"owner":                   func() { c.Owner = f.owner },
		"storefront":              func() { c.Storefront = f.storefront },
		"organization":            func() { c.Organization = f.organization },
		"api":                     func() { c.APIs = withoutEmpty(f.apis) },
		"plain-pkce":              func() { c.PlainPKCE = f.plainPKCE },
		"skip-consent":            func() { c.SkipConsent = f.skipConsent },
		"access-token-lifetime":   func() { c.AccessTokenLifetime = time.Duration(f.accessToken) },
		"refresh-token-lifetime":  func() { c.RefreshTokenLifetime = time.Duration(f.refreshToken) },
		"retry-window":            func() { window := time.Duration(f.retryWindow); c.RetryWindow = &window },
		"signing-alg":             func() { c.SigningAlg = f.signingAlg },
		"reusable-refresh-tokens": func() { c.ReusableRefreshTokens = f.reusable },
	}
	for name, apply := range set {
		if cmd.Flags().Changed(name) {
			apply()
		}
	}
	f.remove(c)
}

// remove takes away what was said to be taken away.
func (f *clientFlags) remove(c *oauth.Client) {
	if f.noScope {
		c.Scope = nil
	}
	if f.noRetryWindow {
		c.RetryWindow = nil
	}
	if f.noAPI {
		c.APIs = nil
	}
}

// warnAboutClient says what is allowed but seldom meant.
func warnAboutClient(p *printer, c *oauth.Client) {
	if len(c.GrantTypes) == 0 {
		p.warning("without --grant-type the client may use every grant type, as in OroCommerce")
	}
	if c.PlainPKCE {
		p.warning("whoever sees an authorization request with --plain-pkce can use its code (RFC 9700 section 2.1.1)")
	}
	if c.SkipConsent && c.Public {
		p.warning("whoever can receive at a redirect URI of a public client with --skip-consent can pose as it (RFC 8252 section 8.6)")
	}
}

// nameFlags are the flags of all within which OroCommerce wants one name.
var nameFlags = []string{"name", "organization", "owner", "storefront"}

// warnAboutName says that OroCommerce would refuse the name, in its words.
func warnAboutName(cmd *cobra.Command, i *installation, p *printer, c oauth.Client) error {
	taken, err := i.Operator.IsNameTaken(cmd.Context(), c)
	if taken {
		p.warning("The application with the given name already exists.")
	}
	return err
}

// withoutEmpty drops the empty entries: an empty flag empties a list.
func withoutEmpty(list []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return s == "" })
}

// durationFlag is a Go duration or plain seconds, at least 0.
type durationFlag time.Duration

// maxDuration is more than anybody means, and far from overflowing.
const maxDuration = 100 * 365 * 24 * time.Hour

// String implements pflag.Value. Not given reads as nothing.
func (d *durationFlag) String() string {
	if *d == 0 {
		return ""
	}
	return time.Duration(*d).String()
}

// Set implements pflag.Value.
func (d *durationFlag) Set(s string) error {
	value, err := time.ParseDuration(s)
	if n, plain := strconv.ParseInt(s, 10, 64); plain == nil && n <= int64(maxDuration/time.Second) {
		value, err = time.Duration(max(n, -1))*time.Second, nil
	}
	switch {
	case err != nil || value > maxDuration:
		return errors.New("it is a duration such as 90s or 1h30m, or a number of seconds")
	case value < 0:
		return errors.New("it must not be negative")
	}
	*d = durationFlag(value)
	return nil
}

// Type implements pflag.Value.
func (d *durationFlag) Type() string { return "duration" }
