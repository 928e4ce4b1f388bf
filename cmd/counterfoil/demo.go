package main

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/counterfoil/counterfoil/internal/config"
	"github.com/counterfoil/counterfoil/internal/oauth"
)

// The names of the demo.
const (
	demoClient = "demo-shop"
	demoUser   = "alice"
)

func newDemoCommand() *cobra.Command {
	var lose shareFlag
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run a throw-away server with one client and one user, and print three calls",
		Long: `Run a throw-away server with one client and one user, and print three calls for a
shell: log in with a password, refresh, and use the new access token.

It listens on loopback only, has no admin listener, reads no configuration file, and
removes its data when it ends.

With --contrary it is a server that you can try your client with: of the requests for
tokens that it grants, it commits so many and then closes the connection instead of
answering, or in the middle of the answer. Each loss is told on standard error. A client
that sends the same request again keeps its session.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return runDemo(cmd, float64(lose)) },
	}
	cmd.Flags().Var(&lose, "contrary", "share of the granted tokens whose answers are lost, such as 20%")
	addSettings(cmd, "listen", "log_level", "log_format")
	return cmd
}

func runDemo(cmd *cobra.Command, lose float64) (err error) {
	dir, err := os.MkdirTemp("", "counterfoil-demo-") // mode 0700
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	c, err := demoConfig(flagOf(cmd), os.Environ(), dir)
	if err != nil {
		return configurationError{err}
	}
	i, err := openStore(cmd.Context(), c, newLogger(cmd.ErrOrStderr(), c), 0)
	if err != nil {
		return err
	}
	return errors.Join(runDemoServer(cmd, i, lose), i.Close())
}

func runDemoServer(cmd *cobra.Command, i *installation, lose float64) error {
	if err := i.prepare(cmd.Context()); err != nil {
		return err
	}
	calls, err := makeDemo(cmd, i)
	if err != nil {
		return err
	}
	o := occasion{started: func(c *config.Config) {
		cmd.PrintErrf("\nThe demo runs at %s until Ctrl-C. In another terminal, paste these calls:\n\n", c.Issuer)
		_, _ = io.WriteString(cmd.OutOrStdout(), strings.ReplaceAll(calls, "ISSUER", c.Issuer))
		cmd.PrintErrln("\nEach shows its answer. Repeat the second one: a retry gets the same refresh token again.")
		if lose > 0 {
			cmd.PrintErrln("It is contrary: where a call shows no answer, or half of one, paste it again.")
		}
	}}
	if lose > 0 {
		o.wrap = beContrary(lose, cmd.ErrOrStderr())
	}
	return serve(cmd.Context(), i, true, o)
}

// demoConfig is the settings of the demo: of an installation's, only the address
// and the log count.
func demoConfig(flag func(string) (string, bool), environ []string, dir string) (*config.Config, error) {
	mine := map[string]string{"data": dir, "admin-listen": ""}
	for _, name := range []string{"listen", "log_level", "log_format"} {
		if text, given := flag(config.FlagName(name)); given {
			mine[config.FlagName(name)] = text
			continue
		}
		for _, line := range environ {
			if text, given := strings.CutPrefix(line, config.EnvironmentName(name)+"="); given {
				mine[config.FlagName(name)] = text
			}
		}
	}
	if _, given := mine["log-level"]; !given {
		mine["log-level"] = "warn"
	}
	c, err := config.Load(config.Sources{Flag: func(name string) (string, bool) { text, given := mine[name]; return text, given }})
	if err != nil {
		return nil, err
	}
	if host, _, _ := net.SplitHostPort(c.Listen); !config.IsLoopback(host) {
		return nil, fmt.Errorf("listen is %q: the demo listens on loopback only, such as 127.0.0.1:8080; 'counterfoil serve' is for others", c.Listen)
	}
	return c, nil
}

// makeDemo makes the client and the user, and returns the calls.
func makeDemo(cmd *cobra.Command, i *installation) (string, error) {
	_, secret, err := i.Operator.CreateClient(cmd.Context(), oauth.Client{
		ID: demoClient, Name: "Demo shop", Active: true, GrantTypes: []string{oauth.GrantTypePassword},
	}, "")
	if err != nil {
		return "", err
	}
	var random [12]byte
	if _, err := io.ReadFull(rand.Reader, random[:]); err != nil {
		return "", err
	}
	password := oauth.Secret(base64.RawURLEncoding.EncodeToString(random[:]))
	if _, err := i.Operator.CreateUser(cmd.Context(), demoUser, "", password); err != nil {
		return "", err
	}
	return demoCalls(string(secret), string(password)), nil
}

// demoCalls are the requests of OroCommerce's documentation, and one with what they
// yield. Each can be pasted as it stands, and shows its answer.
func demoCalls(secret, password string) string {
	const post = `ANSWER=$(curl -s -w '\n' ISSUER/oauth2-token -H 'Content-Type: application/json' -d `
	take := func(name string) string {
		return fmt.Sprintf(`%s=$(printf '%%s' "$ANSWER" | sed -n 's/.*"%s":"\([^"]*\)".*/\1/p')`, strings.ToUpper(name), name)
	}
	lines := []string{
		post + fmt.Sprintf(`'{"grant_type":"password","client_id":"%s","client_secret":"%s","username":"%s","password":"%s"}' | tee -a /dev/stderr)`, demoClient, secret, demoUser, password),
		take("refresh_token"),
		post + fmt.Sprintf(`'{"grant_type":"refresh_token","client_id":"%s","client_secret":"%s","refresh_token":"'"$REFRESH_TOKEN"'"}' | tee -a /dev/stderr)`, demoClient, secret),
		take("access_token"),
		`curl -s -w '\n' ISSUER/oauth2/userinfo -H "Authorization: Bearer $ACCESS_TOKEN"`,
	}
	return strings.Join(lines, "\n") + "\n"
}
