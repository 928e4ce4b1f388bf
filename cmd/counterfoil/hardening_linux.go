package main

import (
	"log/slog"
	"syscall"

	"golang.org/x/sys/unix"
)

// forbidCoreDumps keeps what is in memory, keys above all, out of core files and
// from other processes of the same user.
func forbidCoreDumps(log *slog.Logger) {
	if err := syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}); err != nil {
		log.Warn("core dumps cannot be turned off", "error", err)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		log.Warn("the process stays traceable", "error", err)
	}
}
