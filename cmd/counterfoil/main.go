package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() { os.Exit(run()) }

// run executes the command line and returns the exit code.
func run() int {
	ctx, stop := untilSignal(context.Background())
	defer stop()
	root := newRootCommand()
	cmd, err := root.ExecuteContextC(ctx)
	if err != nil {
		report(root.ErrOrStderr(), cmd, err)
	}
	return exitCode(err)
}

// oneSignal is the time within which several signals are one: a terminal and the
// programs around us may all pass it on.
const oneSignal = time.Second

// untilSignal returns a context that the first SIGINT, SIGTERM or SIGHUP ends. The next
// one ends the process.
func untilSignal(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(parent, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	context.AfterFunc(ctx, func() { time.AfterFunc(oneSignal, stop) })
	return ctx, stop
}
