package main

import (
	"encoding/csv"
	"errors"
	"io"
	"strings"
	"testing"
	"unicode/utf8"
)

// importedLines reads a file to its end, and checks what holds for any file.
func importedLines(t *testing.T, text, format string) (lines []importLine, refused int) {
	t.Helper()
	source, err := newImportSource(strings.NewReader(text), format)
	if err != nil {
		return nil, 1
	}
	for {
		l, err := source.next()
		if errors.Is(err, io.EOF) {
			return lines, refused
		}
		if err != nil {
			t.Fatal(err)
		}
		if n := len(lines); l.number < 1 || l.number > 1+strings.Count(text, "\n") || n > 0 && lines[n-1].number > l.number {
			t.Fatalf("line %d after %v", l.number, lines)
		}
		if l.refusal != nil {
			refused++
		}
		for _, m := range l.members {
			if cell, ok := m.value.(csvCell); l.refusal != nil || ok && !utf8.ValidString(string(cell)) {
				t.Errorf("line %d says %q, %v", l.number, m, l.refusal)
			}
		}
		lines = append(lines, l)
	}
}

// FuzzImportCSV: a file that is well-formed is read as it is written; any other to its end.
func FuzzImportCSV(f *testing.F) {
	for _, seed := range []string{"", "a,b\n1,2\n", "\ufeffa\r\n1\r\n", "a,b\n\"1\n2,3\n4\",5\n", "a\n\"\n1\n", "a\n1\"\n\"2\"\n", "a,b\n\"1\"\"\n\"\",2\n", "a\n\"1\"2\n\"3\"", "a\n\n\"\"\n\r\n\r1", "a\n\"\xff\n\""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		lines, refused := importedLines(t, text, "csv")
		want, err := csv.NewReader(strings.NewReader(strings.TrimPrefix(text, "\ufeff"))).ReadAll()
		if err != nil || len(want) == 0 || !utf8.ValidString(text) || strings.Contains(text, "\r") {
			return // not well-formed, or with ends of lines that mean themselves
		}
		if refused > 0 || len(lines) != len(want)-1 {
			t.Fatalf("%q: got %v, want %q", text, lines, want)
		}
		for i, l := range lines {
			for _, m := range l.members {
				cells := map[csvCell]bool{}
				for _, cell := range want[i+1] {
					cells[csvCell(cell)] = true
				}
				if cell, ok := m.value.(csvCell); !ok || !cells[cell] {
					t.Errorf("%q: record %d says %q, want one of %q", text, i, m, want[i+1])
				}
			}
		}
	})
}

// FuzzImportJSON: each line counts once, and what a line says can be read or is refused,
// without repeating what may be a secret.
func FuzzImportJSON(f *testing.F) {
	for _, seed := range []string{
		"", "{}", `{"client_id":"c","client_name":"n","secret":"hidden"}` + "\n\n{", `[{"username":"u"},{}`, "[]]", `{"a":{"b":[null,1e999]}}`, "\ufeff{}\r\n[", `{"client_id":1,"public":"t","confidential":0}`,
		`{"username":"u","password":"hiddenhidden","state":"auth_status.reset","enabled":"F"}`, `{"client_id":"c","all_apis":false,"scope":"a b","grants":"x,y","retry_window":"1h"}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		lines, _ := importedLines(t, text, "json")
		start := strings.TrimLeft(strings.TrimPrefix(text, "\ufeff"), " \t\r\n")
		if !strings.HasPrefix(start, "[") && len(text) < maxImportLine {
			count := 0
			for line := range strings.Lines(strings.TrimPrefix(text, "\ufeff")) {
				if strings.TrimSpace(line) != "" {
					count++
				}
			}
			if count < len(lines) {
				t.Errorf("%q: %d lines became %d", text, count, len(lines))
			}
		}
		for _, l := range lines {
			c, clientErr := parseClient(l.members, true)
			u, userErr := parseUser(l.members, true)
			if clientErr == nil && c.ID == "" || userErr == nil && u.Username == "" {
				t.Errorf("%q has no name, and is taken", l.members)
			}
			if hash := c.hash; clientErr != nil && len(hash) > 20 && strings.Contains(clientErr.Error(), hash) {
				t.Errorf("%q is in %v", hash, clientErr)
			}
		}
	})
}
