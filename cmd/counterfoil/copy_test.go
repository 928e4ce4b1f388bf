package main

import (
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/counterfoil/counterfoil/test/postgres"
)

// TestCopyScript runs the scripts that need a PostgreSQL: $POSTGRES is an empty database
// there.
func TestCopyScript(t *testing.T) {
	t.Parallel()
	server := postgres.Shared(t)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/copy",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("COUNTERFOIL_CONFIG", "")
			env.Setenv("COUNTERFOIL_DATA", filepath.Join(env.WorkDir, "data"))
			env.Setenv("COUNTERFOIL_LISTEN", "127.0.0.1:0")
			env.Setenv("COUNTERFOIL_ADMIN_LISTEN", "127.0.0.1:0")
			env.Setenv("COUNTERFOIL_PASSWORD_HASH", "argon2id,m=7168,t=1,p=1") // real hashes, but cheap
			env.Setenv("GORACE", "atexit_sleep_ms=0")                          // the race detector would wait a second at every end
			env.Setenv("POSTGRES", postgres.Database(t, server, ""))
			env.Values["server"] = &scriptServer{}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"start": cmdStart, "terminate": cmdTerminate, "exits": cmdExits, "http": cmdHTTP, "set": cmdSet,
		},
	})
}
