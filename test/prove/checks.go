package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// check is one line of the table: a test, or a fuzz target, of a package.
type check struct {
	what    string
	pkg     string  // its directory, from the root of the repository
	test    string  // TestX or FuzzX
	share   float64 // of the budget, in parts of the sum of all shares
	atLeast time.Duration
	race    bool // under the race detector
}

// checks is what is checked besides the parsers and the broken variants. A share is
// about what a check gets of ten minutes, in seconds.
var checks = []check{
	{what: "the decision, row by row", pkg: "internal/oauth", test: "TestPresent", share: 1},
	{what: "the protocol's model, all its states", pkg: "docs/spec", test: "TestModel", share: 40},
	{what: "broken models are refuted", pkg: "docs/spec", test: "TestBrokenModels", share: 30},
	{what: "the server follows the model", pkg: "docs/spec", test: "TestCodeFollowsModel", share: 40},
	{what: "random lives of a grant, in memory", pkg: "test/rotation", test: "TestStateMachineMemory", share: 30},
	{what: "random lives of a grant, in SQLite", pkg: "test/rotation", test: "TestStateMachineSQLite", share: 40},
	{what: "random lives of a grant, in PostgreSQL", pkg: "test/rotation", test: "TestStateMachinePostgres", share: 25},
	{what: "random lives of a grant, in PostgreSQL, serializable", pkg: "test/rotation", test: "TestStateMachineSerializable", share: 25},
	{what: "fuzzed lives of a grant", pkg: "test/rotation", test: "FuzzPresentAgainstStores", share: 40, atLeast: 5 * time.Second},
	{what: "the edges of the windows", pkg: "test/rotation", test: "TestWindowEdges", share: 5},
	{what: "the n-th step of the store fails", pkg: "test/rotation", test: "TestNthStoreOperationFails", share: 30},
	{what: "concurrent histories of several servers", pkg: "test/history", test: "TestHistories", share: 60, atLeast: 5 * time.Second},
	{what: "concurrent histories of several nodes on PostgreSQL", pkg: "test/history", test: "TestHistoriesOnPostgres", share: 50, atLeast: 5 * time.Second},
	{what: "connections to PostgreSQL that are cut, or lie", pkg: "test/cut", test: "TestCutConnections", share: 60, atLeast: 5 * time.Second},
	{what: "connections to PostgreSQL that are cut at every message", pkg: "test/cut", test: "TestEveryMessage", share: 20, atLeast: 5 * time.Second},
	{what: "a database that dies, and one whose standby is missing", pkg: "test/cut", test: "TestStandbyIsMissing", share: 10, atLeast: 5 * time.Second},
	{what: "two primaries, one of the past", pkg: "test/failover", test: "TestTwoPrimaries", share: 35, atLeast: 5 * time.Second},
	{what: "killed anywhere", pkg: "test/crash", test: "TestCrashLoop", share: 70, atLeast: 5 * time.Second},
	{what: "false histories are seen through", pkg: "test/history", test: "TestFalsifiedHistories", share: 2},
	{what: "broken histories are seen through", pkg: "test/history", test: "TestBrokenHistories", share: 2},
	{what: "power cuts", pkg: "test/disk", test: "TestPowerCut", share: 40, atLeast: 2 * time.Second},
	{what: "power cuts after failed writes", pkg: "test/disk", test: "TestPowerCutAfterFaults", share: 10},
	{what: "a disk that loses writes is seen through", pkg: "test/disk", test: "TestPowerCutSeesLostWrites", share: 5},
	{what: "full disks", pkg: "test/disk", test: "TestFullDisk", share: 5},
	{what: "slow disks", pkg: "test/disk", test: "TestSlowDisk", share: 5},
	{what: "disks that fail", pkg: "test/disk", test: "TestDiskFaults", share: 25, atLeast: 2 * time.Second},
	{what: "what a failed write says, and did", pkg: "test/disk", test: "TestFailedWrite", share: 10},
	{what: "clocks that jump", pkg: "test/disk", test: "TestClockJumps", share: 10},
	{what: "a stopped holder of the lock", pkg: "test/disk", test: "TestStoppedLockHolder", share: 10},
	{what: "a stopped server", pkg: "test/disk", test: "TestStoppedServer", share: 5},
	{what: "the promises of the store, in memory", pkg: "internal/memory", test: "TestStore", share: 5, race: true},
	{what: "the promises of the store, in SQLite", pkg: "internal/sqlstore", test: "TestSQLite", share: 15, race: true},
	{what: "the promises of the store, in PostgreSQL", pkg: "internal/sqlstore", test: "TestPostgres", share: 30, race: true},
}

// What the parsers share, and what the broken variants do.
const (
	parsersShare  = 80
	variantsShare = 150
)

func (c *check) fuzz() bool { return strings.HasPrefix(c.test, "Fuzz") }

// repeat is the command that runs the check again.
func (c *check) repeat() string {
	if c.fuzz() {
		return fmt.Sprintf("go test -run '^%s$' ./%s", c.test, c.pkg)
	}
	race := ""
	if c.race {
		race = "-race "
	}
	return fmt.Sprintf("go test %s-count=1 -run '^%s$' ./%s", race, c.test, c.pkg)
}

var fuzzTarget = regexp.MustCompile(`(?m)^func (Fuzz\w+)\(\w+ \*testing\.F\)`)

// parsers are the checks of all fuzz targets below root that have no line of their own.
func parsers(root string) ([]check, error) {
	var found []check
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(root, filepath.Dir(path))
		for _, m := range fuzzTarget.FindAllStringSubmatch(string(text), -1) {
			c := check{what: "fuzz " + filepath.Base(dir) + "." + m[1], pkg: filepath.ToSlash(dir), test: m[1], atLeast: 2 * time.Second}
			if !slices.ContainsFunc(checks, func(o check) bool { return o.pkg == c.pkg && o.test == c.test }) {
				found = append(found, c)
			}
		}
		return err
	})
	for i := range found {
		found[i].share = parsersShare / float64(len(found))
	}
	return found, err
}
