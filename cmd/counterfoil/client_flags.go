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
	name, scope, owner, signingAlg string
	grantTypes, redirectURIs       []string
	accessToken, refreshToken      durationFlag
	retryWindow                    durationFlag
	reusable                       bool
	noScope, noRetryWindow         bool // of an update
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
	flags.Var(&f.accessToken, "access-token-lifetime", "lifetime of its access tokens; 0: the server's")
	flags.Var(&f.refreshToken, "refresh-token-lifetime", "lifetime of its idle refresh tokens; 0: the server's")
	flags.Var(&f.retryWindow, "retry-window", "how long a refresh token may be sent again; 0: never")
	flags.StringVar(&f.signingAlg, "signing-alg", "", "algorithm of its access tokens: RS256, ES256, EdDSA or PS256")
	flags.BoolVar(&f.reusable, "reusable-refresh-tokens", false, "do not rotate its refresh tokens; for confidential clients only")
}

// addRemovals adds what takes a value away that no value of a flag could.
func (f *clientFlags) addRemovals(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.noScope, "no-scope", false, "it has no list of scope tokens")
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
	case f.noScope || f.noRetryWindow || slices.ContainsFunc(clientFlagNames, given):
		return nil
	}
	return usageError{errors.New("nothing to change: give at least one flag")}
}

// clientFlagNames are the names of the flags that add adds.
var clientFlagNames = []string{
	"name", "grant-type", "redirect-uri", "scope", "owner", "access-token-lifetime", "refresh-token-lifetime",
	"retry-window", "signing-alg", "reusable-refresh-tokens",
}

// apply sets of a client what was given.
func (f *clientFlags) apply(cmd *cobra.Command, c *oauth.Client) {
	set := map[string]func(){
		"name":                    func() { c.Name = f.name },
		"grant-type":              func() { c.GrantTypes = withoutEmpty(f.grantTypes) },
		"redirect-uri":            func() { c.RedirectURIs = withoutEmpty(f.redirectURIs) },
		"scope":                   func() { c.Scope = oauth.ParseScope(f.scope) },
		"owner":                   func() { c.Owner = f.owner },
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
	if f.noScope {
		c.Scope = nil
	}
	if f.noRetryWindow {
		c.RetryWindow = nil
	}
}

// warnAboutClient says what is allowed but seldom meant.
func warnAboutClient(p *printer, c *oauth.Client) {
	if len(c.GrantTypes) == 0 {
		p.warning("without --grant-type the client may use every grant type, as in OroCommerce")
	}
	if slices.Contains(c.GrantTypes, oauth.GrantTypeAuthorizationCode) && len(c.RedirectURIs) == 0 {
		p.warning("without --redirect-uri the client cannot use the authorization_code grant")
	}
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
