package main

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"counterfoil": main})
}

func TestScript(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("COUNTERFOIL_CONFIG", "")
			env.Setenv("COUNTERFOIL_DATA", filepath.Join(env.WorkDir, "data"))
			env.Setenv("COUNTERFOIL_LISTEN", "127.0.0.1:0")
			env.Setenv("COUNTERFOIL_ADMIN_LISTEN", "127.0.0.1:0")
			env.Setenv("COUNTERFOIL_PASSWORD_HASH", "argon2id,m=7168,t=1,p=1") // real hashes, but cheap
			env.Setenv("GORACE", "atexit_sleep_ms=0")                          // the race detector would wait a second at every end
			env.Values["server"] = &scriptServer{}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"start": cmdStart, "terminate": cmdTerminate, "exits": cmdExits, "http": cmdHTTP, "await": cmdAwait, "set": cmdSet,
		},
	})
}

// cmdExits is `exits CODE PROGRAM ARGS...`: it wants the exit code.
func cmdExits(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARGS...")
	}
	got := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if strconv.Itoa(got) != args[0] {
		ts.Fatalf("exit code %d, want %s", got, args[0])
	}
}

// cmdHTTP is `http METHOD URL [FILE [HEADER...]]`: it sends a request, with the file
// as its JSON body, and prints the answer to stdout. `-` is no file.
func cmdHTTP(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: http METHOD URL [FILE [HEADER...]]")
	}
	_, err := io.WriteString(ts.Stdout(), answer(ts, args))
	ts.Check(err)
}

// answer sends a request and returns the whole answer.
func answer(ts *testscript.TestScript, args []string) string {
	var body string
	if len(args) > 2 && args[2] != "-" {
		body = os.Expand(ts.ReadFile(args[2]), ts.Getenv)
	}
	request, err := http.NewRequest(args[0], args[1], strings.NewReader(body))
	ts.Check(err)
	request.Header.Set("Content-Type", "application/json")
	for _, header := range args[min(3, len(args)):] {
		name, value, _ := strings.Cut(header, ": ")
		request.Header.Set(name, value)
		if name == "Host" {
			request.Host = value
		}
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	got, err := client.Do(request)
	ts.Check(err)
	var text bytes.Buffer
	ts.Check(got.Write(&text))
	ts.Check(got.Body.Close())
	return text.String()
}

// cmdAwait is `await URL TEXT`: it asks again until the text is in the answer, which
// it prints. What a command does holds at the server within a second.
func cmdAwait(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: await URL TEXT")
	}
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for end := time.Now().Add(patience); time.Now().Before(end); <-again.C {
		if text := answer(ts, []string{"GET", args[0]}); strings.Contains(text, args[1]) {
			_, err := io.WriteString(ts.Stdout(), text)
			ts.Check(err)
			return
		}
	}
	ts.Fatalf("%s never said %s", args[0], args[1])
}

// cmdSet is `set NAME FILE PATTERN`: the variable becomes what the first group of the
// pattern matches in the file, which may be stdout.
func cmdSet(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: set NAME FILE PATTERN")
	}
	match := regexp.MustCompile(args[2]).FindStringSubmatch(ts.ReadFile(args[1]))
	if len(match) < 2 {
		ts.Fatalf("%s does not match %s", args[1], args[2])
	}
	ts.Setenv(args[0], match[1])
}
