// Package failpoint owns the names of the points at which a crash is tried, and how
// a process dies there. In the ordinary build its functions do nothing and are
// inlined to nothing. In a build with the tag `failpoints` a process kills itself
// with SIGKILL at the point that its environment names. When and why to crash, and
// what must hold afterwards, is left to test/crash.
package failpoint

// The environment of a process built with the tag `failpoints`. The names do not
// begin like those of settings, which the program would refuse.
const (
	// Variable holds the point to die at: "name", or "name:n" for the n-th time that
	// it is reached. Unset: nowhere.
	Variable = "FAILPOINT"
	// ReachedVariable holds the path of a file that the name is written to before
	// the process dies, so that it is known to have died there.
	ReachedVariable = "FAILPOINT_REACHED"
)

// The points of a refresh, a login and every other write.
const (
	BeforeSwap   = "before-swap"   // a rotation is decided and signed, its statement has not run
	BeforeCommit = "before-commit" // the statements of a batch have run, its COMMIT has not
	AfterCommit  = "after-commit"  // the batch is durable, nobody was told
	HalfAnswer   = "half-answer"   // half of the body with the new tokens has been sent
)

// The points of a revocation and of a clean-up.
const (
	RevokeGrant  = "revoke-grant"  // a replay: the grant is revoked, its event not yet recorded, nothing is committed
	RevokeGrants = "revoke-grants" // by an administrator: the rows are revoked, epoch or version not yet raised, nothing is committed
	ShutOut      = "shut-out"      // by an administrator: the epoch or version is raised too, nothing is committed
	DeleteGrant  = "delete-grant"  // a row of a clean-up's batch is deleted, nothing is committed
	CleanupPart  = "cleanup-part"  // one kind of thing is cleaned up, the next is not
)

// The points of a first start and of the changes of keys.
const (
	BeforeMigration   = "before-migration"    // there is a database file without a schema
	AfterMigration    = "after-migration"     // the schema is there, and nothing else
	MasterKeyMade     = "master-key-made"     // first start: the file is there, the database does not know its key
	BeforeSigningKeys = "before-signing-keys" // new signing keys are made, not saved
	AfterSigningKeys  = "after-signing-keys"  // they are saved, nobody uses them yet
	MasterKeyKnown    = "master-key-known"    // rotation: the database knows the new master key, the file does not have it
	MasterKeyWaits    = "master-key-waits"    // rotation: the next file is complete, but not in the place of the old one
	MasterKeyRotated  = "master-key-rotated"  // rotation: the file has the new master key, nothing is recorded or sealed under it
)

// Points lists all names.
var Points = []string{
	BeforeSwap, BeforeCommit, AfterCommit, HalfAnswer,
	RevokeGrant, RevokeGrants, ShutOut, DeleteGrant, CleanupPart,
	BeforeMigration, AfterMigration, MasterKeyMade, BeforeSigningKeys, AfterSigningKeys,
	MasterKeyKnown, MasterKeyWaits, MasterKeyRotated,
}
