package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func newDoctorCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look for what is wrong with the installation: files, database, keys, clock, settings",
		Long: `Look for what is wrong with the installation: files, database, keys, clock, settings.
The exit code is 1 if something is wrong; a warning is not.`,
		RunE: withDatabase(func(cmd *cobra.Command, _ []string, i *installation, p *printer) error {
			d := &doctor{installation: i}
			d.examine(cmd.Context())
			if err := p.list(finding{}, d.findings); err != nil {
				return err
			}
			if d.wrong > 0 {
				return fmt.Errorf("%d findings need attention", d.wrong)
			}
			return nil
		}),
	}
	addOutputFlag(cmd)
	addSettings(cmd)
	return cmd
}

// The results of an examination.
const (
	findingOK      = "ok"
	findingWarning = "warning"
	findingError   = "error"
)

// finding is what an examination found.
type finding struct {
	Check  string `json:"check"`
	Status string `json:"status"` // ok, warning or error
	Detail string `json:"detail"`
}

func (f finding) fields() []field {
	return []field{{"check", f.Check, "CHECK"}, {"status", f.Status, "STATUS"}, {"detail", f.Detail, "DETAIL"}}
}

// doctor examines an installation and writes down what it finds.
type doctor struct {
	*installation
	findings []record
	wrong    int
}

func (d *doctor) ok(check, detail string) {
	d.findings = append(d.findings, finding{check, findingOK, detail})
}

func (d *doctor) warn(check, format string, args ...any) {
	d.findings = append(d.findings, finding{check, findingWarning, fmt.Sprintf(format, args...)})
}

func (d *doctor) fail(check string, err error) {
	d.wrong++
	d.findings = append(d.findings, finding{check, findingError, strings.ReplaceAll(err.Error(), "\n", "; ")})
}

// judge notes an error, or that all is well.
func (d *doctor) judge(check string, err error, well string) bool {
	if err != nil {
		d.fail(check, err)
		return false
	}
	d.ok(check, well)
	return true
}

// examine goes from the outside in: without a sound database there is no use in
// looking for keys.
func (d *doctor) examine(ctx context.Context) {
	d.examineFiles()
	d.examineSettings()
	if !d.judge("database", d.Store.Check(ctx), "no damage found") {
		return
	}
	d.examineDurability(ctx)
	if !d.examineSchema(ctx) {
		return
	}
	d.examineClock(ctx)
	if d.examineMasterKeys(ctx) {
		d.examineSigningKeys(ctx)
	}
	d.examineClients(ctx)
}

func (d *doctor) examineSchema(ctx context.Context) bool {
	steps, err := d.Store.Migrations(ctx)
	if err == nil && pendingMigrations(steps) > 0 {
		err = fmt.Errorf("%d migrations are missing: run 'counterfoil migrate up', or restart the server", pendingMigrations(steps))
	}
	if err == nil {
		err = d.Store.Ready(ctx)
	}
	if !d.judge("schema", err, "up to date") {
		return false
	}
	return true
}

// examineDurability tells what an administrator should think about.
func (d *doctor) examineDurability(ctx context.Context) {
	advice, err := d.Store.Advice(ctx)
	if err != nil {
		d.fail("durability", err)
	}
	for _, line := range advice {
		d.warn("durability", "%s", line)
	}
}

// examineClock compares the clock of this machine, which dates access tokens, with
// that of the database, by which grants live; and with the past: nothing was migrated
// in the future.
func (d *doctor) examineClock(ctx context.Context) {
	here := utcNow()
	there, err := d.Store.Clock(ctx)
	if apart := there.Sub(here).Abs(); err == nil && apart > clockTolerance {
		err = fmt.Errorf("it is %s from the database's: set the clock of this machine", apart.Round(time.Second))
	}
	steps, stepsErr := d.Store.Migrations(ctx)
	for _, m := range steps {
		if m.AppliedAt.After(here.Add(clockTolerance)) {
			err = errors.New("it is behind the database, which was used later than now: set the clock of this machine")
		}
	}
	d.judge("clock", errors.Join(err, stepsErr), timestamp(here).String())
}
