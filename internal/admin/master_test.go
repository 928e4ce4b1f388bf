package admin_test

import (
	"context"
	"crypto/rand"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/internal/admin"
	"github.com/counterfoil/counterfoil/internal/oauth"
)

// keyLine is a line of a master key file, of a key of its own.
func keyLine(t *testing.T, id uint16) string {
	t.Helper()
	key := make([]byte, oauth.MasterKeySize)
	_, _ = rand.Read(key)
	return oauth.FormatKey(id, key) + "\n"
}

func keysOf(t *testing.T, text string) *oauth.Keys {
	t.Helper()
	k, err := oauth.ParseKeys(text)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func write(t *testing.T, file, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// keyIDs are the master keys that the database knows.
func (b *bench) keyIDs(t *testing.T) []uint16 {
	t.Helper()
	checks, err := b.store.MasterKeyChecks(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var ids []uint16
	for id := range checks {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

func TestMasterKeyIsMadeAtFirstStart(t *testing.T) {
	t.Parallel()
	b, dir := newBench(t), t.TempDir()
	file := filepath.Join(dir, "master.key")
	k, err := b.OpenMasterKeys(t.Context(), file, "")
	if err != nil || k.Active() != 1 {
		t.Fatalf("got %v and error %v, want key 1", k, err)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("got mode %v and error %v, want 0600", info.Mode(), err)
	}
	if text := read(t, file); !strings.HasPrefix(text, "# ") || strings.Count(text, "\n") != 2 {
		t.Error("the file is not a comment and a key")
	}
	again, err := b.OpenMasterKeys(t.Context(), file, "")
	first, _ := k.Check(1)
	if second, _ := again.Check(1); err != nil || !slices.Equal(first, second) {
		t.Errorf("opened again: another key, or error %v", err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("got %v and error %v in the directory, want the file alone", entries, err)
	}
}

func TestMasterKeyIsNotMadeForAnOldDatabase(t *testing.T) {
	t.Parallel()
	b, file := newBench(t), filepath.Join(t.TempDir(), "master.key")
	if _, err := b.OpenMasterKeys(t.Context(), "", oauth.Secret(keyLine(t, 1))); err != nil {
		t.Fatal(err)
	}
	_, err := b.OpenMasterKeys(t.Context(), file, "")
	wantError(t, err, admin.ErrConfiguration, "bring the file back")
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("a file was made: %v", err)
	}
}

// TestMasterKeyIsACredential: a file that systemd hands to the service may have a group.
func TestMasterKeyIsACredential(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "master_key")
	if err := os.WriteFile(file, []byte(keyLine(t, 1)), 0o440); err != nil {
		t.Fatal(err)
	}
	_, err := admin.ReadMasterKeys(file)
	wantError(t, err, admin.ErrConfiguration, "has mode 0440")
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	if _, err := admin.ReadMasterKeys(file); err != nil {
		t.Error(err)
	}
	if err := os.Chmod(file, 0o444); err != nil {
		t.Fatal(err)
	}
	_, err = admin.ReadMasterKeys(file)
	wantError(t, err, admin.ErrConfiguration, "has mode 0444")
}

func TestReadMasterKeysRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, test := range []struct {
		name, text string
		mode       os.FileMode
		says       string
	}{
		{"group", keyLine(t, 1), 0o640, "has mode 0640, so that others can read it"},
		{"world", keyLine(t, 1), 0o604, "has mode 0604, so that others can read it"},
		{"empty", "# nothing\n", 0o600, "there is no master key in it"},
		{"malformed", "1 abc\n", 0o600, "the key is not 32 bytes"},
	} {
		file := filepath.Join(dir, test.name)
		write(t, file, test.text, test.mode)
		_, err := admin.ReadMasterKeys(file)
		wantError(t, err, admin.ErrConfiguration, test.says)
		if key := strings.Fields(test.text); strings.Contains(err.Error(), key[len(key)-1]) && test.name != "empty" {
			t.Errorf("%s: the error shows the key: %v", test.name, err)
		}
	}
	_, err := admin.ReadMasterKeys(dir)
	wantError(t, err, admin.ErrConfiguration, "is not a regular file")
	_, err = admin.ReadMasterKeys(filepath.Join(dir, "nothing"))
	wantError(t, err, admin.ErrConfiguration, "there is no master key file")
}

func TestMasterKeyFromASetting(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	k, err := b.OpenMasterKeys(t.Context(), "", oauth.Secret(keyLine(t, 7)+keyLine(t, 3)))
	if err != nil || k.Active() != 7 || !slices.Equal(b.keyIDs(t), []uint16{3, 7}) {
		t.Errorf("got %v, known %v and error %v", k, b.keyIDs(t), err)
	}
	_, err = b.OpenMasterKeys(t.Context(), "", "7 secretsecret")
	wantError(t, err, admin.ErrConfiguration, "the setting master_key is wrong: line 1")
	if strings.Contains(err.Error(), "secretsecret") {
		t.Error("the error shows the key")
	}
}

func TestAnotherMasterKeyIsRefused(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	if err := admin.CheckMasterKeys(t.Context(), b.store, keysOf(t, keyLine(t, 1))); err != nil {
		t.Fatal(err)
	}
	other := keysOf(t, keyLine(t, 1))
	wantError(t, admin.CheckMasterKeys(t.Context(), b.store, other), admin.ErrConfiguration, "master key 1 is not the one")
	_, err := admin.ReloadedMasterKeys(t.Context(), b.store, other)
	wantError(t, err, admin.ErrConfiguration, "master key 1 is not the one")
}

// late is a store that another node, with another key, was quicker at.
type late struct{ admin.Store }

func (late) MasterKeyChecks(context.Context) (map[uint16][]byte, error) { return nil, nil }

func TestTwoFirstStarts(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	if err := admin.CheckMasterKeys(t.Context(), b.store, keysOf(t, keyLine(t, 1))); err != nil {
		t.Fatal(err)
	}
	err := admin.CheckMasterKeys(t.Context(), late{b.store}, keysOf(t, keyLine(t, 1)))
	wantError(t, err, admin.ErrConfiguration, "master key 1 is not the one")
}

func TestMissingMasterKey(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	one, two := keyLine(t, 1), keyLine(t, 2)
	if err := admin.CheckMasterKeys(t.Context(), b.store, keysOf(t, one+two)); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.ReloadedMasterKeys(t.Context(), b.store, keysOf(t, two)); err != nil || len(b.keyIDs(t)) != 2 {
		t.Errorf("a reload: error %v and known %v, want no error and both", err, b.keyIDs(t))
	}
	b.grant(t, "g1", b.user(t, "alice"), b.client(t, oauth.Client{ID: "shop", Name: "x", Public: true})) // under key 1
	wantError(t, admin.CheckMasterKeys(t.Context(), b.store, keysOf(t, two)), admin.ErrConfiguration, "the database needs master key 1")
	if err := admin.CheckMasterKeys(t.Context(), b.store, keysOf(t, one)); err != nil {
		t.Errorf("without key 2, which nothing needs: %v", err)
	}
	if !slices.Equal(b.keyIDs(t), []uint16{1}) {
		t.Errorf("the database knows %v, want 1 alone", b.keyIDs(t))
	}
}

func TestRotateMasterKey(t *testing.T) {
	t.Parallel()
	b, dir := newBench(t), t.TempDir()
	file := filepath.Join(dir, "master.key")
	if _, err := b.OpenMasterKeys(t.Context(), file, ""); err != nil {
		t.Fatal(err)
	}
	before := strings.Split(read(t, file), "\n")
	b.grant(t, "g1", b.user(t, "alice"), b.client(t, oauth.Client{ID: "shop", Name: "x", Public: true}))
	rotation, err := b.RotateMasterKey(t.Context(), file)
	if err != nil || rotation.KeyID != 2 || rotation.Needed[1] != 1 {
		t.Fatalf("got %+v and error %v, want key 2, and key 1 needed once", rotation, err)
	}
	after := strings.Split(read(t, file), "\n")
	if after[0] != before[0] || !strings.HasPrefix(after[1], "2 ") || after[2] != before[1] {
		t.Error("the file is not the comment, the new key and the old one")
	}
	if info, err := os.Stat(file); err != nil || info.Mode() != 0o600 {
		t.Errorf("got mode %v and error %v, want 0600", info.Mode(), err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("got %v and error %v in the directory, want the file alone", entries, err)
	}
	if k, err := b.OpenMasterKeys(t.Context(), file, ""); err != nil || k.Active() != 2 || !slices.Equal(b.keyIDs(t), []uint16{1, 2}) {
		t.Errorf("got %v, known %v and error %v", k, b.keyIDs(t), err)
	}
}

func TestRotateMasterKeyKeepsASymbolicLink(t *testing.T) {
	t.Parallel()
	b, dir := newBench(t), t.TempDir()
	file, link := filepath.Join(dir, "real"), filepath.Join(dir, "master.key")
	write(t, file, keyLine(t, 65535)+keyLine(t, 1), 0o600)
	if err := os.Symlink("real", link); err != nil {
		t.Fatal(err)
	}
	rotation, err := b.RotateMasterKey(t.Context(), link)
	if err != nil || rotation.KeyID != 2 {
		t.Fatalf("got %+v and error %v, want the first free id, 2", rotation, err)
	}
	if target, err := os.Readlink(link); err != nil || target != "real" || !strings.HasPrefix(read(t, file), "2 ") {
		t.Errorf("the link leads to %q (%v), or its file is not rotated", target, err)
	}
}

func TestRotateMasterKeyRefuses(t *testing.T) {
	t.Parallel()
	b, file := newBench(t), filepath.Join(t.TempDir(), "master.key")
	_, err := b.RotateMasterKey(t.Context(), file)
	wantError(t, err, admin.ErrConfiguration, "cannot be read")
	write(t, file, keyLine(t, 1), 0o600)
	write(t, file+".new", "", 0o600)
	_, err = b.RotateMasterKey(t.Context(), file)
	wantError(t, err, admin.ErrConfiguration, "another rotation is at work")
	if err := os.Remove(file + ".new"); err != nil {
		t.Fatal(err)
	}
	if err := b.store.AddMasterKeyCheck(t.Context(), 9, make([]byte, 16)); err != nil {
		t.Fatal(err)
	}
	_, err = b.RotateMasterKey(t.Context(), file)
	wantError(t, err, admin.ErrConfiguration, "the database knows master key 9")
	if _, err := os.Stat(file + ".new"); !os.IsNotExist(err) {
		t.Errorf("the refused rotation left its file behind: %v", err)
	}
}
