package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// record is something that a command prints: a JSON object, or lines or a row of a
// table.
type record interface{ fields() []field }

// field is one member of a record as people read it.
type field struct {
	name   string // as in JSON; empty: in lists only
	text   string // empty: none
	column string // its heading in lists; empty: not in lists
}

// printer prints records to standard output, and remarks to standard error.
type printer struct {
	out, remarks io.Writer
	json, colour bool
}

// addOutputFlag gives a command that prints records its flag.
func addOutputFlag(cmd *cobra.Command) {
	cmd.Flags().StringP("output", "o", "table", "how to print: table or json")
}

// newPrinter returns what a command prints with.
func newPrinter(cmd *cobra.Command) (*printer, error) {
	p := &printer{out: cmd.OutOrStdout(), remarks: cmd.ErrOrStderr()}
	format, err := cmd.Flags().GetString("output")
	switch {
	case format == "json":
		p.json = true
	case err == nil && format != "table":
		return nil, usageError{fmt.Errorf("--output is table or json, not %q", format)}
	}
	p.colour = isTerminal(p.out) && os.Getenv("NO_COLOR") == ""
	return p, nil
}

// isTerminal reports whether a reader or writer is a terminal.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// withInstallation is the frame of a command that works on the data and prints records.
func withInstallation(run func(cmd *cobra.Command, args []string, i *installation, p *printer) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		p, err := newPrinter(cmd)
		if err != nil {
			return err
		}
		i, err := openInstallation(cmd)
		if err != nil {
			return err
		}
		return errors.Join(run(cmd, args, i, p), i.Close())
	}
}

// one prints a single record.
func (p *printer) one(r record) error {
	if p.json {
		return p.object(r)
	}
	t := p.table()
	for _, f := range r.fields() {
		if f.name != "" {
			t.AppendRow(table.Row{f.name, p.cell(f.text)})
		}
	}
	return p.print(t)
}

// list prints records of the kind of the example.
func (p *printer) list(example record, records []record) error {
	if p.json {
		return p.object(append([]record{}, records...)) // no records are [], not null
	}
	t := p.table()
	header := table.Row{}
	for _, f := range example.fields() {
		if f.column != "" {
			header = append(header, f.column)
		}
	}
	t.AppendHeader(header)
	for _, r := range records {
		row := table.Row{}
		for _, f := range r.fields() {
			if f.column != "" {
				row = append(row, p.cell(f.text))
			}
		}
		t.AppendRow(row)
	}
	return p.print(t)
}

func (p *printer) object(v any) error {
	e := json.NewEncoder(p.out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// table is a plain table: columns and no lines, so that it can be cut and searched.
func (p *printer) table() table.Writer {
	t := table.NewWriter()
	style := table.StyleDefault
	style.Options = table.OptionsNoBordersAndSeparators
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "  "
	if p.colour {
		style.Color.Header = text.Colors{text.Bold}
	}
	t.SetStyle(style)
	t.SuppressTrailingSpaces()
	return t
}

func (p *printer) print(t table.Writer) error {
	_, err := fmt.Fprintln(p.out, t.Render())
	return err
}

// hues are the colours of words about states.
var hues = map[string]text.Color{
	"active": text.FgGreen, "expired": text.FgYellow, "reset": text.FgYellow,
	"revoked": text.FgRed, "locked": text.FgRed,
}

// cell is a text in a table. What could command a terminal is shown as such.
func (p *printer) cell(s string) string {
	if s == "" {
		return "-"
	}
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
	if hue, known := hues[s]; known && p.colour {
		return text.Colors{hue}.Sprint(s)
	}
	return s
}

// remark tells a person something that is not the command's output.
func (p *printer) remark(format string, args ...any) {
	_, _ = fmt.Fprintf(p.remarks, format+"\n", args...)
}

// warning tells a person what to think about again.
func (p *printer) warning(format string, args ...any) { p.remark("warning: "+format, args...) }

// optional is a value in JSON, or null where it is the zero value.
func optional[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

// timestamp is a time in JSON: RFC 3339 in UTC, or null where it is zero.
type timestamp time.Time

// MarshalJSON implements json.Marshaler.
func (t timestamp) MarshalJSON() ([]byte, error) {
	if time.Time(t).IsZero() {
		return []byte("null"), nil
	}
	return json.Marshal(time.Time(t).UTC())
}

// String is the time as people read it, to the second.
func (t timestamp) String() string {
	if time.Time(t).IsZero() {
		return ""
	}
	return time.Time(t).UTC().Format(time.RFC3339)
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
