package main

// The checks that catch variants.
var (
	decision   = check{pkg: "internal/oauth", test: "TestPresent"}
	acts       = check{pkg: "internal/oauth", test: "TestActsBetweenLookAndWrite"}
	budget     = check{pkg: "internal/oauth", test: "TestRetryBudget"}
	recorded   = check{pkg: "internal/oauth", test: "TestRefusalIsRecordedFirst"}
	previous   = check{pkg: "internal/oauth", test: "TestPreviousAccessToken"}
	forgeries  = check{pkg: "internal/oauth", test: "TestRefreshTokenForgery"}
	vectors    = check{pkg: "internal/oauth", test: "TestRefreshTokenVectors"}
	inMemory   = check{pkg: "internal/memory", test: "TestStore"}
	commits    = check{pkg: "internal/sqlstore", test: "TestFailedCommit"}
	inSQLite   = check{pkg: "internal/sqlstore", test: "TestSQLite"}
	inPostgres = check{pkg: "internal/sqlstore", test: "TestPostgres/read_committed"}
	codes      = check{pkg: "internal/oauth", test: "TestCodeIsUsedOnce"}
	together   = check{pkg: "internal/oauth", test: "TestCodeTogether"}
	standby    = check{pkg: "test/cut", test: "TestStandbyIsMissing"}
	cuts       = check{pkg: "test/cut", test: "TestCutConnections"}
	primaries  = check{pkg: "test/failover", test: "TestTwoPrimaries"}
	lives      = check{pkg: "test/rotation", test: "TestStateMachineMemory"}
	livesSQL   = check{pkg: "test/rotation", test: "TestStateMachineSQLite"}
	edges      = check{pkg: "test/rotation", test: "TestWindowEdges"}
	nthStep    = check{pkg: "test/rotation", test: "TestNthStoreOperationFails"}
	model      = check{pkg: "docs/spec", test: "TestCodeFollowsModel"}
	powerCut   = check{pkg: "test/disk", test: "TestPowerCut"}
	disks      = check{pkg: "test/disk", test: "TestDiskFaults"}
	writes     = check{pkg: "test/disk", test: "TestFailedWrite"}
	crashes    = check{pkg: "test/crash", test: "TestCrashLoop"}
)

const (
	presentFile   = "internal/oauth/grant.go"
	refreshFile   = "internal/oauth/grant_refresh_token.go"
	codeFile      = "internal/oauth/grant_authorization_code.go"
	passwordFile  = "internal/oauth/grant_password.go"
	tokenFile     = "internal/oauth/refreshtoken.go"
	accessFile    = "internal/oauth/accesstoken.go"
	memoryFile    = "internal/memory/grants.go"
	sqlFile       = "internal/sqlstore/grants.go"
	committerFile = "internal/sqlstore/committer.go"
	sqliteFile    = "internal/sqlstore/sqlite.go"
	swapFile      = "internal/sqlstore/postgres_swap.go"
	outcomeFile   = "internal/sqlstore/postgres_outcome.go"
)

// variants are what the checks must catch.
var variants = []variant{
	{
		what:    "no compare-and-swap (memory)",
		changes: []change{{memoryFile, "g.Version != decided.Version || g.CurrentHash != decided.CurrentHash || ", ""}},
		checks:  []check{inMemory, model, lives},
	},
	{
		what:    "no compare-and-swap (SQL)",
		changes: []change{{sqliteFile, "WHERE id = $14 AND version = $15 AND current_hash = $16 AND", "WHERE id = $14 AND $15 = $15 AND $16 = $16 AND"}},
		checks:  []check{inSQLite, model, livesSQL},
	},
	{
		what: "siblings: each retry gets a successor of its own, and all of them work",
		changes: []change{
			{presentFile, "\tgot, ok := keys.hash(g.KeyID, g.ID, t.Generation, t.Secret)", "\tif behind == 0 {\n\t\treturn true\n\t}\n\tgot, ok := keys.hash(g.KeyID, g.ID, t.Generation, t.Secret)"},
			{refreshFile, "successor, ok := keys.next(g.KeyID, g.ID, g.Generation, g.SuccessorSalt,", "var salt [32]byte\n\t_, _ = io.ReadFull(s.Rand, salt[:])\n\tsuccessor, ok := keys.next(g.KeyID, g.ID, g.Generation, salt,"},
			{refreshFile, "!ok || hash != g.CurrentHash", "!ok || hash == g.CurrentHash"},
		},
		checks: []check{nthStep, lives, model, decision},
	},
	{
		what: "a replay judged on a second look: each look has its own time",
		changes: []change{
			{presentFile, "\tif l.Seen {\n\t\treturn l.At\n\t}\n", ""},
			{presentFile, "if l.Seen && v.Grant.Generation != l.Generation {", "if false {"},
		},
		checks: []check{decision, edges, model},
	},
	{
		what: "a replay judged on a second look: after an unknown outcome",
		changes: []change{
			{presentFile, "\tif l.Unknown {", "\tif false {"},
			{presentFile, " && !p.Looks.Unknown:", ":"},
		},
		checks: []check{decision, nthStep, model},
	},
	{
		what:    "a straggler is a replay: no late window",
		changes: []change{{presentFile, "open(elapsed, policy.LateWindow)", "open(elapsed, 0)"}},
		checks:  []check{decision, edges, lives, model},
	},
	{
		what:    "a retry window that never closes",
		changes: []change{{presentFile, "!open(elapsed, policy.RetryWindow)", "!open(0, policy.RetryWindow)"}},
		checks:  []check{decision, edges, lives, model},
	},
	{
		what:    "a revocation that conflicts (memory)",
		changes: []change{{memoryFile, "\tif g := s.grants[id]; g != nil && s.revoke(g, reason) {", "\tif g := s.grants[id]; g != nil && g.Retries > 0 {\n\t\treturn oauth.ErrConflict\n\t} else if g != nil && s.revoke(g, reason) {"}},
		checks:  []check{inMemory, lives, model},
	},
	{
		what:    "a revocation that conflicts (SQL)",
		changes: []change{{sqlFile, "WHERE id = $3 AND status <> 'revoked'`", "WHERE id = $3 AND status <> 'revoked' AND retries = 0`"}},
		checks:  []check{inSQLite, livesSQL, model},
	},
	{
		what:    "a replay is refused although its revocation failed",
		changes: []change{{refreshFile, "refusal.Reason, e); err != nil {\n\t\t\treturn faultOnly(\"revoke grant\"", "refusal.Reason, e); err != nil && f == nil {\n\t\t\treturn faultOnly(\"revoke grant\""}},
		checks:  []check{nthStep, model},
	},
	{
		what:    "a code can be redeemed twice (memory)",
		changes: []change{{memoryFile, "g.Version != n.Grant.Version || g.Status != oauth.GrantPending || g.CurrentHash != pendingHash ||", "false ||"}},
		checks:  []check{together, inMemory},
	},
	{
		what:    "a code can be redeemed twice (SQL)",
		changes: []change{{sqlFile, "WHERE id = $5 AND version = $6 AND current_hash = $7 AND status = 'pending'", "WHERE id = $5 AND $6 = $6 AND $7 = $7"}},
		checks:  []check{inSQLite},
	},
	{
		what:    "a code that comes again ends nothing",
		changes: []change{{codeFile, "\tcase errors.Is(refusal, ErrCodeUsed):", "\tcase errors.Is(refusal, ErrCodeUsed) && m.unknown:"}},
		checks:  []check{codes},
	},
	{
		what:    "a login whose outcome is unknown is looked at where nothing is durable",
		changes: []change{{passwordFile, "s.Store.ConfirmGrant(context.WithoutCancel(ctx), g.ID)", "s.Store.Grant(context.WithoutCancel(ctx), g.ID)"}},
		checks:  []check{standby},
	},
	{
		what:    "a refusal that was not recorded",
		changes: []change{{refreshFile, "if err := s.Store.RecordRefusal(ctx, e); err != nil {", "if err := s.Store.RecordRefusal(ctx, e); err != nil && f == nil {"}},
		checks:  []check{recorded, nthStep, lives, model},
	},
	{
		what:    "a swap that ignores the client's version (memory)",
		changes: []change{{memoryFile, "c != nil && c.Version == clientVersion", "c != nil"}},
		checks:  []check{acts, inMemory, model},
	},
	{
		what:    "a swap that ignores the client's version (SQL)",
		changes: []change{{sqlFile, "c.version = $4", "$4 = $4"}},
		checks:  []check{inSQLite, model},
	},
	{
		what:    "a swap that ignores the subject's epoch (memory)",
		changes: []change{{memoryFile, "u.Epoch == g.SubjectEpoch && ", ""}},
		checks:  []check{acts, inMemory, model},
	},
	{
		what:    "a swap that ignores the subject's epoch (SQL)",
		changes: []change{{sqlFile, "u.epoch = $2", "$2 = $2"}},
		checks:  []check{inSQLite, model},
	},
	{
		what:    "a swap that ignores the subject's state (memory)",
		changes: []change{{memoryFile, "u.Enabled && u.State == oauth.SubjectActive &&", "true &&"}},
		checks:  []check{acts, inMemory, model},
	},
	{
		what:    "a swap that ignores the subject's state (SQL)",
		changes: []change{{sqlFile, "u.enabled = 1 AND u.state = 'active' AND", ""}},
		checks:  []check{inSQLite, model},
	},
	{
		what:    "no compare-and-swap (PostgreSQL)",
		changes: []change{{swapFile, "g.version IS NOT DISTINCT FROM s.version AND g.current_hash IS NOT DISTINCT FROM s.old_hash AND ", ""}},
		checks:  []check{inPostgres},
	},
	{
		what:    "a swap that ignores the client's version (PostgreSQL)",
		changes: []change{{swapFile, "c.id = s.client_id AND c.deleted_at = 0) = s.client_version", "c.id = s.client_id AND c.deleted_at = 0) IS NOT NULL"}},
		checks:  []check{inPostgres},
	},
	{
		what:    "a swap that ignores the subject's epoch (PostgreSQL)",
		changes: []change{{swapFile, "u.deleted_at = 0) = s.subject_epoch", "u.deleted_at = 0) IS NOT NULL"}},
		checks:  []check{inPostgres},
	},
	{
		what:    "an unknown outcome is a good one (PostgreSQL)",
		changes: []change{{outcomeFile, "\treturn errors.Join(oauth.ErrOutcomeUnknown, err)\n", "\treturn nil\n"}, {outcomeFile, "err = fmt.Errorf(\"warning: %v\", warning)", "return errors.Join(oauth.ErrOutcomeUnknown, fmt.Errorf(\"warning: %v\", warning))"}},
		checks:  []check{cuts},
	},
	{
		what:    "a refusal on the word of a server that was replaced",
		changes: []change{{refreshFile, "\tif d.recorded() {\n\t\tv, err = s.look", "\tif d.Row == \"\" {\n\t\tv, err = s.look"}},
		checks:  []check{primaries},
	},
	{
		what:    "a retry without a write",
		changes: []change{{refreshFile, "if err := s.Store.RetryGrant(ctx, g, f.client.Version, f.policy.RetryBudget); err != nil {", "if false {"}},
		checks:  []check{budget, acts, lives, model},
	},
	{
		what: "scope checked before replay",
		changes: []change{{
			presentFile, "\tif d, refused := history(v, p, policy, keys); refused {",
			"\tif _, err := accessScope(p.Scope, v.Grant.Scope, policy); err != nil {\n\t\treturn refuse(\"S\", err)\n\t}\n\tif d, refused := history(v, p, policy, keys); refused {",
		}},
		checks: []check{decision, lives, model},
	},
	{
		what: "answered before COMMIT",
		changes: []change{
			{committerFile, "\tfailpoint.Reach(failpoint.BeforeCommit)\n", "\tanswer(batch, results, nil)\n\tfailpoint.Reach(failpoint.BeforeCommit)\n"},
			{committerFile, "\tfailpoint.Reach(failpoint.AfterCommit)\n\tanswer(batch, results, nil)\n", "\tfailpoint.Reach(failpoint.AfterCommit)\n"},
		},
		checks: []check{disks, powerCut, crashes},
	},
	{
		what:    "synchronous=OFF",
		changes: []change{{sqliteFile, `"synchronous(FULL)"`, `"synchronous(OFF)"`}},
		checks:  []check{powerCut},
	},
	{
		what:    "a failed COMMIT is no unknown outcome",
		changes: []change{{committerFile, "results[i] = errors.Join(oauth.ErrOutcomeUnknown, err)", "results[i] = err"}},
		checks:  []check{commits, writes},
	},
	{
		what:    "the previous access token stays alive",
		changes: []change{{accessFile, "c.Generation == g.Generation:", "c.Generation <= g.Generation:"}},
		checks:  []check{previous, lives},
	},
	{
		what:    "the tag is not checked",
		changes: []change{{tokenFile, "!hmac.Equal(tag[:], raw[refreshTokenTagged:refreshTokenSummed])", "!hmac.Equal(tag[:], tag[:])"}},
		checks:  []check{forgeries, lives},
	},
	{
		what:    "a generation that is not there yet revokes (Y2)",
		changes: []change{{presentFile, `return refuse("Y2", ErrGenerationUnknown), true`, `return revoke("Y2", ErrGenerationUnknown), true`}},
		checks:  []check{decision, lives},
	},
	{
		what:    "a forked history goes on (Y1)",
		changes: []change{{presentFile, `return revoke("Y1", ErrHistoryForked), true`, `return refuse("Y1", ErrHistoryForked), true`}},
		checks:  []check{decision, lives},
	},
	{
		what:    "the database keeps the refresh token itself",
		changes: []change{{tokenFile, `return refreshMAC(m.hash, "refresh-hash/v1", id, generation, nil, secret), true`, `_ = m.hash; return [32]byte(secret), true`}},
		checks:  []check{vectors},
	},
}
