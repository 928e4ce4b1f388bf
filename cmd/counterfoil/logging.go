package main

import (
	"io"
	"log/slog"

	"github.com/counterfoil/counterfoil/internal/config"
)

// newLogger returns the log: JSON lines, or text where a person reads.
func newLogger(w io.Writer, c *config.Config) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.LogLevel)) // one of slog's own names; package config checked it
	options := &slog.HandlerOptions{Level: level}
	if c.LogFormat == "text" || c.LogFormat == "" && isTerminal(w) {
		return slog.New(slog.NewTextHandler(w, options))
	}
	return slog.New(slog.NewJSONHandler(w, options))
}
