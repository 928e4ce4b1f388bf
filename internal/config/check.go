package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// check holds the settings against the rules that the type of a value does not
// express, and against each other. It reports everything that is wrong.
func (c *Config) check() error {
	return errors.Join(
		c.checkListeners(), c.checkIssuer(), c.checkTLS(), c.checkLifetimes(), c.checkCORS(), c.checkGate(),
	)
}

func (c *Config) checkListeners() error {
	err := errors.Join(c.checkData(), checkAddress("listen", c.Listen))
	if c.AdminListen == "" {
		return err
	}
	err = errors.Join(err, checkAddress("admin_listen", c.AdminListen))
	if c.AdminListen == c.Listen && !strings.HasSuffix(c.Listen, ":0") {
		err = errors.Join(err, fmt.Errorf("listen and admin_listen are both %s: the public and the admin listener need different addresses", c.Listen))
	}
	return err
}

func (c *Config) checkData() error {
	if c.Data == "" {
		return errors.New("data is empty: want a directory")
	}
	return nil
}

func checkAddress(name, address string) error {
	_, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return fmt.Errorf("%s is %q: want host:port, such as 127.0.0.1:8080 or :8080", name, address)
	}
	return nil
}

// checkIssuer checks RFC 8414 section 2, and that nobody's tokens cross a network
// in clear by mistake.
func (c *Config) checkIssuer() error {
	if c.Issuer == "" { // there is none without a listen address, which was reported
		return nil
	}
	u, err := url.Parse(c.Issuer)
	var problem string
	switch {
	case err != nil || u.Host == "" || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http":
		problem = "want an absolute https URL"
	case u.User != nil:
		problem = "it must not hold a user name or password"
	case strings.ContainsAny(c.Issuer, "?#"):
		problem = "it must have no query and no fragment (RFC 8414 section 2)"
	case strings.HasSuffix(c.Issuer, "/"):
		problem = "it must not end with a slash, since every URL and every `iss` is compared as text"
	case u.Scheme == "http" && !IsLoopback(u.Hostname()) && !c.InsecureHTTP:
		problem = "off loopback it must begin with https://, since tokens would cross the network in clear; for a trial set insecure_http"
	default:
		return nil
	}
	if strings.Contains(c.Issuer, "@") {
		return fmt.Errorf("issuer: %s", problem)
	}
	return fmt.Errorf("issuer is %q (%s): %s", c.Issuer, c.Origin("issuer"), problem)
}

func (c *Config) checkTLS() error {
	switch {
	case c.TLSCert != "" && c.TLSKey == "":
		return errors.New("tls_cert is set without tls_key: TLS needs the certificate and its private key")
	case c.TLSKey != "" && c.TLSCert == "":
		return errors.New("tls_key is set without tls_cert: TLS needs the certificate and its private key")
	case c.TLSCert != "" && strings.HasPrefix(c.Issuer, "http://"):
		return fmt.Errorf("issuer is %q, but with tls_cert the listener speaks https only: clients that follow the issuer would find nobody", c.Issuer)
	}
	return nil
}

func (c *Config) checkLifetimes() error {
	var wrong []error
	positive := func(name string, d time.Duration) {
		if d < time.Second {
			wrong = append(wrong, fmt.Errorf("%s is %s: want at least a second, or every token would be born expired", name, formatDuration(d)))
		}
	}
	positive("access_token_lifetime", c.AccessTokenLifetime)
	positive("refresh_token_lifetime", c.RefreshTokenLifetime)
	positive("session_lifetime", c.SessionLifetime)
	if c.AuthorizationCodeLifetime != nil {
		positive("authorization_code_lifetime", *c.AuthorizationCodeLifetime)
	}
	return errors.Join(wrong...)
}

func (c *Config) checkCORS() error {
	var wrong []error
	for _, origin := range c.CORSAllowOrigins {
		u, err := url.Parse(origin)
		if origin != "*" && (err != nil || u.Host == "" || u.User != nil || u.Scheme+"://"+u.Host != origin) {
			wrong = append(wrong, fmt.Errorf("cors_allow_origins has %q: want an origin as browsers send it, such as https://shop.example, without a path, or *", origin))
		}
	}
	for _, header := range c.CORSAllowHeaders {
		if strings.ContainsFunc(header, func(r rune) bool { return !isTokenCharacter(r) }) {
			wrong = append(wrong, fmt.Errorf("cors_allow_headers has %q: want names of headers", header))
		}
	}
	return errors.Join(wrong...)
}

// isTokenCharacter is tchar of RFC 9110 section 5.6.2.
func isTokenCharacter(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || slices.Contains([]rune("!#$%&'*+-.^_`|~"), r)
}

func (c *Config) checkGate() error {
	if c.DatabaseConnections < 4 { // reads, swaps, other writes, and the lock of who cleans up
		return fmt.Errorf("database_connections is %d: want at least 4", c.DatabaseConnections)
	}
	if c.PasswordConcurrency < 1 {
		return errors.New("password_concurrency is 0: nobody could log in; want 1 or more")
	}
	return nil
}
