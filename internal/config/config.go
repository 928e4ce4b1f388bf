package config

import (
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/internal/oauth"
	"github.com/counterfoil/counterfoil/internal/password"
)

// Config has every setting, as the list in settings.go names and explains them.
type Config struct {
	Data                string
	Database            oauth.Secret // sqlite, or the URL of a PostgreSQL database
	DatabaseFile        string       // where Database is empty: its file
	DatabaseConnections int
	Listen              string // host:port
	AdminListen         string // host:port; empty: off
	Issuer              string // RFC 8414 section 2

	AccessTokenLifetime          time.Duration
	RefreshTokenLifetime         time.Duration
	RefreshTokenAbsoluteLifetime time.Duration // 0: no end
	RetryWindow                  *time.Duration
	LateWindow                   time.Duration
	RetryBudget                  int
	PasswordChange               string // Revoke or Keep
	PreviousAccessToken          oauth.PreviousAccessToken
	SigningAlg                   string
	PrivateKey                   oauth.Secret // PEM
	PrivateKeyFile               string       // where PrivateKey is empty: its file, or empty
	MasterKey                    oauth.Secret // lines of a master key file
	MasterKeyFile                string       // where MasterKey is empty: its file; see MasterKeyPath
	AuthorizationCodeLifetime    *time.Duration
	PasswordHash                 password.Params
	MaxGrants                    int           // 0: no limit
	EventRetention               time.Duration // 0: for ever
	Lockout                      int           // 0: off
	SessionLifetime              time.Duration
	CaseInsensitiveEmail         bool
	Visitors                     bool
	BrandName                    string // empty: Counterfoil
	BrandLogo                    string // a file; empty: none
	BrandColor                   string // #rrggbb; empty: ours
	TLSCert, TLSKey              string
	InsecureHTTP                 bool
	CORSAllowOrigins             []string
	CORSAllowHeaders             []string
	CORSPreflightMaxAge          time.Duration // 0: no preflight caching
	PasswordConcurrency          int
	PasswordQueue                int
	TrustedProxies               []netip.Prefix
	LogLevel                     string
	LogFormat                    string // empty: text on a terminal, else json

	file    string            // the configuration file; empty: none
	origins map[string]string // setting -> where its value came from
}

// The values of PasswordChange.
const (
	Revoke = "revoke"
	Keep   = "keep"
)

// MasterKeyPath is the file of the master keys, where MasterKey is empty.
func (c *Config) MasterKeyPath() string {
	if c.MasterKeyFile != "" {
		return c.MasterKeyFile
	}
	return filepath.Join(c.Data, "master.key")
}

// Origin says where the value of a setting came from: "flag --listen",
// "environment COUNTERFOIL_LISTEN", "file PATH:listen" or "default".
func (c *Config) Origin(name string) string {
	if origin, given := c.origins[name]; given {
		return origin
	}
	return originDefault
}

const originDefault = "default"

// Bound replaces the addresses by those that were in fact bound, which differ for
// port 0, and the issuer with them where it was not set.
func (c *Config) Bound(listen, adminListen string) {
	c.Listen, c.AdminListen = listen, adminListen
	if c.Origin("issuer") == originDefault {
		c.Issuer = c.defaultIssuer()
	}
}

// defaultIssuer is the address of the public listener as a browser of this machine
// names it: a wildcard address is nobody's name.
func (c *Config) defaultIssuer() string {
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return ""
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "localhost"
	}
	scheme := "http"
	if c.TLSCert != "" {
		scheme = "https"
	}
	return (&url.URL{Scheme: scheme, Host: net.JoinHostPort(host, port)}).String()
}

// IsLoopback reports whether a host, without port, is this machine for sure: a
// loopback address or a name below localhost (RFC 6761 section 6.3).
func IsLoopback(host string) bool {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Unmap().IsLoopback()
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}
