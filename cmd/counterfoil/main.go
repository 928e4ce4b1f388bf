package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() { os.Exit(run()) }

// run executes the command line and returns the exit code. The first SIGINT or
// SIGTERM ends the context, the second one the process.
func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	defer stop()
	root := newRootCommand()
	cmd, err := root.ExecuteContextC(ctx)
	if err != nil {
		report(root.ErrOrStderr(), cmd, err)
	}
	return exitCode(err)
}
