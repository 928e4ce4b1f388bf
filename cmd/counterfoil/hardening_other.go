//go:build !linux

package main

import "log/slog"

// forbidCoreDumps is for Linux only.
func forbidCoreDumps(*slog.Logger) {}
