package main

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

// progress shows which check runs: on a terminal in a line that is written again and
// again, elsewhere in a line for each check that is done.
type progress struct {
	terminal bool
	of       int
	ticker   *time.Ticker
	stop     chan struct{}
	shown    sync.WaitGroup

	mu    sync.Mutex
	n     int
	what  string
	since time.Time
	limit time.Duration
}

func newProgress(of int) *progress {
	p := &progress{terminal: term.IsTerminal(int(os.Stdout.Fd())), of: of, ticker: time.NewTicker(time.Second), stop: make(chan struct{})}
	if p.terminal {
		p.shown.Go(p.tick)
	}
	return p
}

func (p *progress) tick() {
	for {
		select {
		case <-p.ticker.C:
			p.mu.Lock()
			p.write()
			p.mu.Unlock()
		case <-p.stop:
			return
		}
	}
}

// write writes the line of a terminal. p.mu is held.
func (p *progress) write() {
	if p.n > 0 && p.terminal {
		fmt.Printf("\r\x1b[K%3d/%d  %-48s %s of %s", p.n, p.of, p.what, clock(time.Since(p.since)), clock(p.limit))
	}
}

// begin shows that a check begins, and how long it may take.
func (p *progress) begin(what string, limit time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.n, p.what, p.since, p.limit = p.n+1, what, time.Now(), limit
	p.write()
}

// done leaves a line of a check.
func (p *progress) done(r *result) {
	p.line(r.what, found(r.problem), strings.Join(r.counts, ", "))
}

// line leaves a line about what was begun last.
func (p *progress) line(what, found, more string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.terminal {
		fmt.Print("\r\x1b[K")
	}
	fmt.Printf("%3d/%d  %-48s %6s  %s  %s\n", p.n, p.of, what, clock(time.Since(p.since)), found, more)
}

// end ends the showing.
func (p *progress) end() {
	p.ticker.Stop()
	close(p.stop)
	p.shown.Wait()
	if p.terminal {
		fmt.Print("\r\x1b[K")
	}
}

// clock is a time in minutes and seconds.
func clock(d time.Duration) string {
	s := int(d.Round(time.Second).Seconds())
	return fmt.Sprintf("%d:%02d", s/60, s%60)
}
