package clients_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/oauth2"

	"github.com/counterfoil/counterfoil/test/program"
)

const (
	sessions  = 6  // that each client has at once, every other one by a proxy
	refreshes = 10 // of each session
	careless  = 60 // refreshes that a client without retries does not survive: one of 10^9 would
)

// demo is a running `counterfoil demo --contrary 30%`: it commits what it grants, and
// loses three answers of ten.
type demo struct {
	*program.Program
	told settings
	said bytes.Buffer // on standard error; read when it has ended
}

func newDemo(t *testing.T) *demo {
	t.Helper()
	d := &demo{Program: program.New(t)}
	cmd := exec.Command(program.Build(t), "demo", "--contrary", "30%")
	cmd.Env, cmd.Stderr = append(d.Env, "TMPDIR="+d.Dir), &d.said
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("the demo ended with %v\n%s", err, &d.said)
		}
		d.checkSaid(t)
	})
	login, err := bufio.NewReader(stdout).ReadString('\n') // comes when the demo answers
	if err != nil {
		t.Fatalf("the demo printed no calls: %v", err)
	}
	d.told = newSettings(d.Program, program.Client{}, "", "/oauth2-token")
	if err := json.Unmarshal([]byte(regexp.MustCompile(`\{.*\}`).FindString(login)), &d.told); err != nil {
		t.Fatal(err)
	}
	return d
}

// checkSaid checks that the demo lost answers in both ways and told so, and no secret.
func (d *demo) checkSaid(t *testing.T) {
	for _, how := range []string{"nothing", "half"} {
		told := regexp.MustCompile(`a refresh_token request at /oauth2-token, X-Request-Id [0-9a-f]{32}; ` + how + ` of it was sent`)
		if !told.Match(d.said.Bytes()) {
			t.Errorf("the demo never told that it lost an answer of which %s was sent", how)
		}
	}
	for _, secret := range []string{"cfr_", d.told.ClientSecret, d.told.Password} {
		if strings.Contains(d.said.String(), secret) {
			t.Errorf("the demo told a secret:\n%s", &d.said)
		}
	}
}

// behindProxy returns the settings of a client that reaches the demo by a proxy, which
// answers 502 where the demo did not, and 429 to every tenth request.
func (d *demo) behindProxy(t *testing.T) settings {
	t.Helper()
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: d.Address})
	proxy.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	var requests atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1)%10 != 0 {
			proxy.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusTooManyRequests)
	}))
	t.Cleanup(s.Close)
	told := d.told
	told.Issuer = s.URL
	return told
}

// TestContrary: clients that send the same request again when an answer is lost keep
// every session, with the code that README.md prints; clients that do not lose theirs.
func TestContrary(t *testing.T) {
	t.Parallel()
	d := newDemo(t)
	routes := []settings{d.told, d.behindProxy(t)}
	t.Run("clients", func(t *testing.T) { // the demo ends after all of them
		for name, test := range map[string]func(*testing.T, *demo, []settings){
			"golang": testContraryGolang, "simple-oauth2": testContraryNPM, "curl": testContraryCurl,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				test(t, d, routes)
			})
		}
	})
}

// checkSessions lets sessions live at the same time and checks that none was lost.
func checkSessions(t *testing.T, d *demo, routes []settings, live func(settings) ([]tokens, error)) {
	t.Helper()
	var lived [sessions][]tokens
	var failed [sessions]error
	var living sync.WaitGroup
	for n := range sessions {
		living.Go(func() { lived[n], failed[n] = live(routes[n%len(routes)]) })
	}
	living.Wait()
	for n := range sessions {
		if failed[n] != nil {
			t.Errorf("session %d after %d answers: %v", n, len(lived[n]), failed[n])
			continue
		}
		checkSession(t, d.Program, refreshes, lived[n])
	}
}

func testContraryGolang(t *testing.T, d *demo, routes []settings) {
	checkSessions(t, d, routes, func(told settings) ([]tokens, error) {
		c := &golangClient{settings: told}
		err := c.live(t.Context())
		return c.saved, err
	})
	told := d.told
	config := oauth2.Config{
		ClientID: told.ClientID, ClientSecret: told.ClientSecret,
		Endpoint: oauth2.Endpoint{TokenURL: told.TokenEndpoint, AuthStyle: oauth2.AuthStyleInParams},
	}
	token, err := again(func() (*oauth2.Token, error) {
		return config.PasswordCredentialsToken(t.Context(), told.Username, told.Password)
	})
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; err == nil && n < careless; n++ {
		token, err = config.TokenSource(t.Context(), &oauth2.Token{RefreshToken: token.RefreshToken}).Token()
	}
	var refused *oauth2.RetrieveError
	if err == nil || errors.As(err, &refused) {
		t.Errorf("%d refreshes, none of them sent twice, end with %v; want a lost answer", careless, err)
	}
}

func testContraryNPM(t *testing.T, d *demo, routes []settings) {
	dir := npm(t)
	for _, told := range routes {
		var got struct {
			Sessions [][]tokens
			Careless string
			Refused  int
		}
		run(t, []string{"node", "contrary.mjs"}, dir, told, &got)
		if len(got.Sessions) != sessions/len(routes) {
			t.Errorf("there are %d sessions, want %d", len(got.Sessions), sessions/len(routes))
		}
		for _, session := range got.Sessions {
			checkSession(t, d.Program, refreshes, session)
		}
		if got.Refused != 1 && told == d.told { // the proxy may have said 429 first
			t.Errorf("a refused request was sent %d times, want once", got.Refused)
		}
		if got.Careless == "" {
			t.Errorf("%d refreshes, none of them sent twice, lose no answer", careless)
		}
	}
}

func testContraryCurl(t *testing.T, d *demo, routes []settings) {
	command := readme(t, "sh")[0]
	checkSessions(t, d, routes, func(told settings) (session []tokens, err error) {
		c := newCurl(t, command, told)
		answer, err := c.login()
		for err == nil && len(session) < refreshes {
			session = append(session, answer)
			answer, err = c.refresh(answer.RefreshToken)
		}
		return append(session, answer), err
	})
	if _, err := newCurl(t, command, d.told).refresh("cfr_"); err == nil || err.Error() != "401" {
		t.Errorf("a refresh token that is none gets %v, want 401", err)
	}
	answer, err := newCurl(t, command, d.told).login()
	if err != nil {
		t.Fatal(err)
	}
	c := newCurl(t, strings.ReplaceAll(command, "--retry 20", "--retry 0"), d.told)
	for n := 0; err == nil && n < careless; n++ {
		answer, err = c.refresh(answer.RefreshToken)
	}
	if err == nil {
		t.Errorf("%d refreshes, none of them sent twice, lose no answer", careless)
	}
}

// curl sends requests with a command, in a directory of its own.
type curl struct {
	dir, command string
	settings
}

// newCurl takes a command as README.md prints it.
func newCurl(t *testing.T, command string, told settings) *curl {
	return &curl{t.TempDir(), strings.ReplaceAll(command, "http://127.0.0.1:8080", told.Issuer), told}
}

func (c *curl) login() (tokens, error) {
	return c.ask(map[string]string{"grant_type": "password", "username": c.Username, "password": c.Password})
}

func (c *curl) refresh(token string) (tokens, error) {
	return c.ask(map[string]string{"grant_type": "refresh_token", "refresh_token": token})
}

// ask returns the answer to a request; another status than 200 is an error that says it.
func (c *curl) ask(request map[string]string) (answer tokens, err error) {
	request["client_id"], request["client_secret"] = c.ClientID, c.ClientSecret
	body, err := json.Marshal(request)
	if err != nil {
		return answer, err
	}
	if err := os.WriteFile(filepath.Join(c.dir, "request.json"), body, 0o600); err != nil {
		return answer, err
	}
	var complaints bytes.Buffer
	cmd := exec.Command("sh", "-c", c.command)
	cmd.Dir, cmd.Stderr = c.dir, &complaints
	status, err := cmd.Output()
	if err != nil {
		return answer, fmt.Errorf("%w: %s", err, &complaints)
	}
	if code := strings.TrimSpace(string(status)); code != "200" {
		return answer, errors.New(code)
	}
	got, err := os.ReadFile(filepath.Join(c.dir, "answer.json"))
	if err != nil {
		return answer, err
	}
	return answer, json.Unmarshal(got, &answer)
}

// readme returns the blocks of code in a language that README.md prints for clients.
func readme(t *testing.T, language string) (blocks []string) {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## From a client\n")
	section, _, _ = strings.Cut(section, "\n## ")
	for _, m := range regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllStringSubmatch(section, -1) {
		blocks = append(blocks, m[1])
	}
	if len(blocks) == 0 {
		t.Fatalf("README.md prints no %s for clients", language)
	}
	return blocks
}

// TestContraryReadme: what README.md prints is what the tests run, paragraph by
// paragraph.
func TestContraryReadme(t *testing.T) {
	t.Parallel()
	for language, file := range map[string]string{"go": "contrary_session_test.go", "js": "contrary.mjs"} {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range readme(t, language) {
			for paragraph := range strings.SplitSeq(unindented(block), "\n\n") {
				if !strings.Contains(unindented(string(source)), paragraph+"\n") {
					t.Errorf("%s has no\n%s", file, paragraph)
				}
			}
		}
	}
}

// unindented is code without indentation, and without the line end of its last line.
func unindented(code string) string {
	return strings.TrimSuffix(regexp.MustCompile(`(?m)^[ \t]+`).ReplaceAllString(code, ""), "\n")
}

// TestAgain: a refusal is final, a busy server says when to come again, and nobody comes
// after the retry window.
func TestAgain(t *testing.T) {
	t.Parallel()
	refusal := func(status int, retryAfter string) error {
		return &oauth2.RetrieveError{Response: &http.Response{StatusCode: status, Header: http.Header{"Retry-After": {retryAfter}}}}
	}
	lost := errors.New("lost")
	for name, test := range map[string]struct {
		answers []error // the last one to all further requests
		want    error
		sent    int
		least   time.Duration
		most    time.Duration
	}{
		"answered":      {[]error{nil}, nil, 1, 0, 0},
		"lost twice":    {[]error{lost, lost, nil}, nil, 3, 300 * time.Millisecond, 300 * time.Millisecond},
		"bad gateway":   {[]error{refusal(502, ""), nil}, nil, 2, 100 * time.Millisecond, 100 * time.Millisecond},
		"unavailable":   {[]error{refusal(503, "7"), nil}, nil, 2, 7 * time.Second, 7 * time.Second},
		"too many":      {[]error{refusal(429, "3"), nil}, nil, 2, 3 * time.Second, 3 * time.Second},
		"come tomorrow": {[]error{refusal(429, "86400")}, refusal(429, "86400"), 1, 0, 0},
		"refused":       {[]error{lost, refusal(400, "")}, refusal(400, ""), 2, 100 * time.Millisecond, 100 * time.Millisecond},
		"never":         {[]error{lost}, lost, 29, 45 * time.Second, 50 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				sent, began := 0, time.Now()
				_, err := again(func() (*oauth2.Token, error) {
					sent++
					return nil, test.answers[min(sent, len(test.answers))-1]
				})
				if fmt.Sprint(err) != fmt.Sprint(test.want) || sent != test.sent {
					t.Errorf("%d requests end with %v, want %d and %v", sent, err, test.sent, test.want)
				}
				if took := time.Since(began); took < test.least || took > test.most {
					t.Errorf("it took %s, want %s to %s", took, test.least, test.most)
				}
			})
		})
	}
}
