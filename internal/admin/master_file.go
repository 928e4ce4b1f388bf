package admin

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/counterfoil/counterfoil/internal/failpoint"
	"github.com/counterfoil/counterfoil/internal/oauth"
)

// masterKeyHeader is the first line of a master key file.
const masterKeyHeader = "# Master keys of a Counterfoil installation, the active one first. Keep this file secret, and apart from the database.\n"

// maxMasterKeyFile is far more than any master key file has, in bytes.
const maxMasterKeyFile = 1 << 20

// errNoMasterKeyFile: there is none, which is right before the first start only.
var errNoMasterKeyFile = fmt.Errorf("no master key file: %w", ErrConfiguration)

// ReadMasterKeys reads a master key file (see oauth.ParseKeys). ErrConfiguration
// if it is missing, malformed, or can be read by others than its owner.
func ReadMasterKeys(file string) (*oauth.Keys, error) {
	_, keys, err := readMasterKeyFile(file)
	return keys, err
}

func readMasterKeyFile(file string) (string, *oauth.Keys, error) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil, &problem{text: "there is no master key file " + file, kind: errNoMasterKeyFile}
	}
	if err != nil {
		return "", nil, misconfigured("the master key file cannot be read: %v", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return "", nil, misconfigured("the master key file cannot be read: %v", err)
	}
	if err := CheckKeyFile("the master key file", file, info); err != nil {
		return "", nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxMasterKeyFile))
	if err != nil {
		return "", nil, misconfigured("the master key file cannot be read: %v", err)
	}
	keys, err := oauth.ParseKeys(string(text))
	if err != nil {
		return "", nil, misconfigured("the master key file %s is wrong: %v", file, err)
	}
	return string(text), keys, nil
}

// CheckKeyFile returns ErrConfiguration for a file with keys that is no regular file, or
// that others than its owner can get at, and says what to do; what is its name for people.
func CheckKeyFile(what, file string, info fs.FileInfo) error {
	switch {
	case !info.Mode().IsRegular():
		return misconfigured("%s %s is not a regular file", what, file)
	case info.Mode().Perm()&0o077 != 0 && !isCredential(file, info):
		return misconfigured("%s %s has mode %04o, so that others can read it: give it mode 0600", what, file, info.Mode().Perm())
	}
	return nil
}

// isCredential reports whether a file is one that systemd hands to this service alone
// (LoadCredential=). Newer versions let it in by an access list, which shows as a group
// that may read.
func isCredential(file string, info fs.FileInfo) bool {
	directory := os.Getenv("CREDENTIALS_DIRECTORY")
	return directory != "" && filepath.Dir(file) == filepath.Clean(directory) && info.Mode().Perm() == 0o440
}

// newMasterKeyLine makes a random key and returns its line.
func (o *Operator) newMasterKeyLine(id uint16) (string, error) {
	var key [oauth.MasterKeySize]byte
	if _, err := io.ReadFull(o.Rand, key[:]); err != nil {
		return "", fmt.Errorf("read randomness: %w", err)
	}
	return oauth.FormatKey(id, key[:]) + "\n", nil
}

// makeMasterKeyFile makes the file of a new installation. Where somebody else made
// it meanwhile, theirs stays.
func (o *Operator) makeMasterKeyFile(file string) error {
	line, err := o.newMasterKeyLine(1)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(file), ".master-key-") // mode 0600
	if err != nil {
		return misconfigured("the master key file cannot be made: %v", err)
	}
	defer func() { _ = os.Remove(f.Name()) }()
	err = writeDurably(f, masterKeyHeader+line)
	if err == nil {
		err = os.Link(f.Name(), file) // unlike Rename, never over another file
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return misconfigured("the master key file cannot be made: %v", err)
	}
	return syncDir(filepath.Dir(file))
}

// masterKeyLock is the file that becomes the next master key file. While it
// exists no other rotation begins.
type masterKeyLock struct {
	target string // the master key file itself, no symbolic link
	f      *os.File
	taken  bool // it has become the master key file
}

func lockMasterKeyFile(file string) (*masterKeyLock, error) {
	target, err := filepath.EvalSymlinks(file)
	if err != nil {
		return nil, misconfigured("the master key file cannot be read: %v", err)
	}
	next := target + ".new"
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil, misconfigured("there is a file %s: another rotation is at work, or was interrupted; in that case remove it", next)
	}
	if err != nil {
		return nil, misconfigured("the master key file cannot be written: %v", err)
	}
	return &masterKeyLock{target: target, f: f}, nil
}

// commit replaces the master key file, durably; its owner stays.
func (l *masterKeyLock) commit(text string) error {
	info, err := os.Stat(l.target)
	if err == nil {
		err = keepOwner(l.f, info)
	}
	if err == nil {
		err = writeDurably(l.f, text)
	}
	failpoint.Reach(failpoint.MasterKeyWaits)
	if err == nil {
		err = os.Rename(l.f.Name(), l.target)
	}
	if err != nil {
		return misconfigured("the master key file cannot be written: %v", err)
	}
	l.taken = true
	return syncDir(filepath.Dir(l.target))
}

// discard gives the lock up.
func (l *masterKeyLock) discard() {
	if l.taken {
		return
	}
	_ = l.f.Close()
	_ = os.Remove(l.f.Name())
}

func writeDurably(f *os.File, text string) error {
	_, err := f.WriteString(text)
	return errors.Join(err, f.Sync(), f.Close())
}

func syncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	return errors.Join(d.Sync(), d.Close())
}
