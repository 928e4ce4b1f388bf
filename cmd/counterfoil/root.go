package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/counterfoil/counterfoil/internal/admin"
)

// The exit codes besides 0.
const (
	exitFailed        = 1
	exitUsage         = 2
	exitConfiguration = 78 // EX_CONFIG of sysexits.h
)

// usageError is a command line that makes no sense.
type usageError struct{ error }

// Unwrap returns what was wrong.
func (e usageError) Unwrap() error { return e.error }

// configurationError is a setting, or a file that a setting names, that is wrong.
type configurationError struct{ error }

// Unwrap returns what was wrong.
func (e configurationError) Unwrap() error { return e.error }

// exitCode is the exit code for the error of a command.
func exitCode(err error) int {
	var usage usageError
	var configuration configurationError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &usage) || errors.Is(err, admin.ErrUsage):
		return exitUsage
	case errors.As(err, &configuration) || errors.Is(err, admin.ErrConfiguration):
		return exitConfiguration
	}
	return exitFailed
}

// report tells a person what went wrong, and where help is.
func report(w io.Writer, cmd *cobra.Command, err error) {
	for line := range strings.Lines(err.Error()) {
		_, _ = fmt.Fprintf(w, "counterfoil: %s\n", strings.TrimSuffix(line, "\n"))
	}
	if exitCode(err) == exitUsage {
		_, _ = fmt.Fprintf(w, "Run '%s --help' for usage.\n", cmd.CommandPath())
	}
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "counterfoil",
		Short: "An OAuth 2.0 authorization server whose heart is the refresh token",
		Long: `Counterfoil is an OAuth 2.0 authorization server whose heart is the refresh token.

Every setting is a flag, an environment variable (COUNTERFOIL_…) and a key of the
configuration file, in this order of precedence; 'counterfoil config show' lists
them. All commands work while the server runs.`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	addHiddenSettings(root)
	root.AddCommand(
		newDemoCommand(), newServeCommand(), newMigrateCommand(),
		newClientCommand(), newUserCommand(), newGrantCommand(), newKeyCommand(),
		newBackupCommand(), newCopyCommand(), newDoctorCommand(), newExplainCommand(), newCleanupCommand(),
		newConfigCommand(), newBenchCommand(), newHealthcheckCommand(), newVersionCommand(),
	)
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	for _, cmd := range root.Commands() {
		strict(cmd)
	}
	root.Args = subcommandOnly
	root.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	return root
}

// strict makes wrong arguments of a command, and of those below it, wrong usage.
func strict(cmd *cobra.Command) {
	switch args := cmd.Args; {
	case cmd.HasSubCommands() && cmd.Runnable(): // cobra's own
	case cmd.HasSubCommands():
		cmd.Args = subcommandOnly
		cmd.RunE = func(cmd *cobra.Command, _ []string) error {
			return usageError{fmt.Errorf("%s needs a subcommand: %s", cmd.CommandPath(), strings.Join(subcommands(cmd), ", "))}
		}
	case args == nil:
		args = cobra.NoArgs
		fallthrough
	default:
		cmd.Args = func(cmd *cobra.Command, given []string) error {
			if err := args(cmd, given); err != nil {
				return usageError{err}
			}
			return nil
		}
	}
	for _, sub := range cmd.Commands() {
		strict(sub)
	}
}

// subcommandOnly refuses what is not one of the subcommands.
func subcommandOnly(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	cmd.SuggestionsMinimumDistance = 2
	text := fmt.Sprintf("there is no command %q of %s", args[0], cmd.CommandPath())
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		text += "; did you mean " + strings.Join(near, " or ") + "?"
	}
	return usageError{errors.New(text)}
}

func subcommands(cmd *cobra.Command) []string {
	var names []string
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	return names
}
