package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

// readAllLines reads what is imported to its end, as texts: the number of the line, then
// what it says or why it is refused.
func readAllLines(t *testing.T, text, format string) []string {
	t.Helper()
	source, err := newImportSource(strings.NewReader(text), format)
	if err != nil {
		return []string{err.Error()}
	}
	var lines []string
	for {
		l, err := source.next()
		switch {
		case errors.Is(err, io.EOF):
			return lines
		case err != nil:
			t.Fatal(err)
		case l.refusal != nil:
			lines = append(lines, fmt.Sprintf("%d refused: %v", l.number, l.refusal))
			continue
		}
		shown := fmt.Sprint(l.number)
		for _, m := range l.members {
			shown += fmt.Sprintf(" %s=%.20v", m.name, m.value)
		}
		lines = append(lines, shown)
	}
}

func TestImportReadsLines(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", maxImportLine)
	fits := `{"a":"` + long[:maxImportLine-8] + `"}`
	const (
		noObject = " refused: it is not a JSON object"
		noUTF8   = " refused: it is not UTF-8"
		noCSV    = " refused: it is not well-formed CSV: a quote is missing, or in the wrong place"
		tooLong  = " refused: it is longer than 1048576 bytes"
		broken   = " refused: the array is broken here, and nothing after it was read"
	)
	for _, test := range []struct {
		name, format, text string
		want               []string
	}{
		{"objects", "json", "{\"a\":1,\"b\":\"ü\"}\n{\"a\":[1,true],\"c\":null}\n", []string{"1 a=1 b=ü", "2 a=[1 true]"}},
		{"no end of the last line", "json", `{"a":true}`, []string{"1 a=true"}},
		{"byte order mark, CR LF, empty lines", "json", "\ufeff{\"a\":1}\r\n\r\n  \n{\"a\":2}\r\n", []string{"1 a=1", "4 a=2"}},
		{"no objects", "json", "{}\n17\nnull\n\"x\"\n{\"a\":1}{\n{\"a\":\n{\"a\" 1}\n{\"a\":2}", []string{"1", "2" + noObject, "3" + noObject, "4" + noObject, "5" + noObject, "6" + noObject, "7" + noObject, "8 a=2"}},
		{"a list in the second line", "json", "{\"a\":1}\n[1]\n", []string{"1 a=1", "2" + noObject}},
		{"not UTF-8", "json", "{\"a\":\"\xff\"}\n{\"a\":2}", []string{"1" + noUTF8, "2 a=2"}},
		{"as long as may be", "json", fits + "\r\n{\"a\":2}\n", []string{"1 a=xxxxxxxxxxxxxxxxxxxx", "2 a=2"}},
		{"longer", "json", fits + " \n{\"a\":2}\n" + long + long + long, []string{"1" + tooLong, "2 a=2", "3" + tooLong}},
		{"nothing", "json", "", nil},
		{"an array", "json", "\ufeff\n[\n{\"a\":1},\n\n {\"a\":\n2}, 3, {\"a\":4}\n]\n", []string{"3 a=1", "5 a=2", "6" + noObject, "6 a=4"}},
		{"an empty array", "json", "[ ]", nil},
		{"an array that ends too early", "json", "[{\"a\":1},\n{\"a\":2}", []string{"1 a=1", "2 a=2", "2" + broken}},
		{"an array with a mistake", "json", "[{\"a\":1},\n{a:2},\n{\"a\":3}]", []string{"1 a=1", "1" + broken}},
		{"two arrays", "json", "[{\"a\":1}]\n[{\"a\":2}]", []string{"1 a=1", "1" + broken}},
		{"records", "csv", "a,b\n1,ü\n,2\n", []string{"2 a=1 b=ü", "3 b=2"}},
		{"byte order mark, CR LF, empty lines in CSV", "csv", "\ufeffa,b\r\n\r\n1,2\r\n", []string{"3 a=1 b=2"}},
		{"quotes", "csv", "\"a\",b\n\"1,\"\"2\"\"\",\"\"\n", []string{`2 a=1,"2"`}},
		{"cells", "csv", "a,b\n1\n1,2,3\n1,2", []string{"2 refused: it has 1 cells for 2 columns", "3 refused: it has 3 cells for 2 columns", "4 a=1 b=2"}},
		{"what is in a cell is no record", "csv", "a,b\n\"1\n2,evil\n3\",4\n5,6\n", []string{"2 a=1\n2,evil\n3 b=4", "5 a=5 b=6"}},
		{"a quote in the wrong place", "csv", "a,b\n1,2\"\n1\"2,3\n\"1\"2,3\n5,6\n", []string{"2" + noCSV, "3" + noCSV, "4" + noCSV, "5 a=5 b=6"}},
		{"a quote that is never closed", "csv", "a,b\n1,\"2\n3,4\n5,6", []string{"2" + noCSV, "3 a=3 b=4", "4 a=5 b=6"}},
		{"a quote that another one closes", "csv", "a,b\n1,\"2\n3,\"4\"\n5,6", []string{"2" + noCSV, "3 a=3 b=4", "4 a=5 b=6"}},
		{"a quote that is closed too late", "csv", "a,b\n1,\"2\n" + strings.Repeat(long[:1<<10]+",x\n", 1<<10) + "\",\n", append([]string{"2" + noCSV}, numbered("%d a=xxxxxxxxxxxxxxxxxxxx b=x", 3, 1<<10, "1027"+noCSV)...)},
		{"not UTF-8 in CSV", "csv", "a,b\n\xff,2\n3,4", []string{"2" + noUTF8, "3 a=3 b=4"}},
		{"longer lines in CSV", "csv", "a,b\n" + long + ",\n3,4\n", []string{"2" + tooLong, "3 a=3 b=4"}},
		{"no columns", "csv", "\n\n", []string{"there is no line with the names of the columns"}},
		{"columns that nobody can read", "csv", "a,\"b\n1,2\n", []string{"line 1, with the names of the columns: it is not well-formed CSV: a quote is missing, or in the wrong place"}},
	} {
		if got := readAllLines(t, test.text, test.format); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: got\n%.1000q, want\n%.1000q", test.name, got, test.want)
		}
	}
}

// numbered is a text for each of so many lines from the first on, and one at the end.
func numbered(format string, first, count int, end string) []string {
	var list []string
	for n := range count {
		list = append(list, fmt.Sprintf(format, first+n))
	}
	return append(list, end)
}

func TestImportValues(t *testing.T) {
	t.Parallel()
	const prefix = `{"client_id":"c",`
	for _, test := range []struct {
		text string // after the client_id
		want string // in the client, or in the refusal
	}{
		{`"grants":"password,client_credentials"}`, "[password client_credentials]"},
		{`"grant_types":"password client_credentials"}`, "[password client_credentials]"},
		{`"grant_types":["password"]}`, "[password]"},
		{`"redirect_uris":["https://x/a,b"]}`, "[https://x/a,b]"},
		{`"redirect_uris":"https://x/a,https://x/b"}`, "[https://x/a https://x/b]"},
		{`"scope":"a,b c"}`, `["a,b" "c"]`},
		{`"scopes":"a,b"}`, `["a" "b"]`},
		{`"scope":""}`, "[] no list: false"},
		{`"scope":null}`, "[] no list: true"},
		{`"public":true}`, "Public:true"},
		{`"confidential":"f"}`, "Public:true"},
		{`"confidential":1}`, "Public:false"},
		{`"active":"F"}`, "Active:false"},
		{`"active":null}`, "Active:true"},
		{`"access_token_lifetime":90}`, "AccessTokenLifetime:1m30s"},
		{`"access_token_lifetime":"1h"}`, "AccessTokenLifetime:1h"},
		{`"refresh_token_lifetime":1.5}`, "RefreshTokenLifetime:1.5s"},
		{`"organization":17}`, "Organization:17"},
		{`"all_apis":true,"apis":["x"]}`, "APIs:[]"},
		{`"all_apis":false,"apis":"x"}`, "APIs:[x]"},
		{`"all_apis":false}`, "! all_apis is false and apis is empty"},
		{`"public":"yes"}`, "! public is not a truth value"},
		{`"name":["x"]}`, "! name is not a text"},
		{`"grants":{}}`, "! grants is not a list"},
		{`"apis":[1]}`, "! apis is not a list of texts"},
		{`"access_token_lifetime":"soon"}`, "! access_token_lifetime is not a duration"},
		{`"access_token_lifetime":-1}`, "! access_token_lifetime is not a duration"},
		{`"retry_window":true}`, "! retry_window is not a duration"},
		{`"identifier":"d"}`, "! it says client_id twice"},
		{`"public":true,"confidential":true}`, "! it says public twice"},
		{`"name":"x","name":"y"}`, "! it says client_name twice"},
		{`"secret":"s3cret"}`, "! its secret cannot be taken over"},
		{`"secret":"s3cret","public":true}`, "Secrets:[]"},
		{`"secret":"s3cret","client_secret":"s3cret"}`, "! give one of them"},
		{`"frontent":true}`, `! there is no member "frontent"; did you mean frontend?`},
		{`"owner_entity_class":"x"}`, `! there is no member "owner_entity_class"`},
	} {
		members, err := parseObject([]byte(prefix + test.text))
		if err != nil {
			t.Fatalf("%s: %v", test.text, err)
		}
		c, err := parseClient(members, false)
		want, refused := strings.CutPrefix(test.want, "! ")
		got := fmt.Sprintf("%+v %q no list: %t", c.Client, []string(c.Scope), c.Scope == nil)
		if err != nil {
			got = err.Error()
		}
		if refused != (err != nil) || !strings.Contains(got, want) || strings.Contains(got, "s3cret") {
			t.Errorf("%s: got %s, want %s", test.text, got, test.want)
		}
	}
}

// TestExportsCanBeImported: everything that is printed of a client or a user is known to
// the import, and what can be taken over is.
func TestExportsCanBeImported(t *testing.T) {
	t.Parallel()
	for _, name := range jsonNames(clientRecord{}) {
		if kind, _ := clientMembers.find(name); kind == nil {
			t.Errorf("client list prints %s, which the import does not know", name)
		}
	}
	for _, name := range jsonNames(userRecord{}) {
		if kind, _ := userMembers.find(name); kind == nil {
			t.Errorf("user list prints %s, which the import does not know", name)
		}
	}
	from, to := desk{filepath.Join(t.TempDir(), "from")}, desk{filepath.Join(t.TempDir(), "to")}
	from.done(t, "a long password\n", "user", "create", "alice", "--email", "alice@example.com", "--password-file", "-")
	from.done(t, "", "user", "set-state", "alice", "reset")
	from.done(t, "", "client", "create", "--id", "full", "--name", "Läden", "--grant-type", "authorization_code", "--redirect-uri", "https://x/a,b",
		"--scope", "a,b c", "--owner", "alice", "--storefront", "--organization", "Öro", "--api", "orders", "--plain-pkce", "--skip-consent",
		"--access-token-lifetime", "90", "--refresh-token-lifetime", "2h", "--retry-window", "1500ms", "--signing-alg", "ES256", "--reusable-refresh-tokens")
	from.done(t, "", "client", "create", "--id", "bare", "--name", "Bare", "--public", "--scope", "", "--retry-window", "0")
	from.done(t, "", "client", "deactivate", "bare")
	to.done(t, from.done(t, "", "user", "list", "-o", "json"), "user", "import", "-", "--format", "json")
	to.done(t, from.done(t, "", "client", "list", "-o", "json"), "client", "import", "-", "--format", "json")
	for _, what := range []string{"user", "client"} {
		want, got := from.records(t, what, "list"), to.records(t, what, "list")
		for i := range want {
			for _, own := range []string{"created_at", "updated_at", "secrets"} {
				delete(want[i], own)
				delete(got[i], own)
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
}

// jsonNames are the names of the members of a record.
func jsonNames(record any) []string {
	var names []string
	for f := range reflect.TypeOf(record).Fields() {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" {
			names = append(names, name)
		}
	}
	return names
}

// TestImportRepeatsNoSecret: wherever a secret or a hash stands, it is not told again.
func TestImportRepeatsNoSecret(t *testing.T) {
	t.Parallel()
	d := desk{filepath.Join(t.TempDir(), "data")}
	report := filepath.Join(t.TempDir(), "refused")
	secrets := []string{
		"$2y$04$546I/G9JemlwqaGOC7z2WOdtQXewJAIzGuev.xJIEuxU8DlQCgiZq", "$argon2id$v=19$m=8192,t=1,p=1$bmEzd3Q5S3JnVkFWWk8yRA$V2t2MhPYQGEVEimJcWb2zYt0FSo0SfsRT39VFUxsxEM",
		"jTUDD3wJAPayMk2hYkOGhTJDG/jhKS/AyKOJvqo7LA901kSw2LVLcykzj3FY6ZTikywAFFLeBJ2pYoBcxNc4WQ==", strings.Repeat("oro_SECRET-0", 8)[:86],
	}
	var lines bytes.Buffer
	for _, secret := range secrets {
		for _, name := range clientMembers.names() {
			if name == "client_secret" || name == "client_secret_hash" || name == "secret" {
				continue
			}
			record := map[string]any{"client_id": "c" + name, "client_name": "C"}
			delete(record, map[string]string{"identifier": "client_id", "name": "client_name"}[name])
			record[name], record["nonsense"] = secret, secret
			if name != "owner_blocked" {
				delete(record, "nonsense")
			}
			text, err := json.Marshal(record)
			if err != nil {
				t.Fatal(err)
			}
			lines.Write(append(text, '\n'))
		}
	}
	stdout, stderr, code := d.run(t, lines.String(), "client", "import", "-", "--format", "json", "--report", report)
	written, err := os.ReadFile(report)
	if err != nil || code != 1 || !strings.Contains(stderr, "[redacted]") {
		t.Fatalf("exit code %d, %v, %s", code, err, stderr)
	}
	for _, secret := range secrets {
		for _, text := range []string{stdout, stderr, string(written)} {
			if strings.Contains(text, secret[:40]) {
				t.Errorf("%s is in\n%s", secret, text)
			}
		}
	}
}

// TestImportHashesPasswords: however many passwords wait for their turn, none is refused.
func TestImportHashesPasswords(t *testing.T) {
	t.Parallel()
	d := desk{filepath.Join(t.TempDir(), "data")}
	var lines strings.Builder
	for n := range 40 {
		_, _ = fmt.Fprintf(&lines, "user%d,a long password\n", n)
	}
	d.done(t, "username,plain_password\n"+lines.String(), "user", "import", "-", "--format", "csv",
		"--password-concurrency", "1", "--password-queue", "1", "--password-hash", "argon2id,m=7168,t=1,p=1")
	if users := d.records(t, "user", "list"); len(users) != 40 {
		t.Errorf("got %d users, want 40", len(users))
	}
}

// newTestImporter imports records that each run.
func newTestImporter(run func(ctx context.Context, number int) error) (*importer, *bytes.Buffer) {
	var told bytes.Buffer
	im := &importer{printer: &printer{out: &told, remarks: &told}, progress: newImportProgress(&told, 0), seen: map[string]int{}}
	im.item = func(l importLine) importItem {
		return importItem{number: l.number, id: fmt.Sprint("id", l.number), run: func(ctx context.Context) (importOutcome, error) {
			return wasImported, run(ctx, l.number)
		}}
	}
	return im, &told
}

// TestImportStopsAtAFault: a full disk is no fault of a record, and of none after it.
func TestImportStopsAtAFault(t *testing.T) {
	t.Parallel()
	im, told := newTestImporter(func(_ context.Context, number int) error {
		if number == 3 {
			return errors.New("the disk is full")
		}
		return map[int]error{5: oauth.ErrExists, 7: oauth.ErrNotFound, 9: oauth.ErrConflict}[number]
	})
	err := im.importAll(t.Context(), strings.NewReader(strings.Repeat("{}\n", 3*importBatch)), "json")
	if err == nil || !strings.Contains(err.Error(), "line 3: id3: the disk is full") || !errors.Is(err, errImportStopped) {
		t.Errorf("got error %v, want the fault of line 3, and that it was stopped", err)
	}
	if want := (importRecord{Imported: importBatch - 4, Refused: 3}); im.counts != want {
		t.Errorf("got %+v, want %+v: the first batch", im.counts, want)
	}
	if !strings.Contains(told.String(), "line 5: id5: ") || strings.Contains(told.String(), "line 3") {
		t.Errorf("told %s", told.String())
	}
}

// TestImportIsInterrupted between two batches, never within one.
func TestImportIsInterrupted(t *testing.T) {
	t.Parallel()
	ctx, interrupt := context.WithCancel(t.Context())
	im, _ := newTestImporter(func(ctx context.Context, number int) error {
		if number == 2 {
			interrupt()
		}
		return ctx.Err()
	})
	err := im.importAll(ctx, strings.NewReader(strings.Repeat("{}\n", 3*importBatch)), "json")
	if want := (importRecord{Imported: importBatch}); !errors.Is(err, errImportStopped) || im.counts != want {
		t.Errorf("got error %v and %+v, want %+v", err, im.counts, want)
	}
}
