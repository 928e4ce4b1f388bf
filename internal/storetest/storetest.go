package storetest

import (
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/admin"
	"github.com/counterfoil/counterfoil/internal/feed"
	"github.com/counterfoil/counterfoil/internal/password"
	"github.com/counterfoil/counterfoil/internal/signing"
)

// Store is all that is stored.
type Store interface {
	admin.Store
	signing.Store
	password.Users
	feed.Store
}

// Opener opens an empty store that takes its time from now and closes with the test.
type Opener func(t *testing.T, now func() time.Time) Store

// testCase is one promise, checked on a store of its own.
type testCase struct {
	name string
	run  func(*fixture)
}

// Run holds a store to its promises. The clock that it gives to open does not run
// by itself, is not in UTC and has nanoseconds.
func Run(t *testing.T, open func(t *testing.T, now func() time.Time) Store) {
	for _, theme := range []struct {
		name  string
		cases []testCase
	}{
		{"clients", clientCases},
		{"users", userCases},
		{"grants", grantCases},
		{"codes", codeCases},
		{"sessions", sessionCases},
		{"swaps", swapCases},
		{"retries", retryCases},
		{"revocations", revocationCases},
		{"events", eventCases},
		{"failures", failureCases},
		{"keys", keyCases},
		{"cleanup", cleanupCases},
		{"feed", feedCases},
		{"identifiers", identifierCases},
		{"races", raceCases},
	} {
		t.Run(theme.name, func(t *testing.T) {
			t.Parallel()
			for _, c := range theme.cases {
				t.Run(c.name, func(t *testing.T) {
					t.Parallel()
					c.run(newFixture(t, open))
				})
			}
		})
	}
}
