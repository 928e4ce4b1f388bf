package admin

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/counterfoil/counterfoil/internal/failpoint"
	"github.com/counterfoil/counterfoil/internal/oauth"
)

// CheckMasterKeys compares the master keys with those this database was used
// with, before a server or a command begins to work: a node with a key of its own
// would take everybody's tokens for forgeries. A key that is new here is added; one
// that is neither here nor needed is forgotten. ErrConfiguration if a key is
// another one than the database knows, or is needed and not here.
func CheckMasterKeys(ctx context.Context, s Store, k *oauth.Keys) error {
	missing, err := compareMasterKeys(ctx, s, k)
	if err != nil || len(missing) == 0 {
		return err
	}
	use, err := s.MasterKeyUse(ctx)
	if err != nil {
		return outcome(err, "read use of master keys", "")
	}
	for _, id := range missing {
		if use[id] > 0 {
			return misconfigured("the database needs master key %d, which this installation does not have: %d grants, secrets and keys were made under it", id, use[id])
		}
		if err := s.RemoveMasterKeyCheck(ctx, id); err != nil {
			return outcome(err, "forget master key", "")
		}
	}
	return nil
}

// ReloadedMasterKeys compares the master keys that a running server has read again.
// It returns them, knowing which others the database has seen: a rotation that
// has not reached this node yet. ErrConfiguration as for CheckMasterKeys.
func ReloadedMasterKeys(ctx context.Context, s Store, k *oauth.Keys) (*oauth.Keys, error) {
	missing, err := compareMasterKeys(ctx, s, k)
	if err != nil {
		return nil, err
	}
	return k.Missing(missing), nil
}

// compareMasterKeys adds the checks of new keys and returns the ids, in order,
// that the database knows and k does not.
func compareMasterKeys(ctx context.Context, s Store, k *oauth.Keys) ([]uint16, error) {
	known, err := s.MasterKeyChecks(ctx)
	if err != nil {
		return nil, outcome(err, "read checks of master keys", "")
	}
	for _, id := range k.IDs() {
		check, _ := k.Check(id)
		was, there := known[id]
		if there && !bytes.Equal(was, check) {
			return nil, anotherMasterKey(id)
		}
		if there {
			continue
		}
		if err := addMasterKey(ctx, s, id, check); err != nil {
			return nil, err
		}
	}
	return slices.DeleteFunc(slices.Sorted(maps.Keys(known)), func(id uint16) bool {
		_, have := k.Check(id)
		return have
	}), nil
}

func addMasterKey(ctx context.Context, s Store, id uint16, check []byte) error {
	err := s.AddMasterKeyCheck(ctx, id, check)
	if errors.Is(err, oauth.ErrExists) {
		return anotherMasterKey(id)
	}
	return outcome(err, "add check of master key", "")
}

func anotherMasterKey(id uint16) error {
	return misconfigured("master key %d is not the one that this database was used with: every node needs the same master keys", id)
}

// OpenMasterKeys reads the master keys of an installation: from the text of a
// setting, or where that is empty from the file, which is made at first start. It
// checks them against the database (see CheckMasterKeys).
func (o *Operator) OpenMasterKeys(ctx context.Context, file string, text oauth.Secret) (*oauth.Keys, error) {
	keys, err := o.masterKeys(ctx, file, text)
	if err != nil {
		return nil, err
	}
	return keys, CheckMasterKeys(ctx, o.Store, keys)
}

func (o *Operator) masterKeys(ctx context.Context, file string, text oauth.Secret) (*oauth.Keys, error) {
	if text != "" {
		keys, err := oauth.ParseKeys(string(text))
		if err != nil {
			return nil, misconfigured("the setting master_key is wrong: %v", err)
		}
		return keys, nil
	}
	keys, err := ReadMasterKeys(file)
	if !errors.Is(err, errNoMasterKeyFile) {
		return keys, err
	}
	known, err := o.Store.MasterKeyChecks(ctx)
	if err != nil {
		return nil, outcome(err, "read checks of master keys", "")
	}
	if len(known) > 0 {
		return nil, misconfigured("there is no file %s, but the database was used with master keys: bring the file back, or copy it from another node", file)
	}
	if err := o.makeMasterKeyFile(file); err != nil {
		return nil, err
	}
	failpoint.Reach(failpoint.MasterKeyMade)
	return ReadMasterKeys(file)
}

// MasterKeyRotation is what a rotation of the master key did and left to do.
type MasterKeyRotation struct {
	KeyID  uint16         // the new active key
	File   string         // where it is
	Needed map[uint16]int // what still needs each key before it
}

// RotateMasterKey puts a new master key in front of the file. The database knows
// it first, so that no server refuses it. The file must then be brought to every
// node that has a copy; a key before it can be taken out when nothing needs it.
func (o *Operator) RotateMasterKey(ctx context.Context, file string) (MasterKeyRotation, error) {
	lock, err := lockMasterKeyFile(file)
	if err != nil {
		return MasterKeyRotation{}, err
	}
	defer lock.discard()
	id, text, err := o.nextMasterKey(ctx, lock.target)
	if err != nil {
		return MasterKeyRotation{}, err
	}
	keys, err := oauth.ParseKeys(text)
	if err != nil {
		return MasterKeyRotation{}, misconfigured("the file %s is wrong: %v", file, err)
	}
	check, _ := keys.Check(id)
	if err := addMasterKey(ctx, o.Store, id, check); err != nil {
		return MasterKeyRotation{}, err
	}
	failpoint.Reach(failpoint.MasterKeyKnown)
	if err := lock.commit(text); err != nil {
		return MasterKeyRotation{}, errors.Join(err, outcome(o.Store.RemoveMasterKeyCheck(ctx, id), "forget master key", ""))
	}
	failpoint.Reach(failpoint.MasterKeyRotated)
	e := o.event("master_key_rotated")
	e.Detail = "master key " + strconv.Itoa(int(id))
	if err := o.Store.RecordEvent(ctx, e); err != nil {
		return MasterKeyRotation{}, outcome(err, "record rotation of the master key", "")
	}
	use, err := o.Store.MasterKeyUse(ctx)
	return MasterKeyRotation{KeyID: id, File: lock.target, Needed: use}, outcome(err, "read use of master keys", "")
}

// nextMasterKey returns the text of the file with a new key in front. A key that
// only the database knows is one of another rotation: then this one stops.
func (o *Operator) nextMasterKey(ctx context.Context, file string) (uint16, string, error) {
	text, keys, err := readMasterKeyFile(file)
	if err != nil {
		return 0, "", err
	}
	missing, err := compareMasterKeys(ctx, o.Store, keys)
	if err != nil {
		return 0, "", err
	}
	if len(missing) > 0 {
		return 0, "", misconfigured("the database knows master key %d, which the file %s lacks: bring it here first", missing[0], file)
	}
	id := slices.Max(keys.IDs()) + 1
	for _, taken := keys.Check(id); taken || id == 0; _, taken = keys.Check(id) {
		id++
	}
	line, err := o.newMasterKeyLine(id)
	if err != nil {
		return 0, "", err
	}
	return id, prepend(text, line), nil
}

// prepend puts a line in front of the first key, below the comments at the top.
func prepend(text, line string) string {
	lines := strings.SplitAfter(text, "\n")
	at := slices.IndexFunc(lines, func(l string) bool {
		l = strings.TrimSpace(l)
		return l != "" && !strings.HasPrefix(l, "#")
	})
	return strings.Join(slices.Insert(lines, at, line), "")
}
