package main

import (
	"github.com/spf13/cobra"

	"github.com/counterfoil/counterfoil/internal/config"
)

func newConfigCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "Show and check the settings"}
	cmd.AddCommand(newConfigShowCommand(), newConfigValidateCommand())
	return cmd
}

func newConfigShowCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Show every setting in force, and where its value came from",
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := newPrinter(cmd)
			if err != nil {
				return err
			}
			c, err := loadConfig(cmd)
			if err != nil {
				return err
			}
			var records []record
			for _, s := range c.Show() {
				records = append(records, shownRecord(s))
			}
			return p.list(shownRecord{}, records)
		},
	}
	addOutputFlag(cmd)
	addSettings(cmd)
	return cmd
}

func newConfigValidateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "validate",
		Short: "Check the settings, and say everything that is wrong with them",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := loadConfig(cmd); err != nil {
				return err
			}
			cmd.PrintErrln("The settings are valid.")
			return nil
		},
	}
	addSettings(cmd)
	return cmd
}

// shownRecord is a setting in force.
type shownRecord config.Shown

func (r shownRecord) fields() []field {
	return []field{{"setting", r.Setting, "SETTING"}, {"value", r.Value, "VALUE"}, {"source", r.Source, "SOURCE"}}
}
