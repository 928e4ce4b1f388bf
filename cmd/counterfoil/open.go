package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/counterfoil/counterfoil/internal/admin"
	"github.com/counterfoil/counterfoil/internal/config"
	"github.com/counterfoil/counterfoil/internal/oauth"
	"github.com/counterfoil/counterfoil/internal/password"
	"github.com/counterfoil/counterfoil/internal/sqlstore"
)

// databaseFile is the name of the embedded database in the data directory.
const databaseFile = "counterfoil.db"

// installation is what every command that works on the data has: the settings, the
// database, the master keys, and the operator who uses them.
type installation struct {
	Config   *config.Config
	Store    *sqlstore.Store
	Operator *admin.Operator
	Keys     func() *oauth.Keys // the master keys of the moment
	Hasher   *password.Hasher
	Log      *slog.Logger

	embedded bool // whether the database is SQLite
	keys     atomic.Pointer[oauth.Keys]
}

// openInstallation opens the installation that the settings of a command name. A
// new one is made where there is none. The caller closes it.
func openInstallation(cmd *cobra.Command) (*installation, error) {
	c, err := loadConfig(cmd)
	if err != nil {
		return nil, err
	}
	i, err := openStore(cmd.Context(), c, newLogger(cmd.ErrOrStderr(), c), commandPatience)
	if err != nil {
		return nil, err
	}
	if err := i.prepare(cmd.Context()); err != nil {
		return nil, errors.Join(err, i.Close())
	}
	return i, nil
}

// commandPatience is how long a command waits for its turn to write beside a server
// that is busy writing.
const commandPatience = 10 * time.Second

// openStore opens the database only, whatever its schema.
func openStore(ctx context.Context, c *config.Config, log *slog.Logger, patience time.Duration) (*installation, error) {
	if err := makeDataDirectory(c.Data); err != nil {
		return nil, configurationError{err}
	}
	url, err := databaseURL(c)
	if err != nil {
		return nil, configurationError{err}
	}
	i := &installation{Config: c, Log: log, embedded: url == embeddedDatabase}
	i.Keys = i.keys.Load
	if i.embedded {
		i.Store, err = sqlstore.OpenSQLite(ctx, filepath.Join(c.Data, databaseFile), sqlstore.Options{Now: time.Now, Log: log, Patience: patience})
	} else {
		i.Store, err = sqlstore.OpenPostgres(ctx, url, sqlstore.Options{Log: log, Patience: patience, Connections: c.DatabaseConnections})
	}
	if errors.Is(err, sqlstore.ErrUnsuitable) {
		return nil, configurationError{err}
	}
	return i, err
}

// embeddedDatabase is the value of the setting database that means SQLite.
const embeddedDatabase = "sqlite"

// databaseURL is the setting database, wherever it is.
func databaseURL(c *config.Config) (string, error) {
	if c.Database != "" {
		return string(c.Database), nil
	}
	content, err := os.ReadFile(c.DatabaseFile)
	if err != nil {
		return "", fmt.Errorf("database: its file cannot be read: %w", err)
	}
	url := strings.TrimSpace(string(content))
	if err := config.CheckDatabase(url); err != nil {
		return "", fmt.Errorf("database: what is in %s is wrong: %w", c.DatabaseFile, err)
	}
	return url, nil
}

// makeDataDirectory makes the data directory, for its owner alone.
func makeDataDirectory(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("data: the directory cannot be made: %w", err)
	}
	info, err := os.Stat(dir)
	switch {
	case err != nil:
		return fmt.Errorf("data: the directory cannot be used: %w", err)
	case !info.IsDir():
		return fmt.Errorf("data: %s is not a directory", dir)
	}
	return nil
}

// prepare checks the schema, which a new database gets here, and opens the rest.
func (i *installation) prepare(ctx context.Context) error {
	if err := i.checkSchema(ctx); err != nil {
		return err
	}
	return i.open(ctx)
}

// checkSchema leaves the migration of an embedded database that is in use to its
// server, and that of a database of many nodes to the administrator.
func (i *installation) checkSchema(ctx context.Context) error {
	steps, err := i.Store.Migrations(ctx)
	if err != nil {
		return err
	}
	pending := pendingMigrations(steps)
	switch {
	case pending == 0:
		return i.Store.Ready(ctx)
	case i.embedded && pending == len(steps):
		return i.Store.Migrate(ctx)
	case i.embedded:
		return fmt.Errorf("the database needs %d more migrations: run 'counterfoil migrate up', or restart the server", pending)
	}
	return fmt.Errorf("the database needs %d more migrations: run 'counterfoil migrate up'", pending)
}

func pendingMigrations(steps []sqlstore.Migration) int {
	pending := 0
	for _, m := range steps {
		if m.AppliedAt.IsZero() {
			pending++
		}
	}
	return pending
}

// open opens what needs the schema: the master keys and the operator.
func (i *installation) open(ctx context.Context) error {
	var err error
	i.Hasher, err = password.NewHasher(i.Config.PasswordHash, i.Config.PasswordConcurrency, i.Config.PasswordQueue, rand.Reader)
	if err != nil {
		return configurationError{err}
	}
	i.Operator = &admin.Operator{
		Store: i.Store, Keys: i.Keys, Hasher: i.Hasher, Rand: rand.Reader, Actor: actor(),
		Weakness: password.Weakness, KeepGrants: i.Config.PasswordChange == config.Keep,
	}
	keys, err := i.Operator.OpenMasterKeys(ctx, i.Config.MasterKeyPath(), i.Config.MasterKey)
	if err != nil {
		return err
	}
	i.keys.Store(keys)
	return nil
}

// actor names who runs a command, for the audit.
func actor() string {
	u, err := user.Current()
	if err != nil {
		return "command line"
	}
	return "command line: " + u.Username
}

// Close closes the database.
func (i *installation) Close() error { return i.Store.Close() }
