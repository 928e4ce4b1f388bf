package oauth

import (
	"fmt"
	"log/slog"
)

// redacted is what a secret shows wherever it is printed.
const redacted = "[redacted]"

// Secret is text that must never be printed: a password, a client secret, a
// token. Every way of formatting it yields "[redacted]"; string(s) is the text.
type Secret string

// Format implements fmt.Formatter for all verbs.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// LogValue implements slog.LogValuer.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText implements encoding.TextMarshaler, so that JSON shows nothing either.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// RefreshSecret is the secret part of a refresh token, 32 bytes. It does not print.
type RefreshSecret [32]byte

// Format implements fmt.Formatter for all verbs.
func (RefreshSecret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// LogValue implements slog.LogValuer.
func (RefreshSecret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText implements encoding.TextMarshaler.
func (RefreshSecret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
