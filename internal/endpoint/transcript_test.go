package endpoint_test

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "write the answers into the transcripts in testdata")

// TestTranscripts sends the requests of testdata/*.txtar and compares whole
// answers, byte for byte but for placeholders. A file is one server from its start.
//
// A request leaves out Host, Content-Length and Connection. {{NAME.refresh}} and
// {{NAME.jwt}} in it are the tokens in the answer to NAME.
func TestTranscripts(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txtar")
	check(t, err)
	if len(files) < 4 {
		t.Fatalf("only %d transcripts", len(files))
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			transcript(t, file)
		})
	}
}

func transcript(t *testing.T, file string) {
	archive, err := txtar.ParseFile(file)
	check(t, err)
	server := httptest.NewServer(newFixture(t, setup{}))
	t.Cleanup(server.Close)
	answers := map[string]string{}
	rewritten := &txtar.Archive{Comment: archive.Comment}
	want := map[string]string{}
	for _, section := range archive.Files {
		want[section.Name] = string(section.Data)
	}
	for _, section := range archive.Files {
		name, isRequest := strings.CutSuffix(section.Name, ".request")
		if !isRequest {
			continue
		}
		got := exchange(t, server.Listener.Addr().String(), fillIn(t, string(section.Data), answers))
		answers[name] = got
		got = generalize(got)
		rewritten.Files = append(rewritten.Files, section, txtar.File{Name: name + ".response", Data: []byte(got)})
		if wanted := want[name+".response"]; got != wanted && !*update {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got, wanted)
		}
	}
	if *update {
		check(t, os.WriteFile(file, txtar.Format(rewritten), 0o644))
	}
}

// exchange sends a request as it stands and reads until the server hangs up.
func exchange(t *testing.T, address, request string) string {
	t.Helper()
	head, body, _ := strings.Cut(request, "\n\n")
	head, body = strings.TrimSuffix(head, "\n"), strings.TrimSuffix(body, "\n")
	if strings.Contains(head, "multipart/") {
		body = strings.ReplaceAll(body, "\n", "\r\n")
	}
	line, fields, _ := strings.Cut(head, "\n")
	raw := line + " HTTP/1.1\r\nHost: " + address + "\r\nConnection: close\r\n"
	if fields != "" {
		raw += strings.ReplaceAll(fields, "\n", "\r\n") + "\r\n"
	}
	if !strings.Contains(head, "Content-Length:") && body != "" {
		raw += fmt.Sprintf("Content-Length: %d\r\n", len(body))
	}
	var d net.Dialer
	connection, err := d.DialContext(t.Context(), "tcp", address)
	check(t, err)
	defer connection.Close()
	_, err = io.WriteString(connection, strings.ReplaceAll(raw, "{{host}}", address)+"\r\n"+body)
	check(t, err)
	answer, err := io.ReadAll(connection)
	check(t, err)
	answer = bytes.ReplaceAll(answer, []byte("\r\n"), []byte("\n"))
	if !bytes.HasSuffix(answer, []byte("\n")) {
		answer = append(answer, '\n')
	}
	return string(answer)
}

var (
	refreshText = regexp.MustCompile(`cfr_[\w-]{102}`)
	jwtText     = regexp.MustCompile(`eyJ[\w-]+\.[\w-]+\.[\w-]+`)
)

// variable is what differs from run to run.
var variable = []struct {
	text *regexp.Regexp
	name string
}{
	{refreshText, "{{refresh}}"},
	{jwtText, "{{jwt}}"},
	{regexp.MustCompile(`(X-Request-Id: )[0-9a-f]{32}`), "${1}{{id}}"},
	{regexp.MustCompile(`(Date: )\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT`), "${1}{{date}}"},
	{regexp.MustCompile(`("grant_id":)"[0-9a-f]{20}"`), `${1}"{{grant_id}}"`},
	{regexp.MustCompile(`(X-Auth-Grant: )[0-9a-f]{20}`), "${1}{{grant_id}}"},
	{regexp.MustCompile(`("jti":)"[0-9a-f]{80}"`), `${1}"{{jti}}"`},
	{regexp.MustCompile(`("(?:iat|nbf|exp)":)\d{10}\b`), "${1}{{time}}"},
	{regexp.MustCompile(`("(?:kid|x|y)":)"[\w-]{43}"`), `${1}"{{base64url}}"`},
}

func generalize(answer string) string {
	for _, v := range variable {
		answer = v.text.ReplaceAllString(answer, v.name)
	}
	return answer
}

var earlier = regexp.MustCompile(`\{\{(\w+)\.(refresh|jwt)\}\}`)

func fillIn(t *testing.T, request string, answers map[string]string) string {
	return earlier.ReplaceAllStringFunc(request, func(found string) string {
		m := earlier.FindStringSubmatch(found)
		text := refreshText
		if m[2] == "jwt" {
			text = jwtText
		}
		value := text.FindString(answers[m[1]])
		if value == "" {
			t.Fatalf("there is no %s in the answer to %s", m[2], m[1])
		}
		return value
	})
}
