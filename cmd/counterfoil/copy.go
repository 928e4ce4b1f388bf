package main

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/counterfoil/counterfoil/internal/config"
	"github.com/counterfoil/counterfoil/internal/sqlstore"
)

func newCopyCommand() *cobra.Command {
	var from, to string
	cmd := &cobra.Command{
		Use:   "copy",
		Short: "Copy everything into another database, from SQLite to PostgreSQL or back",
		Long: `Copy everything into another, empty database: users, clients, grants, keys, events.
Every session goes on there: refresh tokens, and the retries of lost answers, too.

--from and --to are each sqlite:PATH, with the path of a database or of the data
directory it is in, or postgres://…, or the path of a file with one of these, which
begins with / or ./ and keeps a password out of the list of processes.

Stop the servers first: what they write after it was read is not copied. If they wrote
while the copy ran, it says so and ends with 1. After that, and after an interruption
of any kind, run the same command again: it copies what differs. So a first run may be
made while the servers work, and a short one when they have stopped. Nothing starts on
the target until the copy is complete, and compared by counts and checksums.

The master key is in no database: take master.key along. Never start a server on the
source again.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := newPrinter(cmd)
			if err != nil {
				return err
			}
			return runCopy(cmd, p, from, to)
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "the database to copy")
	cmd.Flags().StringVar(&to, "to", "", "the database to copy into")
	addOutputFlag(cmd)
	return cmd
}

func runCopy(cmd *cobra.Command, p *printer, from, to string) error {
	source, err := parseCopyDatabase("from", from)
	if err != nil {
		return err
	}
	target, err := parseCopyDatabase("to", to)
	if err != nil {
		return err
	}
	if source == target {
		return usageError{errors.New("--from and --to are the same database")}
	}
	if _, err := os.Stat(source.path); err != nil && source.url == "" {
		return fmt.Errorf("there is no database to copy: %w", err)
	}
	report, err := copyBetween(cmd.Context(), source, target, p)
	switch {
	case errors.Is(err, sqlstore.ErrUnsuitable):
		return configurationError{err}
	case err != nil && cmd.Context().Err() != nil:
		return errors.New("the copy was interrupted: the same command goes on with it")
	case err != nil:
		return err
	}
	p.remark("The copy is complete. Take master.key along, and start no server on the source again.")
	return p.list(copiedTableRecord{}, copiedTableRecords(report))
}

// copyDatabase is one end of a copy: the file of an embedded database, or a URL.
type copyDatabase struct{ path, url string }

// parseCopyDatabase reads --from or --to. Errors do not repeat a URL, which may hold a
// password.
func parseCopyDatabase(flag, text string) (copyDatabase, error) {
	if strings.HasPrefix(text, "/") || strings.HasPrefix(text, "./") {
		content, err := os.ReadFile(text)
		if err != nil {
			return copyDatabase{}, fmt.Errorf("--%s: the file cannot be read: %w", flag, err)
		}
		text = strings.TrimSpace(string(content))
	}
	path, embedded := strings.CutPrefix(text, embeddedDatabase+":")
	switch {
	case embedded && path != "":
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			path = filepath.Join(path, databaseFile)
		}
		absolute, err := filepath.Abs(path)
		return copyDatabase{path: absolute}, err
	case !embedded && text != embeddedDatabase && config.CheckDatabase(text) == nil:
		return copyDatabase{url: text}, nil
	}
	return copyDatabase{}, usageError{fmt.Errorf("--%s is sqlite:PATH or postgres://…, or the path of a file with that, which begins with / or ./", flag)}
}

func (d copyDatabase) open(ctx context.Context) (*sqlstore.Store, error) {
	o := sqlstore.Options{Log: slog.New(slog.DiscardHandler), Patience: commandPatience}
	if d.url != "" {
		return sqlstore.OpenPostgres(ctx, d.url, o)
	}
	o.Now = time.Now
	return sqlstore.OpenSQLite(ctx, d.path, o)
}

// name is what the database is called, without secrets.
func (d copyDatabase) name() string {
	if d.url == "" {
		return embeddedDatabase + ":" + d.path
	}
	u, err := url.Parse(d.url)
	if err != nil {
		return "PostgreSQL" // it was opened all the same
	}
	return "postgres://" + u.Host + u.Path
}

func copyBetween(ctx context.Context, source, target copyDatabase, p *printer) ([]sqlstore.CopiedTable, error) {
	from, err := source.open(ctx)
	if err != nil {
		return nil, fmt.Errorf("--from: %w", err)
	}
	to, err := target.open(ctx)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("--to: %w", err), from.Close())
	}
	show := newCopyProgress(p.remarks)
	report, err := sqlstore.Copy(ctx, from, to, sqlstore.CopyOptions{Source: source.name(), Progress: show.update})
	show.end(err)
	return report, cmp.Or(err, errors.Join(to.Close(), from.Close()))
}

// copiedTableRecord is a table that was copied.
type copiedTableRecord struct {
	Table   string `json:"table"`
	Rows    int64  `json:"rows"`
	Copied  int64  `json:"copied"`  // by this run
	Removed int64  `json:"removed"` // from the target
	SHA256  string `json:"sha256"`
}

func copiedTableRecords(report []sqlstore.CopiedTable) []record {
	var records []record
	for _, t := range report {
		records = append(records, copiedTableRecord{t.Name, t.Rows, t.Copied, t.Removed, hex.EncodeToString(t.Checksum[:])})
	}
	return records
}

func (r copiedTableRecord) fields() []field {
	return []field{
		{"table", r.Table, "TABLE"},
		{"rows", strconv.FormatInt(r.Rows, 10), "ROWS"},
		{"copied", strconv.FormatInt(r.Copied, 10), "COPIED"},
		{"removed", strconv.FormatInt(r.Removed, 10), "REMOVED"},
		{"sha256", r.SHA256, "SHA-256"},
	}
}
