package main

import (
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// report prints the tables and whatever was found. It reports whether all of the
// plan was run and nothing was found.
func (p *plan) report(w io.Writer) bool {
	building := p.printChecks(w)
	p.printVariants(w)
	sound := p.printProblems(w)
	if len(p.results) < len(p.checks) || len(p.caught) < len(p.variants) {
		_, _ = fmt.Fprintf(w, "\nInterrupted: %d of %d checks and %d of %d broken variants were run.\n",
			min(len(p.results), len(p.checks)), len(p.checks), len(p.caught), len(p.variants))
		sound = false
	}
	_, _ = fmt.Fprintf(w, "\n%s in all, of which building the checks took %s.\n", clock(time.Since(p.began)), clock(building))
	return sound
}

func newTable(headings ...any) table.Writer {
	t := table.NewWriter()
	style := table.StyleLight
	style.Format.Header = text.FormatDefault
	t.SetStyle(style)
	t.AppendHeader(headings)
	return t
}

func (p *plan) printChecks(w io.Writer) (building time.Duration) {
	t := newTable("what", "how many", "time", "found")
	for _, r := range p.results {
		t.AppendRow(table.Row{r.what, strings.Join(r.counts, "\n"), clock(r.took), found(r.problem)})
		building += r.building
	}
	_, _ = fmt.Fprintf(w, "\n%s\n", t.Render())
	return building
}

func (p *plan) printVariants(w io.Writer) {
	if len(p.caught) == 0 {
		return
	}
	t := newTable("broken on purpose", "caught by")
	for _, o := range p.caught {
		t.AppendRow(table.Row{o.what, o.verdict()})
	}
	_, _ = fmt.Fprintf(w, "\n%s\n", t.Render())
}

// found is a problem in a cell.
func found(problem string) string {
	if problem == "" {
		return "nothing"
	}
	return problem
}

// printProblems prints the end of the output of whatever failed, and how to repeat it.
func (p *plan) printProblems(w io.Writer) (none bool) {
	none = true
	for _, r := range p.results {
		if r.problem == "" {
			continue
		}
		none = false
		_, _ = fmt.Fprintf(w, "\n--- %s: %s\n%s\nrepeat it: %s\n", r.what, r.problem, strings.Join(r.output, "\n"), r.repeat())
	}
	for _, o := range p.caught {
		if len(o.by) > 0 && o.problem == nil {
			continue
		}
		none = false
		_, _ = fmt.Fprintf(w, "\n--- broken on purpose, %s: %s\n", o.what, o.verdict())
		if o.problem != nil {
			_, _ = fmt.Fprintln(w, o.problem)
		}
		_, _ = fmt.Fprintf(w, "repeat it: go run ./test/prove -only '%s'\n", "^"+regexp.QuoteMeta(o.what)+"$")
	}
	return none
}
