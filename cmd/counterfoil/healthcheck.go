package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/spf13/cobra"

	"github.com/counterfoil/counterfoil/internal/config"
)

// healthTimeout is how long an answer may take.
const healthTimeout = 5 * time.Second

func newHealthcheckCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "healthcheck",
		Short: "Ask the server of this machine whether it is ready",
		Long: `Ask the server of this machine whether it is ready: at the admin listener, or where
that is off at the public one. The exit code is 0 if it is, else 1.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := loadConfig(cmd)
			if err != nil {
				return err
			}
			return checkHealth(cmd, healthURL(c))
		},
	}
	addSettings(cmd, "listen", "admin_listen", "tls_cert", "tls_key")
	return cmd
}

// healthURL is where the server of this machine says whether it is ready.
func healthURL(c *config.Config) string {
	scheme, address := "http", c.AdminListen
	if address == "" {
		address = c.Listen
		if c.TLSCert != "" {
			scheme = "https"
		}
	}
	host, port, _ := net.SplitHostPort(address)
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return scheme + "://" + net.JoinHostPort(host, port) + "/healthz/ready"
}

func checkHealth(cmd *cobra.Command, url string) error {
	client := &http.Client{
		Timeout: healthTimeout,
		// The certificate is for the issuer's name, and we ask our own machine.
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("it redirects") },
	}
	request, err := http.NewRequestWithContext(cmd.Context(), http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	answer, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("the server does not answer: %w", err)
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("the server is not ready: %s answered %s", url, answer.Status)
	}
	return nil
}
