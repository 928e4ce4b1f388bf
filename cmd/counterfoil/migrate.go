package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/counterfoil/counterfoil/internal/sqlstore"
)

func newMigrateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Bring the database to the schema of this version",
		Long: `Bring the database to the schema of this version. 'serve' does so by itself with the
embedded database, and with PostgreSQL if told to (--migrate). Servers of the version
before go on while and after it runs: migrate first, then replace them one by one.`,
	}
	cmd.AddCommand(newMigrateUpCommand(), newMigrateStatusCommand())
	return cmd
}

func newMigrateUpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "up",
		Short: "Run the migrations that are missing",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := loadConfig(cmd)
			if err != nil {
				return err
			}
			i, err := openStore(cmd.Context(), c, newLogger(cmd.ErrOrStderr(), c), commandPatience)
			if err != nil {
				return err
			}
			return errors.Join(migrateUp(cmd, i), i.Close())
		},
	}
}

func migrateUp(cmd *cobra.Command, i *installation) error {
	before, err := i.Store.Migrations(cmd.Context())
	if err != nil {
		return err
	}
	if err := i.Store.Migrate(cmd.Context()); err != nil {
		return err
	}
	cmd.PrintErrf("%d migrations were missing, now there are none.\n", pendingMigrations(before))
	return nil
}

func newMigrateStatusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "List the migrations, and when each was applied",
		RunE: withDatabase(func(cmd *cobra.Command, _ []string, i *installation, p *printer) error {
			steps, err := i.Store.Migrations(cmd.Context())
			if err != nil {
				return err
			}
			var records []record
			for _, m := range steps {
				records = append(records, newMigrationRecord(m))
			}
			return p.list(migrationRecord{}, records)
		}),
	}
	addOutputFlag(cmd)
	return cmd
}

// withDatabase is the frame of a command that works on the database of an existing
// installation, whatever its schema and keys.
func withDatabase(run func(cmd *cobra.Command, args []string, i *installation, p *printer) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		p, err := newPrinter(cmd)
		if err != nil {
			return err
		}
		c, err := loadConfig(cmd)
		if err != nil {
			return err
		}
		if _, err := os.Stat(filepath.Join(c.Data, databaseFile)); err != nil && c.Database == embeddedDatabase {
			return fmt.Errorf("there is no database yet: %w", err)
		}
		i, err := openStore(cmd.Context(), c, newLogger(cmd.ErrOrStderr(), c), commandPatience)
		if err != nil {
			return err
		}
		return errors.Join(run(cmd, args, i, p), i.Close())
	}
}

// migrationRecord is one step of the schema.
type migrationRecord struct {
	Version   int64     `json:"version"`
	Name      string    `json:"name"`
	Status    string    `json:"status"` // applied or pending
	AppliedAt timestamp `json:"applied_at"`
}

func newMigrationRecord(m sqlstore.Migration) migrationRecord {
	r := migrationRecord{Version: m.Version, Name: m.Name, Status: "applied", AppliedAt: timestamp(m.AppliedAt)}
	if time.Time(r.AppliedAt).IsZero() {
		r.Status = "pending"
	}
	return r
}

func (r migrationRecord) fields() []field {
	return []field{
		{"version", strconv.FormatInt(r.Version, 10), "VERSION"},
		{"name", r.Name, "NAME"},
		{"status", r.Status, "STATUS"},
		{"applied_at", r.AppliedAt.String(), "APPLIED"},
	}
}
