package nodes

import (
	"encoding/base64"
	"encoding/binary"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/test/postgres"
	"github.com/counterfoil/counterfoil/test/program"
)

// TestAdministration: what the administrator does at one node holds at the very next
// request at the other, while other sessions are refreshed at both and notice nothing.
func TestAdministration(t *testing.T) {
	t.Parallel()
	database := postgres.Migrated(t)
	nodes := startNodes(t, 2, database)
	bystander := startChain(t, logIn(t, nodes[0], "bystander"), nodes...)
	for name, c := range map[string]struct {
		act  func(s *session, at *program.Program)
		want int
	}{
		"disable_user": {func(s *session, at *program.Program) { at.Run("", "user", "disable", s.user) }, http.StatusBadRequest},
		"change_password": {func(s *session, at *program.Program) {
			at.Run(password+"2\n", "user", "set-password", s.user, "--password-file", "-")
		}, http.StatusUnauthorized},
		"revoke_grants":     {func(s *session, at *program.Program) { at.Run("", "grant", "revoke", "--user", s.user) }, http.StatusUnauthorized},
		"deactivate_client": {func(s *session, at *program.Program) { at.Run("", "client", "deactivate", s.client.ID) }, http.StatusUnauthorized},
		"delete_client":     {func(s *session, at *program.Program) { at.Run("", "client", "delete", s.client.ID) }, http.StatusUnauthorized},
		"rotate_secret":     {rotateSecret, http.StatusUnauthorized},
	} {
		t.Run(name, func(t *testing.T) {
			s := logIn(t, nodes[0], name)
			s.refresh(t, nodes[0], http.StatusOK)
			s.refresh(t, nodes[1], http.StatusOK)
			c.act(s, nodes[0])
			s.refresh(t, nodes[1], c.want)
			s.refresh(t, nodes[0], c.want)
			if status := nodes[1].Userinfo(s.held.AccessToken); name != "rotate_secret" && status == http.StatusOK {
				t.Errorf("the access token still works at the other node")
			}
		})
	}
	if refused := bystander.end(); refused != 0 {
		t.Errorf("%d refreshes of a bystander were refused", refused)
	}
}

// rotateSecret gives the client another secret at once; the session keeps the old one.
func rotateSecret(s *session, at *program.Program) {
	at.Run("", "client", "rotate-secret", s.client.ID)
}

// TestMasterKeyRotation: a new master key reaches the other node with the file. Until
// then what was made under it is no forgery there: the client is told to come again.
func TestMasterKeyRotation(t *testing.T) {
	t.Parallel()
	for name, front := range fronts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			database := front(t, postgres.Migrated(t))
			here, there := newNode(t, database), newNode(t, database)
			here.Run("", "client", "list") // makes the master key
			bringKey(t, here, there)
			here.Start()
			there.Start()
			s := logIn(t, here, "user")
			s.refresh(t, there, http.StatusOK)
			here.Run("", "key", "rotate-master")
			eventually(t, 2*time.Second, "the server uses the new key", func() bool {
				s.refresh(t, here, http.StatusOK)
				return masterKeyOf(t, s.held.RefreshToken) == 2
			})
			s.refresh(t, there, http.StatusServiceUnavailable)
			bringKey(t, here, there)
			eventually(t, 2*time.Second, "the other node takes the new key over", func() bool {
				answer, err := there.Refresh(s.client, s.held.RefreshToken)
				if err != nil || answer.Status != http.StatusServiceUnavailable && answer.Status != http.StatusOK {
					t.Fatalf("refresh: %+v, %v", answer, err)
				}
				if answer.Status == http.StatusOK {
					s.held = answer
				}
				return answer.Status == http.StatusOK
			})
			s.refresh(t, here, http.StatusOK)
			there.Run("", "doctor")
		})
	}
}

// bringKey copies the master key file of a node to another.
func bringKey(t *testing.T, from, to *program.Program) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(from.Dir, "data", "master.key"))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(to.Dir, "data", "master.key")
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file+".new", content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}

// masterKeyOf is the id of the master key of a refresh token: cfr_, base64url of version
// 1 | key_id 2 | …
func masterKeyOf(t *testing.T, refreshToken string) int {
	t.Helper()
	content, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(refreshToken, "cfr_"))
	if err != nil || len(content) < 3 {
		t.Fatalf("a refresh token of %d octets: %v", len(content), err)
	}
	return int(binary.BigEndian.Uint16(content[1:]))
}

// TestSigningKeyRotation: a new signing key is published and used at the other node
// within a second, heard of or looked for.
func TestSigningKeyRotation(t *testing.T) {
	t.Parallel()
	for name, front := range fronts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nodes := startNodes(t, 2, front(t, postgres.Migrated(t)))
			s := logIn(t, nodes[0], "user")
			before := keyOf(t, s.held.AccessToken)
			nodes[0].Run("", "key", "rotate", "--now")
			eventually(t, time.Second, "the other node signs with the new key", func() bool {
				s.refresh(t, nodes[1], http.StatusOK)
				return keyOf(t, s.held.AccessToken) != before
			})
			for _, node := range nodes {
				if status := node.Userinfo(s.held.AccessToken); status != http.StatusOK {
					t.Errorf("an access token of the new key: status %d", status)
				}
			}
		})
	}
}
