package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/counterfoil/counterfoil/internal/config"
)

// settingFlag is a flag of a setting. It keeps the text; package config reads it.
type settingFlag struct {
	text string
	kind string
}

// String implements pflag.Value.
func (f *settingFlag) String() string { return f.text }

// Set implements pflag.Value.
func (f *settingFlag) Set(text string) error { f.text = text; return nil }

// Type implements pflag.Value: what help shows as the value.
func (f *settingFlag) Type() string { return f.kind }

// addSettings gives a command visible flags for settings: the named ones, or all.
func addSettings(cmd *cobra.Command, names ...string) {
	for _, s := range config.Settings() {
		if len(names) > 0 && !slices.Contains(names, s.Name) {
			continue
		}
		help := strings.ReplaceAll(s.Help, "`", "")
		if s.Default != "" {
			help += fmt.Sprintf(" (default: %s)", strings.ReplaceAll(s.Default, "`", ""))
		}
		flag := cmd.Flags().VarPF(&settingFlag{kind: s.Kind}, config.FlagName(s.Name), "", help)
		if s.Boolean {
			flag.NoOptDefVal = "true"
		}
	}
}

// everywhere are the settings that every command needs which works on the data.
var everywhere = []string{"config", "data", "database", "master_key", "log_level", "log_format"}

// addHiddenSettings makes every setting a flag of every command: shown where most
// need it, hidden elsewhere.
func addHiddenSettings(root *cobra.Command) {
	all := &cobra.Command{}
	addSettings(all)
	for _, s := range config.Settings() {
		flag := all.Flags().Lookup(config.FlagName(s.Name))
		flag.Hidden = !slices.Contains(everywhere, s.Name)
		root.PersistentFlags().AddFlag(flag)
	}
}

// flagOf returns the values of the flags of settings. A command may have a flag of
// the same name that means something else, such as a client's lifetime.
func flagOf(cmd *cobra.Command) func(name string) (string, bool) {
	return func(name string) (string, bool) {
		flag := cmd.Flags().Lookup(name)
		if flag == nil || !flag.Changed {
			return "", false
		}
		setting, ok := flag.Value.(*settingFlag)
		if !ok {
			return "", false
		}
		return setting.text, true
	}
}

// loadConfig reads the settings for a command.
func loadConfig(cmd *cobra.Command) (*config.Config, error) {
	c, err := config.Load(config.Sources{Flag: flagOf(cmd), Environ: os.Environ(), File: config.DefaultFile})
	if err != nil {
		return nil, configurationError{err}
	}
	return c, nil
}
