package main

import (
	"os"
	"strconv"

	"github.com/spf13/cobra"
)

func newBackupCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Write a consistent copy of the database while it is in use",
		Long: `Write a consistent copy of the embedded database, while it is in use, to a file
that must not exist yet. The copy can be opened by SQLite, and takes the place of
the database in the data directory of a stopped server.

The master key is not in it: without that the copy is of no use to anybody.`,
		Args: cobra.ExactArgs(1),
		RunE: withDatabase(func(cmd *cobra.Command, args []string, i *installation, p *printer) error {
			if err := i.Store.Backup(cmd.Context(), args[0]); err != nil {
				return err
			}
			info, err := os.Stat(args[0])
			if err != nil {
				return err
			}
			p.remark("Keep a copy of the master key too, apart from this one.")
			return p.one(backupRecord{File: args[0], Bytes: info.Size()})
		}),
	}
	addOutputFlag(cmd)
	return cmd
}

// backupRecord is a copy of the database.
type backupRecord struct {
	File  string `json:"file"`
	Bytes int64  `json:"bytes"`
}

func (r backupRecord) fields() []field {
	return []field{{"file", r.File, ""}, {"bytes", strconv.FormatInt(r.Bytes, 10), ""}}
}
