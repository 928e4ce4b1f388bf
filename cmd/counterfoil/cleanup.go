package main

import (
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/counterfoil/counterfoil/internal/admin"
	"github.com/counterfoil/counterfoil/internal/config"
	"github.com/counterfoil/counterfoil/internal/oauth"
)

// deadFor is how long the row of a grant outlives the grant where the server cleans
// up by itself, so that what is presented of it can still be told apart.
const deadFor = 24 * time.Hour

// cleanupOf is the clean-up by the settings.
func cleanupOf(c *config.Config, deadFor time.Duration) admin.Cleanup {
	return admin.Cleanup{DeadFor: deadFor, Told: max(oauth.LongestForgotten, c.AccessTokenLifetime) + time.Minute, Events: c.EventRetention}
}

func newCleanupCommand() *cobra.Command {
	var dryRun bool
	var over time.Duration
	cmd := &cobra.Command{
		Use:   "cleanup",
		Short: "Delete what is over: grants, sessions, secrets, counters, old events. The server does so by itself",
		RunE: withInstallation(func(cmd *cobra.Command, _ []string, i *installation, p *printer) error {
			what := cleanupOf(i.Config, over)
			what.DryRun = dryRun
			removed, err := i.Operator.Cleanup(cmd.Context(), what)
			if err != nil {
				return err
			}
			return p.one(removedRecord(removed))
		}),
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only count what would be deleted")
	cmd.Flags().DurationVar(&over, "dead-for", 0, "spare grants that ended less than this ago; the server spares a day")
	addOutputFlag(cmd)
	return cmd
}

// removedRecord says how many of what were deleted.
type removedRecord admin.Removed

func (r removedRecord) fields() []field {
	return []field{
		{name: "grants", text: strconv.Itoa(r.Grants)},
		{name: "events", text: strconv.Itoa(r.Events)},
		{name: "failures", text: strconv.Itoa(r.Failures)},
		{name: "secrets", text: strconv.Itoa(r.Secrets)},
		{name: "sessions", text: strconv.Itoa(r.Sessions)},
	}
}
