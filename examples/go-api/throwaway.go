package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/counterfoil/counterfoil/accesstoken"
)

// The names of the throw-away Counterfoil.
const (
	shop  = "shop" // the client that uses the API
	alice = "alice"
)

// counterfoil is a throw-away Counterfoil in a temporary directory.
type counterfoil struct {
	issuer
	dir        string
	env        []string
	server     *exec.Cmd
	ended      chan struct{} // closed when the server has
	shopSecret string
	password   string
}

// startCounterfoil builds Counterfoil, makes the clients and the user by its command line,
// and starts it.
func startCounterfoil(ctx context.Context, id string) (*counterfoil, error) {
	dir, err := os.MkdirTemp("", "counterfoil-example-") // mode 0700
	if err != nil {
		return nil, err
	}
	c := &counterfoil{dir: dir, password: rand.Text()}
	if err := c.prepare(ctx, id); err != nil {
		return nil, errors.Join(err, c.stop())
	}
	if err := c.start(ctx); err != nil {
		return nil, errors.Join(err, c.stop())
	}
	return c, nil
}

func (c *counterfoil) binary() string { return filepath.Join(c.dir, "counterfoil") }

func (c *counterfoil) prepare(ctx context.Context, id string) error {
	fmt.Fprintln(os.Stderr, "Building Counterfoil …")
	build := exec.CommandContext(ctx, "go", "build", "-o", c.binary(), "github.com/counterfoil/counterfoil/cmd/counterfoil")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build Counterfoil: %w\n%s", err, out)
	}
	address, err := freeAddress()
	if err != nil {
		return err
	}
	c.url, c.id = "http://"+address, id
	if c.env, err = c.environment(address); err != nil {
		return err
	}
	secret, err := c.createClient(ctx, "--id", id, "--name", "Orders API", "--grant-type", "client_credentials")
	if err != nil {
		return err
	}
	c.secret = accesstoken.Secret(secret)
	c.shopSecret, err = c.createClient(ctx, "--id", shop, "--name", "Shop", "--grant-type", "password", "--scope", "orders:read orders:write")
	if err != nil {
		return err
	}
	_, err = c.command(ctx, c.password+"\n", "user", "create", alice, "--password-file", "-")
	return err
}

// environment is that of the program without the settings of a Counterfoil that may be
// installed here, which must not be touched: neither from variables nor from its file.
func (c *counterfoil) environment(address string) ([]string, error) {
	foreign := func(line string) bool { return strings.HasPrefix(line, "COUNTERFOIL_") }
	config := filepath.Join(c.dir, "empty.yaml")
	return append(slices.DeleteFunc(os.Environ(), foreign),
		"COUNTERFOIL_CONFIG="+config, "COUNTERFOIL_DATA="+filepath.Join(c.dir, "data"),
		"COUNTERFOIL_LISTEN="+address, "COUNTERFOIL_ADMIN_LISTEN=", "COUNTERFOIL_LOG_LEVEL=warn",
	), os.WriteFile(config, nil, 0o600)
}

func (c *counterfoil) createClient(ctx context.Context, arguments ...string) (secret string, err error) {
	out, err := c.command(ctx, "", append([]string{"client", "create", "-o", "json"}, arguments...)...)
	if err != nil {
		return "", err
	}
	var created struct {
		Secret string `json:"client_secret"`
	}
	if err := json.Unmarshal(out, &created); err != nil {
		return "", fmt.Errorf("client create: %w", err)
	}
	return created.Secret, nil
}

// command runs a command of Counterfoil and returns what it prints.
func (c *counterfoil) command(ctx context.Context, stdin string, arguments ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, c.binary(), arguments...)
	cmd.Env, cmd.Stdin = c.env, strings.NewReader(stdin)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("counterfoil %s: %w\n%s", strings.Join(arguments, " "), err, complaint.String())
	}
	return out, nil
}

// start starts the server and waits until it is ready.
func (c *counterfoil) start(ctx context.Context) error {
	c.server = exec.Command(c.binary(), "serve")
	c.server.Env, c.server.Stdout, c.server.Stderr = c.env, os.Stderr, os.Stderr
	if err := c.server.Start(); err != nil {
		c.server = nil
		return err
	}
	c.ended = make(chan struct{})
	go func() {
		defer close(c.ended)
		_ = c.server.Wait()
	}()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if c.isReady() {
			return nil
		}
		select {
		case <-tick.C:
		case <-c.ended:
			return errors.New("the server ended at its start")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (c *counterfoil) isReady() bool {
	answer, err := http.Get(c.url + "/healthz/ready")
	if err != nil {
		return false
	}
	return answer.Body.Close() == nil && answer.StatusCode == http.StatusOK
}

// stop ends the server and removes its data.
func (c *counterfoil) stop() error {
	if c.server != nil {
		_ = c.server.Process.Signal(syscall.SIGTERM) // it may have ended by the same Ctrl-C
		<-c.ended
	}
	return os.RemoveAll(c.dir)
}

// freeAddress is a loopback address at which nobody listens.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// calls are requests for a shell: a login, an order, a refresh, and the orders with the
// new access token and with the old one. Each can be pasted as it stands.
func (c *counterfoil) calls(api string) string {
	take := func(name, from string) string {
		return fmt.Sprintf(`%s=$(printf '%%s' "$ANSWER" | sed -n 's/.*"%s":"\([^"]*\)".*/\1/p')`, name, from)
	}
	post := fmt.Sprintf(`ANSWER=$(curl -s -w '\n' %s/oauth2/token -d client_id=%s -d client_secret=%s`, c.url, shop, c.shopSecret)
	return strings.Join([]string{
		post + fmt.Sprintf(` -d grant_type=password -d username=%s -d password=%s -d resource=%s -d 'scope=orders:read orders:write' | tee -a /dev/stderr)`, alice, c.password, c.id),
		take("OLD", "access_token"),
		take("REFRESH_TOKEN", "refresh_token"),
		`curl -s ` + api + `/orders -H "Authorization: Bearer $OLD" -H 'Content-Type: application/json' -d '{"item":"bolt"}'`,
		post + ` -d grant_type=refresh_token -d "refresh_token=$REFRESH_TOKEN" | tee -a /dev/stderr)`,
		take("NEW", "access_token"),
		`curl -s ` + api + `/orders -H "Authorization: Bearer $NEW" --next -s -i ` + api + `/orders -H "Authorization: Bearer $OLD"`,
	}, "\n") + "\n"
}
