package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/counterfoil/counterfoil/internal/signing"
)

func newKeyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Manage the keys that sign access tokens, and the master key",
		Long: `Manage the keys that sign access tokens, and the master key that protects them and
every refresh token. A running server follows within a second.`,
	}
	cmd.AddCommand(newKeyPublicCommand(), newKeyListCommand(), newKeyRotateCommand(), newKeyImportCommand(), newKeyRotateMasterCommand())
	return cmd
}

// withRing is the frame of a command that works on the signing keys.
func withRing(run func(cmd *cobra.Command, args []string, i *installation, ring *signing.Ring, p *printer) error) func(*cobra.Command, []string) error {
	return withInstallation(func(cmd *cobra.Command, args []string, i *installation, p *printer) error {
		ring, err := openRing(cmd.Context(), i)
		if err != nil {
			return err
		}
		return run(cmd, args, i, ring, p)
	})
}

func newKeyListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the signing keys that are published or will be",
		RunE: withRing(func(_ *cobra.Command, _ []string, _ *installation, ring *signing.Ring, p *printer) error {
			var records []record
			for _, k := range ring.List() {
				records = append(records, keyRecord(k))
			}
			return p.list(keyRecord{}, records)
		}),
	}
	addOutputFlag(cmd)
	return cmd
}

func newKeyRotateCommand() *cobra.Command {
	var now, withdraw bool
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Let the next signing key take over, and make one for the time after",
		Long: `Let the next signing key of an algorithm take over, and make one for the time after.
The old key stays published until the last access token that it signed has expired.`,
		RunE: withRing(func(cmd *cobra.Command, _ []string, i *installation, ring *signing.Ring, p *printer) error {
			lifetime, err := longestTokenLifetime(cmd.Context(), i)
			if err != nil {
				return err
			}
			alg, _ := cmd.Flags().GetString("alg")
			if alg == "" {
				alg = i.Config.SigningAlg
			}
			rotation, err := ring.Rotate(cmd.Context(), alg, signing.RotateOptions{Now: now, Withdraw: withdraw, TokenLifetime: lifetime, Actor: i.Operator.Actor})
			if err != nil {
				return err
			}
			if rotation.At.After(time.Now()) {
				p.remark("The next key takes over at %s, when everybody has seen it; --now does not wait.", timestamp(rotation.At))
			}
			return p.one(rotationRecord(rotation))
		}),
	}
	cmd.Flags().String("alg", "", "algorithm whose keys to rotate (default: the setting signing_alg)")
	cmd.Flags().BoolVar(&now, "now", false, "at once, in an emergency, although resource servers may not know the next key yet")
	cmd.Flags().BoolVar(&withdraw, "withdraw", false, "the key leaked: at once, and every access token it signed is refused from now on")
	addOutputFlag(cmd)
	return cmd
}

func newKeyImportCommand() *cobra.Command {
	var alg string
	var activate bool
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Import a private key in PEM format as the next signing key",
		Args:  cobra.ExactArgs(1),
		RunE: withRing(func(cmd *cobra.Command, args []string, i *installation, ring *signing.Ring, p *printer) error {
			pem, err := os.ReadFile(args[0])
			if err != nil {
				return err
			}
			lifetime, err := longestTokenLifetime(cmd.Context(), i)
			if err != nil {
				return err
			}
			status, err := ring.Import(cmd.Context(), pem, signing.ImportOptions{Alg: alg, Activate: activate, TokenLifetime: lifetime, Actor: i.Operator.Actor})
			if err != nil {
				return err
			}
			return p.one(keyRecord(status))
		}),
	}
	cmd.Flags().StringVar(&alg, "alg", "", "algorithm to sign with (default: by the key, RS256 for RSA)")
	cmd.Flags().BoolVar(&activate, "activate", false, "sign with it at once, although resource servers may not know it yet")
	addOutputFlag(cmd)
	return cmd
}

func newKeyRotateMasterCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rotate-master",
		Short: "Put a new master key in front of the file",
		Long: `Put a new master key in front of the master key file, and seal the signing keys under
it. Bring the file to every node that has a copy of its own. An old key can be taken
out of the file when nothing needs it any more.`,
		RunE: withRing(rotateMaster),
	}
	addOutputFlag(cmd)
	return cmd
}

func rotateMaster(cmd *cobra.Command, _ []string, i *installation, ring *signing.Ring, p *printer) error {
	if i.Config.MasterKey != "" {
		return configurationError{errors.New("the setting master_key is the key itself, not a file that could be changed: put a line with a new key in front where it is kept")}
	}
	rotation, err := i.Operator.RotateMasterKey(cmd.Context(), i.Config.MasterKeyPath())
	if err != nil {
		return err
	}
	keys, err := i.Operator.OpenMasterKeys(cmd.Context(), i.Config.MasterKeyPath(), "")
	if err != nil {
		return err
	}
	i.keys.Store(keys)
	if err := ring.Reseal(cmd.Context(), i.Operator.Actor); err != nil {
		return err
	}
	use, err := i.Store.MasterKeyUse(cmd.Context())
	if err != nil {
		return err
	}
	return p.one(masterKeyRecord{KeyID: rotation.KeyID, File: rotation.File, Needed: use})
}

// openRing opens the signing keys; the first start makes or imports one.
func openRing(ctx context.Context, i *installation) (*signing.Ring, error) {
	pem, err := privateKey(ctx, i)
	if err != nil {
		return nil, err
	}
	ring, err := signing.Open(ctx, signing.Options{
		Store: i.Store, Keys: i.Keys, Now: time.Now, Rand: rand.Reader, Alg: i.Config.SigningAlg, ImportPEM: pem,
	})
	if errors.Is(err, signing.ErrSealed) || err != nil && len(pem) > 0 {
		return nil, configurationError{err}
	}
	return ring, err
}

// privateKey is the key to import, where there are none yet: afterwards its file
// is not needed.
func privateKey(ctx context.Context, i *installation) ([]byte, error) {
	if i.Config.PrivateKey == "" && i.Config.PrivateKeyFile == "" {
		return nil, nil
	}
	keys, _, err := i.Store.SigningKeys(ctx)
	if err != nil || len(keys) > 0 {
		return nil, err
	}
	if i.Config.PrivateKeyFile == "" {
		return []byte(i.Config.PrivateKey), nil
	}
	pem, err := os.ReadFile(i.Config.PrivateKeyFile)
	if err != nil {
		return nil, configurationError{fmt.Errorf("private_key: the file cannot be read: %w", err)}
	}
	return pem, nil
}

// leastTokenLifetime is reckoned with in any case: the server may have been started
// with a setting that this command does not see.
const leastTokenLifetime = 24 * time.Hour

// longestTokenLifetime is how long an access token of any client may live.
func longestTokenLifetime(ctx context.Context, i *installation) (time.Duration, error) {
	clients, err := i.Operator.Clients(ctx)
	longest := max(i.Config.AccessTokenLifetime, leastTokenLifetime)
	for _, c := range clients {
		longest = max(longest, c.AccessTokenLifetime)
	}
	return longest, err
}

// keyRecord is a signing key.
type keyRecord signing.Status

func (r keyRecord) fields() []field {
	return []field{
		{"kid", r.ID, "KID"},
		{"alg", r.Alg, "ALG"},
		{"status", string(r.State), "STATUS"},
		{"published_at", timestamp(r.PublishedAt).String(), "PUBLISHED"},
		{"active_at", timestamp(r.ActiveAt).String(), "ACTIVE"},
		{"retired_at", timestamp(r.RetiredAt).String(), "RETIRED"},
		{"expires_at", timestamp(r.ExpiresAt).String(), "EXPIRES"},
		{"master_key_id", strconv.Itoa(int(r.MasterKeyID)), ""},
	}
}

// rotationRecord is what a rotation did.
type rotationRecord signing.Rotation

func (r rotationRecord) fields() []field {
	return []field{
		{"alg", r.Alg, ""},
		{"active_kid", r.ActiveID, ""},
		{"active_at", timestamp(r.At).String(), ""},
		{"retired_kid", r.RetiredID, ""},
		{"retired_until", timestamp(r.RetiredUntil).String(), ""},
		{"next_kid", r.NextID, ""},
	}
}

// masterKeyRecord is a rotation of the master key.
type masterKeyRecord struct {
	KeyID  uint16         `json:"master_key_id"`
	File   string         `json:"file"`
	Needed map[uint16]int `json:"needed"` // by key: how many grants, secrets and signing keys need it
}

func (r masterKeyRecord) fields() []field {
	fields := []field{{"master_key_id", strconv.Itoa(int(r.KeyID)), ""}, {"file", r.File, ""}}
	for _, id := range sortedKeys(r.Needed) {
		if id != r.KeyID {
			fields = append(fields, field{"needed", fmt.Sprintf("key %d by %d grants, secrets and signing keys", id, r.Needed[id]), ""})
		}
	}
	return fields
}

func sortedKeys(m map[uint16]int) []uint16 { return slices.Sorted(maps.Keys(m)) }
