package history

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// searchTime is how long the search for an order of one grant's calls may take. A
// search that does not end proves nothing and is reported.
const searchTime = 10 * time.Second

// Violation is a promise that a history shows to be broken.
type Violation struct {
	Grant   int
	Promise string // an invariant of docs/rotation.md, or "linearizable"
	Text    string
}

// Error implements error.
func (v Violation) Error() string {
	return fmt.Sprintf("grant %d: %s: %s", v.Grant, v.Promise, v.Text)
}

// Check returns what a history breaks; nothing: it is one that docs/rotation.md allows.
func Check(h *History) []Violation {
	var found []Violation
	for _, g := range grantsOf(h) {
		found = append(found, g.promises()...)
		switch result, _ := g.linearizable(searchTime); result {
		case porcupine.Ok:
		case porcupine.Unknown:
			found = append(found, g.violation("linearizable", "no order of the calls was found, or excluded, in %v", searchTime))
		default:
			found = append(found, g.violation("linearizable", "no order of the calls explains the answers"))
		}
	}
	return append(found, namesRepeated(h)...)
}

// Visualize writes porcupine's picture of one grant to an HTML file.
func Visualize(h *History, grant int, path string) error {
	for _, g := range grantsOf(h) {
		if g.number != grant {
			continue
		}
		_, info := g.linearizable(searchTime)
		if err := porcupine.VisualizePath(g.rules.model(), info, path); err != nil {
			return fmt.Errorf("visualize grant: %w", err)
		}
		return nil
	}
	return fmt.Errorf("visualize grant: there is no grant %d", grant)
}

// grantHistory is what concerns one grant.
type grantHistory struct {
	number    int
	rules     rules
	login     *Call
	refreshes []*Call
	ends      []*Call // acts that end it for good
	acts      []*Call // disabling and enabling of its user
	rows      []*Call
	all       []*Call
}

// grantsOf takes a history apart.
func grantsOf(h *History) []*grantHistory {
	grants := map[int]*grantHistory{}
	for i := range h.Calls {
		if c := &h.Calls[i]; c.Operation == Login && c.Grant != 0 {
			grants[c.Grant] = &grantHistory{number: c.Grant, rules: rules{strict: h.Settings.Strict}, login: c}
		}
	}
	ordered := slices.SortedFunc(maps.Values(grants), func(a, b *grantHistory) int { return a.number - b.number })
	for i := range h.Calls {
		c := &h.Calls[i]
		for _, g := range ordered {
			if c.Grant == g.number || c.Grant == 0 && c.Operation != Login && c.User == g.login.User {
				g.add(c)
			}
		}
	}
	return ordered
}

func (g *grantHistory) add(c *Call) {
	g.all = append(g.all, c)
	switch c.Operation {
	case Refresh:
		g.refreshes = append(g.refreshes, c)
	case Revoke:
		g.ends = append(g.ends, c)
	case Password:
		if c.end() > g.login.Begin { // else the grant was made after it
			g.ends = append(g.ends, c)
		}
	case Disable, Enable:
		g.acts = append(g.acts, c)
	case List:
		g.rows = append(g.rows, c)
	}
}

func (g *grantHistory) violation(promise, format string, args ...any) Violation {
	return Violation{Grant: g.number, Promise: promise, Text: fmt.Sprintf(format, args...)}
}
