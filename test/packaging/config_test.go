package packaging

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/internal/config"
	"github.com/counterfoil/counterfoil/test/program"
)

const sampleHead = `# Counterfoil's settings. Each is shown with its default, or without a value where there
# is none or where it depends. An environment variable (COUNTERFOIL_LISTEN) and a flag
# (--listen) win over what is set here. A changed file holds at the next start:
#
#   counterfoil config validate
#   systemctl restart counterfoil
#
# Durations are written as 90s or 1h30m, lists as [a, b].
`

// sample is the configuration file of a new installation: every setting, commented out.
func sample() string {
	var b strings.Builder
	b.WriteString(sampleHead)
	for _, s := range config.Settings()[1:] { // the first is `config` itself
		b.WriteString("\n" + comment(s.Help))
		if s.Kind == "file" {
			fmt.Fprintf(&b, "%s# A secret: best in a file of its own, with mode 0600.\n#%s_file:\n", comment("default: "+s.Default), s.Name)
			continue
		}
		b.WriteString(words(s.Default))
		fmt.Fprintf(&b, "#%s\n", strings.TrimSuffix(s.Name+": "+literal(s.Default), " "))
	}
	return b.String()
}

// literal is a default that is a value rather than words; else nothing.
func literal(standard string) string {
	inner := strings.TrimSuffix(strings.TrimPrefix(standard, "`"), "`")
	if strings.ContainsAny(inner, "` ") || inner == standard {
		return ""
	}
	return inner
}

// words is a comment with a default that is words rather than a value; else nothing.
func words(standard string) string {
	if standard == "" || literal(standard) != "" {
		return ""
	}
	return comment("default: " + standard)
}

// comment breaks a text into lines of a comment.
func comment(text string) string {
	const width = 88
	var b strings.Builder
	line := "#"
	for word := range strings.FieldsSeq(strings.ReplaceAll(text, "`", "")) {
		if len(line)+len(word) >= width {
			b.WriteString(line + "\n")
			line = "#"
		}
		line += " " + word
	}
	return b.String() + line + "\n"
}

func TestSampleConfiguration(t *testing.T) {
	t.Parallel()
	path := filepath.Join(source, "counterfoil.yaml")
	if *update {
		if err := os.WriteFile(path, []byte(sample()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if read(t, path) != sample() {
		t.Error("packaging/counterfoil.yaml is not what internal/config has now: go test ./test/packaging -run SampleConfiguration -update")
	}
	for _, s := range config.Settings()[1:] {
		if !regexp.MustCompile(`(?m)^#` + s.Name + `(_file)?:`).MatchString(read(t, path)) {
			t.Errorf("packaging/counterfoil.yaml does not have the setting %s", s.Name)
		}
	}
}

// TestSampleConfigurationIsAccepted: as it is shipped, and with each default written out.
func TestSampleConfigurationIsAccepted(t *testing.T) {
	t.Parallel()
	shipped := read(t, filepath.Join(source, "counterfoil.yaml"))
	given := regexp.MustCompile(`(?m)^#(\w+: \S)`)
	if n := len(given.FindAllString(shipped, -1)); n < 15 {
		t.Fatalf("only %d settings have their default written out", n)
	}
	for name, text := range map[string]string{"shipped": shipped, "written out": given.ReplaceAllString(shipped, "$1")} {
		p := program.New(t)
		p.Env = p.Env[:2] // no setting but those of the file
		path := filepath.Join(p.Dir, "counterfoil.yaml")
		write(t, path, text)
		if out, err := p.Try(context.Background(), "", "config", "validate", "--config", path); err != nil {
			t.Errorf("%s: %v%s", name, err, out)
		}
	}
}
