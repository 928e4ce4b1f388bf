package main

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/counterfoil/counterfoil/internal/bench"
	"github.com/counterfoil/counterfoil/internal/config"
	"github.com/counterfoil/counterfoil/internal/oauth"
)

func newBenchCommand() *cobra.Command {
	var f benchFlags
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Load a token endpoint, and see whether its refresh tokens keep the promise",
		Long: `Load the token endpoint of any authorization server that knows the password grant, and
see whether its refresh tokens keep the promise: no refresh token has two live
successors, and no client is logged out because an answer was lost.

Each of the clients logs in once and then refreshes. With --lose it loses answers, and
sends the same request again; with --race it sends every request several times at
once. The exit code is 1 if a session was forked or lost. Ctrl-C ends the run early.

It needs no data of a server, and what is not a flag may come from the environment:
COUNTERFOIL_BENCH_CLIENT_ID, COUNTERFOIL_BENCH_USERNAME, and the secrets or their files
as COUNTERFOIL_BENCH_CLIENT_SECRET, COUNTERFOIL_BENCH_PASSWORD, each also with _FILE.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := newPrinter(cmd)
			if err != nil {
				return err
			}
			o, err := f.options(cmd)
			if err != nil {
				return err
			}
			return runBench(cmd, p, o)
		},
	}
	f.add(cmd)
	addOutputFlag(cmd)
	return cmd
}

// benchFlags are the flags of bench.
type benchFlags struct {
	url, clientID, username, scope, grant, format string
	clientSecretFile, passwordFile                string
	clients, race                                 int
	duration, timeout, window                     time.Duration
	rate                                          float64
	lose                                          shareFlag
	insecure, notLoopback                         bool
}

func (f *benchFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.url, "url", "http://127.0.0.1:8080/oauth2-token", "the token endpoint")
	flags.StringVar(&f.clientID, "client-id", "", "the client")
	flags.StringVar(&f.clientSecretFile, "client-secret-file", "", "file whose first line is the client's secret, - for standard input; none: a public client")
	flags.StringVar(&f.username, "username", "", "the user, of whom every client has a session of its own")
	flags.StringVar(&f.passwordFile, "password-file", "", "file whose first line is the password, - for standard input")
	flags.StringVar(&f.scope, "scope", "", "the scope to log in with, where a server wants one to give a refresh token")
	flags.StringVar(&f.format, "format", "form", "the requests: form (RFC 6749) or json")
	flags.StringVar(&f.grant, "grant", bench.GrantTypeRefreshToken, "what is repeated: refresh_token or password")
	flags.IntVar(&f.clients, "clients", 64, "clients that work at the same time")
	flags.DurationVar(&f.duration, "duration", 30*time.Second, "how long they do")
	flags.Float64Var(&f.rate, "rate", 0, "requests per second in all, whether or not the server keeps up; 0: each client as fast as it is answered")
	flags.Var(&f.lose, "lose", "share of the answers that the clients lose, such as 5%")
	flags.IntVar(&f.race, "race", 0, "how often each refresh token is used at the same time; 0: once")
	flags.DurationVar(&f.timeout, "timeout", 10*time.Second, "how long a client waits for an answer")
	flags.DurationVar(&f.window, "retry-window", time.Minute, "how long a retry must be honoured: refused later, no session counts as lost")
	flags.BoolVar(&f.insecure, "insecure", false, "accept any TLS certificate")
	flags.BoolVar(&f.notLoopback, "yes-not-loopback", false, "load another host than this one, whose owner agrees")
}

// shareFlag is a share of something, from 0 to below 1.
type shareFlag float64

// String implements pflag.Value.
func (s *shareFlag) String() string { return strconv.FormatFloat(float64(*s)*100, 'g', 6, 64) + "%" }

// Type implements pflag.Value.
func (*shareFlag) Type() string { return "share" }

// Set implements pflag.Value. A share is written as 20% or 0.2.
func (s *shareFlag) Set(text string) error {
	number, percent := strings.CutSuffix(text, "%")
	share, err := strconv.ParseFloat(number, 64)
	if percent {
		share /= 100
	}
	if err != nil || !(share >= 0 && share < 1) {
		return errors.New("want a share from 0% to below 100%, such as 20% or 0.2")
	}
	*s = shareFlag(share)
	return nil
}

// options checks the flags and reads the secrets.
func (f *benchFlags) options(cmd *cobra.Command) (bench.Options, error) {
	f.clientID = cmp.Or(f.clientID, os.Getenv("COUNTERFOIL_BENCH_CLIENT_ID"))
	f.username = cmp.Or(f.username, os.Getenv("COUNTERFOIL_BENCH_USERNAME"))
	if err := f.check(); err != nil {
		return bench.Options{}, usageError{err}
	}
	target, err := f.target()
	if err != nil {
		return bench.Options{}, usageError{err}
	}
	clientSecret, err := f.secret(cmd, "client's secret", "client-secret", f.clientSecretFile, false)
	if err != nil {
		return bench.Options{}, err
	}
	password, err := f.secret(cmd, "password", "password", f.passwordFile, true)
	if err != nil {
		return bench.Options{}, err
	}
	return bench.Options{
		URL: target, TLS: &tls.Config{InsecureSkipVerify: f.insecure, MinVersion: tls.VersionTLS12}, JSON: f.format == "json",
		ClientID: f.clientID, ClientSecret: bench.Secret(clientSecret), Username: f.username, Password: bench.Secret(password), Scope: f.scope,
		GrantType: f.grant, Clients: f.clients, Duration: f.duration, Rate: f.rate, Lose: float64(f.lose), Race: f.race,
		Timeout: f.timeout, Window: f.window, Seed: rand.Uint64(),
	}, nil
}

// check refuses flags that make no sense.
func (f *benchFlags) check() error {
	switch {
	case f.clientID == "":
		return errors.New("there is no client: give --client-id")
	case f.username == "":
		return errors.New("there is no user: give --username")
	case f.clientSecretFile == "-" && f.passwordFile == "-":
		return errors.New("only one secret can come from standard input")
	case f.format != "form" && f.format != "json":
		return fmt.Errorf("--format is form or json, not %q", f.format)
	case f.grant != bench.GrantTypePassword && f.grant != bench.GrantTypeRefreshToken:
		return fmt.Errorf("--grant is refresh_token or password, not %q", f.grant)
	case f.grant == bench.GrantTypePassword && (f.lose > 0 || f.race > 1):
		return errors.New("--lose and --race are about refresh tokens, not --grant password")
	case f.clients < 1 || f.race < 0 || f.duration <= 0 || f.timeout <= 0 || f.window <= 0 || !(f.rate >= 0):
		return errors.New("--clients, --duration, --timeout and --retry-window must be positive, and --race and --rate not negative")
	}
	return nil
}

// target is the token endpoint. Load against a foreign host is an attack, unless its
// owner agrees.
func (f *benchFlags) target() (*url.URL, error) {
	u, err := url.Parse(f.url)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil {
		return nil, errors.New("--url is not the address of a token endpoint, such as http://127.0.0.1:8080/oauth2-token")
	}
	if !config.IsLoopback(u.Hostname()) && !f.notLoopback {
		return nil, fmt.Errorf("%s is another machine, or might be: --yes-not-loopback loads it all the same", u.Hostname())
	}
	return u, nil
}

// secret reads a secret: from the file of the flag, or else from the environment.
func (f *benchFlags) secret(cmd *cobra.Command, what, name, file string, needed bool) (oauth.Secret, error) {
	variable := "COUNTERFOIL_BENCH_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
	if text := os.Getenv(variable); file == "" && text != "" {
		return oauth.Secret(text), nil
	}
	file = cmp.Or(file, os.Getenv(variable+"_FILE"))
	if file == "" && !needed {
		return "", nil
	}
	return readSecret(cmd, what, name+"-file", file)
}

func runBench(cmd *cobra.Command, p *printer, o bench.Options) error {
	terminal := isTerminal(p.remarks)
	o.Every = 10 * time.Second
	if terminal {
		o.Every = time.Second
	}
	o.Watch = func(now bench.Progress) { showProgress(p.remarks, now, terminal) }
	result, err := bench.Run(cmd.Context(), o)
	if terminal {
		_, _ = io.WriteString(p.remarks, "\r\x1b[K") // the line of progress is over
	}
	if err != nil {
		return err
	}
	return errors.Join(p.bench(result), result.Err())
}

// showProgress prints how it goes: on a terminal in one line, again and again.
func showProgress(w io.Writer, now bench.Progress, terminal bool) {
	line := fmt.Sprintf("%s  %.0f requests/s  p99 %s  %d errors", now.Elapsed.Round(time.Second), now.Throughput, latencyText(now.P99), now.Errors)
	if now.Forks > 0 || now.LostSessions > 0 {
		line += fmt.Sprintf("  %d forks  %d lost sessions", now.Forks, now.LostSessions)
	}
	if terminal {
		line = "\r" + line + "\x1b[K"
	} else {
		line += "\n"
	}
	_, _ = io.WriteString(w, line)
}

// bench prints the result of a run: as tables for people, as one object in JSON.
func (p *printer) bench(r *bench.Result) error {
	result := newBenchRecord(r)
	if p.json {
		return p.object(result)
	}
	for _, table := range []struct {
		example record
		rows    []record
	}{
		{latencyRecord{}, recordsOf(result.Latencies)}, {errorRecord{}, recordsOf(result.Errors)}, {violationRecord{}, recordsOf(result.Violations)},
	} {
		if len(table.rows) == 0 {
			continue
		}
		if err := p.list(table.example, table.rows); err != nil {
			return err
		}
		_, _ = fmt.Fprintln(p.out)
	}
	return p.one(result)
}

func recordsOf[R record](rows []R) []record {
	records := make([]record, len(rows))
	for i, row := range rows {
		records[i] = row
	}
	return records
}

// latencyText is a latency as people read it, to three digits or so.
func latencyText(d time.Duration) string {
	switch {
	case d >= 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d >= 10*time.Millisecond:
		return d.Round(100 * time.Microsecond).String()
	}
	return d.Round(10 * time.Microsecond).String()
}
