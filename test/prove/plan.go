package main

import (
	"context"
	"regexp"
	"time"
)

// plan runs the checks one after the other within the budget.
type plan struct {
	root     string
	budget   time.Duration
	checks   []check
	variants []variant
	results  []*result
	caught   []*outcome // of the variants
	spent    time.Duration
	began    time.Time
	show     *progress
}

// newPlan plans the checks and the broken variants that the pattern matches.
func newPlan(root string, budget time.Duration, all []check, only *regexp.Regexp) *plan {
	p := &plan{root: root, budget: budget, began: time.Now()}
	for _, c := range all {
		if only.MatchString(c.what) || only.MatchString(c.test) {
			p.checks = append(p.checks, c)
		}
	}
	for _, v := range variants {
		if only.MatchString(v.what) {
			p.variants = append(p.variants, v)
		}
	}
	p.show = newProgress(len(p.checks) + len(p.variants))
	return p
}

// run runs what there is time for. What one check leaves of its time goes to those after it.
func (p *plan) run(ctx context.Context) {
	defer p.show.end()
	shares := 0.0
	if len(p.variants) > 0 {
		shares = variantsShare
	}
	for i := range p.checks {
		shares += p.checks[i].share
	}
	for i := range p.checks {
		c := &p.checks[i]
		mine := max(c.atLeast, time.Second, p.part(c.share/shares))
		shares -= c.share
		p.show.begin(c.what, mine)
		r := c.run(ctx, p.root, mine.Round(100*time.Millisecond))
		if ctx.Err() != nil {
			return
		}
		p.spent += r.took
		p.results = append(p.results, r)
		p.show.done(r)
	}
	if len(p.variants) > 0 {
		p.breakIt(ctx)
	}
}

// part is a part of the time that is left.
func (p *plan) part(part float64) time.Duration {
	return time.Duration(part * float64(max(0, p.budget-p.spent)))
}
