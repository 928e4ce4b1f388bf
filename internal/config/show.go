package config

import (
	"fmt"
	"strings"
)

// Shown is a setting as it is in force, for people.
type Shown struct {
	Setting string `json:"setting"`
	Value   string `json:"value"` // [redacted] for a secret; words where it depends; empty: none
	Source  string `json:"source"`
}

// Show lists the settings in force, `config` first, without secrets.
func (c *Config) Show() []Shown {
	shown := []Shown{{Setting: configName, Value: c.file, Source: c.Origin(configName)}}
	for i := range settings {
		s := &settings[i]
		shown = append(shown, Shown{Setting: s.name, Value: s.shown(c), Source: c.Origin(s.name)})
	}
	return shown
}

// shown is the value in force, or in words what holds where none is set.
func (s *setting) shown(c *Config) string {
	text := s.value(c).String()
	if text == "" && c.Origin(s.name) == originDefault {
		return strings.ReplaceAll(s.computed, "`", "")
	}
	return text
}

// Markdown is the table of all settings for the documentation.
func Markdown() string {
	var b strings.Builder
	b.WriteString("| setting | default | |\n|---|---|---|\n")
	for _, s := range Settings() {
		_, _ = fmt.Fprintf(&b, "| `%s` | %s | %s |\n", s.Name, orNone(s.Default), s.Help+also(s.Name))
	}
	return b.String()
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// also names the other way to give a secret.
func also(name string) string {
	if s, _ := lookUp(name); s == nil || !s.secret {
		return ""
	}
	if s, _ := lookUp(name); s.onFlag {
		return fmt.Sprintf(". It may hold a password: also the path of its file (which begins with `/` or `./`); `%s%s` and `%s` take the path only", name, fileSuffix, EnvironmentName(name+fileSuffix))
	}
	return fmt.Sprintf(". A secret: the text itself, or the path of its file (which begins with `/` or `./`); `%s%s`, `%s` and the flag take the path only",
		name, fileSuffix, EnvironmentName(name+fileSuffix))
}
