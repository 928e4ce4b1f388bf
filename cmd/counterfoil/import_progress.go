package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/jedib0t/go-pretty/v6/progress"
)

// importProgress shows on a terminal how much of a file was read, and elsewhere nothing.
type importProgress struct {
	out      io.Writer
	bars     progress.Writer // nil: off a terminal
	bar      *progress.Tracker
	rendered chan struct{} // closed when the bar is drawn for good
}

// newImportProgress shows the progress through so many bytes; 0: nobody knows how many.
func newImportProgress(out io.Writer, size int64) *importProgress {
	s := &importProgress{out: out}
	if !isTerminal(out) {
		return s
	}
	s.bars, s.rendered = progress.NewWriter(), make(chan struct{})
	s.bars.SetOutputWriter(out)
	s.bars.SetUpdateFrequency(200 * time.Millisecond)
	if os.Getenv("NO_COLOR") == "" {
		s.bars.Style().Colors = progress.StyleColorsExample
	}
	s.bar = &progress.Tracker{Message: "importing", Total: size, Units: progress.UnitsBytes, AutoStopDisabled: true}
	s.bars.AppendTracker(s.bar)
	go func() {
		defer close(s.rendered)
		s.bars.Render()
	}()
	return s
}

// reader is in, whose bytes count.
func (s *importProgress) reader(in io.Reader) io.Reader {
	if s.bars == nil {
		return in
	}
	return io.TeeReader(in, counter{s.bar})
}

// counter counts what is written to it.
type counter struct{ bar *progress.Tracker }

// Write implements io.Writer.
func (c counter) Write(p []byte) (int, error) {
	c.bar.Increment(int64(len(p)))
	return len(p), nil
}

// say prints a line, above the bar where there is one.
func (s *importProgress) say(text string) {
	if s.bars == nil {
		_, _ = fmt.Fprintln(s.out, text)
		return
	}
	s.bars.Log("%s", text)
}

// end leaves the bar as it is; that of an import that failed shows it.
func (s *importProgress) end(err error) {
	if s.bars == nil {
		return
	}
	if err != nil {
		s.bar.MarkAsErrored()
	}
	s.bar.MarkAsDone()
	stopBars(s.bars, s.rendered)
}
