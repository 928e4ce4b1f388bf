package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/internal/admin"
	"github.com/counterfoil/counterfoil/internal/config"
	"github.com/counterfoil/counterfoil/internal/oauth"
	"github.com/counterfoil/counterfoil/internal/password"
)

// clockTolerance is how far clocks may be apart.
const clockTolerance = 30 * time.Second

// examineFiles looks who else can read what is secret.
func (d *doctor) examineFiles() {
	var wrong []error
	err := filepath.WalkDir(d.Config.Data, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) { // SQLite's helpers come and go
			return nil
		}
		if err != nil {
			return err
		}
		wrong = append(wrong, private(path, info))
		return nil
	})
	d.judge("files", errors.Join(append(wrong, err)...), "only their owner can read "+d.Config.Data)
	for _, s := range d.Config.Show() {
		if s.Setting == "config" && s.Value != "" {
			d.examineConfigFile(s.Value)
		}
	}
	if d.Config.TLSKey != "" {
		info, err := os.Stat(d.Config.TLSKey)
		if err == nil {
			err = private(d.Config.TLSKey, info)
		}
		d.judge("tls_key", err, "only its owner can read it")
	}
	if d.Config.PrivateKeyFile != "" {
		d.examinePrivateKey(d.Config.PrivateKeyFile)
	}
}

// examinePrivateKey looks at the file that a signing key is imported from. After that it
// is not needed, and best gone.
func (d *doctor) examinePrivateKey(file string) {
	info, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		d.ok("private_key", file+" is not there: the first start alone needs it")
		return
	}
	if err == nil {
		err = admin.CheckKeyFile("the private key file", file, info)
	}
	d.judge("private_key", err, "only its owner can read "+file)
}

func private(path string, info fs.FileInfo) error {
	switch {
	case !info.IsDir() && !info.Mode().IsRegular():
		return fmt.Errorf("%s is not a regular file", path)
	case info.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("%s has mode %04o, so that others can get at it: run chmod go= %s", path, info.Mode().Perm(), path)
	}
	return nil
}

// examineConfigFile: a file without secrets may be read by everybody.
func (d *doctor) examineConfigFile(path string) {
	secrets := slices.ContainsFunc([]string{"database", "master_key", "private_key"}, func(name string) bool {
		return d.Config.Origin(name) == "file "+path+":"+name
	})
	info, err := os.Stat(path)
	if err == nil && secrets && info.Mode().Perm()&0o077 != 0 {
		err = fmt.Errorf("%s holds a secret and has mode %04o, so that others can get at it", path, info.Mode().Perm())
	}
	d.judge("config", err, path)
}

// examineSettings warns of what is allowed and yet dangerous.
func (d *doctor) examineSettings() {
	c := d.Config
	before := len(d.findings)
	if strings.HasPrefix(c.Issuer, "http://") && c.InsecureHTTP {
		d.warn("insecure_http", "tokens and passwords cross the network in clear")
	}
	if host, _, err := net.SplitHostPort(c.AdminListen); err == nil && !config.IsLoopback(host) {
		d.warn("admin_listen", "%s is not loopback: whoever can reach it can read the metrics", c.AdminListen)
	}
	if safe := password.DefaultParams(); c.PasswordHash.MemoryKiB < safe.MemoryKiB && c.PasswordHash.Time <= safe.Time {
		d.warn("password_hash", "a stolen database is guessed at faster than with the default")
	}
	if c.RefreshTokenAbsoluteLifetime == 0 {
		d.warn("refresh_token_absolute_lifetime", "a grant that is refreshed never ends (RFC 9700 section 4.14.2)")
	}
	if c.PasswordChange == config.Keep {
		d.warn("password_change", "whoever stole a session keeps it after the password was changed (RFC 9700 section 4.14.2)")
	}
	if c.PreviousAccessToken.Keep {
		d.warn("previous_access_token", "access tokens outlive the refresh that replaced them")
	}
	if c.Lockout > 0 {
		d.warn("lockout", "whoever knows a username can lock its account")
	}
	if c.EventRetention == 0 {
		d.warn("event_retention", "events are never deleted")
	}
	if slices.Contains(c.CORSAllowOrigins, "*") {
		d.warn("cors_allow_origins", "scripts of every web site may use the token endpoints")
	}
	if len(d.findings) == before {
		d.ok("settings", "nothing dangerous")
	}
}

// examineMasterKeys compares the master keys with what the database needs.
func (d *doctor) examineMasterKeys(ctx context.Context) bool {
	known, err := d.Store.MasterKeyChecks(ctx)
	if err != nil {
		d.fail("master_key", err)
		return false
	}
	if _, err := os.Stat(d.Config.MasterKeyPath()); len(known) == 0 && d.Config.MasterKey == "" && errors.Is(err, fs.ErrNotExist) {
		d.warn("master_key", "there is none yet: the first start makes it")
		return false
	}
	keys, err := d.readMasterKeys()
	if err == nil && len(known) == 0 {
		d.ok("master_key", "the first start uses it")
		return false
	}
	if err == nil {
		err = admin.CheckMasterKeys(ctx, d.Store, keys)
	}
	var detail string
	if err == nil {
		detail, err = d.describeOldKeys(ctx, keys)
	}
	if !d.judge("master_key", err, detail) {
		return false
	}
	d.keys.Store(keys)
	return true
}

// describeOldKeys says which of the keys behind the active one can go.
func (d *doctor) describeOldKeys(ctx context.Context, keys *oauth.Keys) (string, error) {
	use, err := d.Store.MasterKeyUse(ctx)
	detail := "fits the database"
	if d.Config.MasterKey == "" {
		detail += "; only its owner can read " + d.Config.MasterKeyPath()
	}
	for _, id := range keys.IDs()[1:] {
		if n := use[id]; n > 0 {
			detail += fmt.Sprintf("; key %d is needed by %d grants, secrets and signing keys", id, n)
		} else {
			detail += fmt.Sprintf("; key %d is not needed any more, its line can be removed", id)
		}
	}
	return detail, err
}

func (d *doctor) readMasterKeys() (*oauth.Keys, error) {
	if d.Config.MasterKey != "" {
		return oauth.ParseKeys(string(d.Config.MasterKey))
	}
	return admin.ReadMasterKeys(d.Config.MasterKeyPath())
}

// examineSigningKeys opens the signing keys, if there are any.
func (d *doctor) examineSigningKeys(ctx context.Context) {
	keys, _, err := d.Store.SigningKeys(ctx)
	if err != nil {
		d.fail("signing keys", err)
		return
	}
	alg := d.Config.SigningAlg
	for _, k := range keys {
		if k.Alg == alg {
			_, err := openRing(ctx, d.installation)
			d.judge("signing keys", err, alg+" can sign")
			return
		}
	}
	d.warn("signing keys", "there is none for %s yet: the next start makes it", alg)
}

// examineClients tells what the password grant is for.
func (d *doctor) examineClients(ctx context.Context) {
	clients, err := d.Store.Clients(ctx)
	if err != nil {
		d.fail("clients", err)
		return
	}
	var ids []string
	for i := range clients {
		if clients[i].Active && clients[i].MayUse(oauth.GrantTypePassword) {
			ids = append(ids, clients[i].ID)
		}
	}
	if len(ids) == 0 {
		d.ok("clients", "none uses the password grant")
		return
	}
	d.warn("clients", "%d may use the password grant (%s): it is for first-party clients only, since they see the password (RFC 9700 section 2.4)", len(ids), strings.Join(ids, ", "))
}
