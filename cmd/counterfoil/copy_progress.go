package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/jedib0t/go-pretty/v6/progress"

	"github.com/counterfoil/counterfoil/internal/sqlstore"
)

// copySteps say what the steps of a copy do.
var copySteps = map[sqlstore.CopyStep]string{
	sqlstore.CopyCompare: "comparing what the target has",
	sqlstore.CopyRows:    "copying",
	sqlstore.CopyVerify:  "reading the target again",
	sqlstore.CopyRecheck: "reading the source again",
}

// copyProgress shows how a copy goes: with a bar for each step on a terminal, else with
// a line now and then.
type copyProgress struct {
	out  io.Writer
	step sqlstore.CopyStep
	last time.Time // of the latest line

	bars     progress.Writer // nil: off a terminal
	bar      *progress.Tracker
	rendered chan struct{} // closed when the bars are drawn for good
}

// lineEvery is the time between two lines of progress off a terminal.
const lineEvery = 10 * time.Second

func newCopyProgress(out io.Writer) *copyProgress {
	c := &copyProgress{out: out}
	if !isTerminal(out) {
		return c
	}
	c.bars, c.rendered = progress.NewWriter(), make(chan struct{})
	c.bars.SetOutputWriter(out)
	c.bars.SetMessageLength(len(copySteps[sqlstore.CopyCompare]))
	c.bars.SetUpdateFrequency(200 * time.Millisecond)
	if os.Getenv("NO_COLOR") == "" {
		c.bars.Style().Colors = progress.StyleColorsExample
	}
	go func() {
		defer close(c.rendered)
		c.bars.Render()
	}()
	return c
}

// update shows how far the copy is.
func (c *copyProgress) update(now sqlstore.CopyProgress) {
	begins := now.Step != c.step
	c.step = now.Step
	switch {
	case c.bars == nil:
		if begins || time.Since(c.last) >= lineEvery || now.Done == now.Total {
			_, _ = fmt.Fprintf(c.out, "%s: %d of %d rows\n", copySteps[now.Step], now.Done, now.Total)
			c.last = time.Now()
		}
		return
	case begins:
		c.finishBar()
		c.bar = &progress.Tracker{Message: copySteps[now.Step], Total: max(now.Total, 1), AutoStopDisabled: true}
		c.bars.AppendTracker(c.bar)
	}
	c.bar.SetValue(now.Done)
}

func (c *copyProgress) finishBar() {
	if c.bar != nil {
		c.bar.MarkAsDone()
	}
}

// end leaves the bars as they are; that of a step that failed shows it.
func (c *copyProgress) end(err error) {
	if c.bars == nil {
		return
	}
	if err != nil && c.bar != nil {
		c.bar.MarkAsErrored()
	}
	c.finishBar()
	stopBars(c.bars, c.rendered)
}

// stopBars ends the rendering of bars.
func stopBars(bars progress.Writer, rendered <-chan struct{}) {
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		bars.Stop() // has no effect before the rendering has begun
		select {
		case <-rendered:
			return
		case <-again.C:
		}
	}
}
