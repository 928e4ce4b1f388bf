package resource_test

import (
	"flag"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/accesstoken"
)

var repetitions = flag.Int("measure", 0, "how often each death is measured; 0: not at all")

// column is a column of the table: a way, asked at the node where things happen or at
// another one.
type column struct {
	title string
	at    string
	by    way
}

var columns = []column{
	{"forward-auth", "one_node", exact},
	{"introspection", "one_node", introspection},
	{"feed", "one_node", feed},
	{"feed, another node", "another_node", feed},
}

// TestMeasure prints how long after its death a token is accepted. It runs alone.
func TestMeasure(t *testing.T) {
	if *repetitions == 0 {
		t.Skip("-measure says how often")
	}
	var table strings.Builder
	for _, c := range columns {
		fmt.Fprintf(&table, " | %s", c.title)
	}
	fmt.Fprintf(&table, " |\n|---%s|\n", strings.Repeat("|---", len(columns)))
	running := map[string]*site{}
	for name, start := range sites {
		running[name] = start(t)
	}
	for _, e := range events {
		found := map[string]map[way][]time.Duration{}
		for name, s := range running {
			found[name] = measure(t, s, e)
		}
		fmt.Fprintf(&table, "| %s", e.name)
		for _, c := range columns {
			fmt.Fprintf(&table, " | %s", summary(found[c.at][c.by]))
		}
		table.WriteString(" |\n")
	}
	t.Logf("median and maximum of %d:\n\n| %s", *repetitions, &table)
}

// measure repeats a death.
func measure(t *testing.T, s *site, e event) map[way][]time.Duration {
	held := s.newSession(t, accesstoken.Standard)
	a := newAPI(t, s, accesstoken.Standard, s.api)
	found := map[way][]time.Duration{}
	for range *repetitions {
		held.logIn()
		if e.prepare != nil {
			e.prepare(held)
		}
		token := held.held.AccessToken
		a.await("a token that lives", feed, token, http.StatusOK, patience)
		w := a.watch(token, exact, introspection, feed)
		atAnyMoment()
		e.do(held)
		acknowledged := time.Now()
		for by, survived := range w.survival(e.name, acknowledged) {
			found[by] = append(found[by], survived)
		}
		if e.undo != nil {
			e.undo(held)
		}
	}
	return found
}

// summary is the median and the maximum, in milliseconds.
func summary(all []time.Duration) string {
	if len(all) == 0 {
		return "none"
	}
	slices.Sort(all)
	return fmt.Sprintf("%d ms, %d ms", all[len(all)/2].Milliseconds(), all[len(all)-1].Milliseconds())
}
