package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"sync"

	"github.com/spf13/cobra"

	"github.com/counterfoil/counterfoil/internal/admin"
	"github.com/counterfoil/counterfoil/internal/oauth"
)

// importBatch is how many records are written at a time: they share the store's commits.
const importBatch = 256

// importOptions are the flags of an import.
type importOptions struct {
	format, report        string
	dryRun, ignoreUnknown bool
	skipExisting, update  bool
}

func newClientImportCommand() *cobra.Command {
	var o importOptions
	cmd := newImportCommand(&o, "clients", func(im *importer) {
		im.item = im.client
		im.columns = clientMembers.checkColumns
		im.bareText = "%d clients have no secret: they cannot authenticate before 'counterfoil client rotate-secret' gives them one"
	})
	cmd.Flags().BoolVar(&o.update, "update", false, "change clients that exist: what is given, and the secret only where one is given")
	return cmd
}

func newUserImportCommand() *cobra.Command {
	return newImportCommand(&importOptions{}, "users", func(im *importer) {
		im.item = im.user
		im.columns = userMembers.checkColumns
		im.bareText = "%d users have no password: they cannot log in before 'counterfoil user set-password' gives them one"
	})
}

// newImportCommand is a command that imports what prepare says how to.
func newImportCommand(o *importOptions, what string, prepare func(im *importer)) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Take " + what + " over from a file, or from standard input (-)",
		Long: `Take ` + what + ` over from a file, or from standard input (-): JSON objects, one a
line, an array of them as 'list -o json' prints it, or CSV whose first line names
the columns. Members are called as in 'list -o json', or as in OroCommerce's
database; hashes are taken over as they are. docs/importing.md tells more.

Each record is imported completely or not at all. What is refused is told on
standard error, and stops nothing else; the exit code is 1 then.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			format, err := importFormat(args[0], o.format)
			if o.skipExisting && o.update {
				err = usageError{errors.New("--skip-existing and --update exclude each other")}
			}
			if err != nil {
				return err
			}
			return withInstallation(func(cmd *cobra.Command, args []string, i *installation, p *printer) error {
				im := &importer{installation: i, importOptions: *o, printer: p, seen: map[string]int{}, hashing: make(chan struct{}, i.Config.PasswordConcurrency)}
				im.counts.DryRun = o.dryRun
				prepare(im)
				return im.importFile(cmd, args[0], format)
			})(cmd, args)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.format, "format", "", "json or csv; else the name of the file says it")
	flags.BoolVar(&o.dryRun, "dry-run", false, "check everything and change nothing")
	flags.BoolVar(&o.ignoreUnknown, "ignore-unknown", false, "leave out members and columns that mean nothing here, instead of refusing them")
	flags.BoolVar(&o.skipExisting, "skip-existing", false, "count who exists already as skipped, so that an import can be repeated")
	flags.StringVar(&o.report, "report", "", "file to write what was refused to, as JSON lines: line, id, reason")
	addOutputFlag(cmd)
	return cmd
}

// importer takes records over.
type importer struct {
	*installation
	importOptions
	printer  *printer
	item     func(importLine) importItem // reads a record
	columns  func(names []string, ignoreUnknown bool) error
	bareText string // warns of so many without a secret

	seen     map[string]int // by what nobody else may be called: the line that has it
	hashing  chan struct{}  // the turns of those who hash a password
	refused  *json.Encoder  // of --report; nil: none
	progress *importProgress
	counts   importRecord
	bare     int
}

// importItem is a record that was read, and what became of it.
type importItem struct {
	number int
	id     string   // for people
	names  []string // that nobody else may have
	bare   bool     // has no secret
	run    func(ctx context.Context) (importOutcome, error)

	outcome importOutcome
	err     error
	fault   bool // that err has nothing to do with the record
}

// importOutcome is what an import did with a record that it did not refuse.
type importOutcome int

const (
	wasImported importOutcome = iota
	wasUpdated
	wasSkipped
)

// importRecord is the report of an import.
type importRecord struct {
	Imported int  `json:"imported"`
	Updated  int  `json:"updated"`
	Skipped  int  `json:"skipped"`
	Refused  int  `json:"refused"`
	DryRun   bool `json:"dry_run"`
}

func (r importRecord) fields() []field {
	return []field{
		{name: "imported", text: strconv.Itoa(r.Imported)},
		{name: "updated", text: strconv.Itoa(r.Updated)},
		{name: "skipped", text: strconv.Itoa(r.Skipped)},
		{name: "refused", text: strconv.Itoa(r.Refused)},
		{name: "dry_run", text: yesNo(r.DryRun)},
	}
}

// importFile imports a file and reports.
func (im *importer) importFile(cmd *cobra.Command, name, format string) (err error) {
	in, size, err := openImport(cmd, name)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	closeReport, err := im.openReport(in)
	if err != nil {
		return err
	}
	im.progress = newImportProgress(im.printer.remarks, size)
	err = im.importAll(cmd.Context(), im.progress.reader(in), format)
	im.progress.end(err)
	err = errors.Join(err, closeReport())
	if im.bare > 0 {
		im.printer.warning(im.bareText, im.bare)
	}
	err = errors.Join(im.printer.one(im.counts), err)
	if err == nil && im.counts.Refused > 0 {
		err = fmt.Errorf("%d lines were refused", im.counts.Refused)
	}
	return err
}

// openImport opens what is imported; size is 0 where nobody knows it.
func openImport(cmd *cobra.Command, name string) (in io.ReadCloser, size int64, err error) {
	if name == "-" {
		return io.NopCloser(cmd.InOrStdin()), 0, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, 0, fmt.Errorf("import: %w", err)
	}
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
		size = info.Size()
	}
	return f, size, nil
}

// openReport makes the file of --report, which must not be the one that is imported.
func (im *importer) openReport(in io.Reader) (end func() error, err error) {
	if im.report == "" {
		return func() error { return nil }, nil
	}
	if f, ok := in.(*os.File); ok {
		imported, err := f.Stat()
		if report, reportErr := os.Stat(im.report); err == nil && reportErr == nil && os.SameFile(imported, report) {
			return nil, usageError{errors.New("--report is the file that is imported")}
		}
	}
	f, err := os.OpenFile(im.report, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("--report: %w", err)
	}
	im.refused = json.NewEncoder(f)
	im.refused.SetEscapeHTML(false)
	return f.Close, nil
}

// importAll imports record after record, some at a time, in the order of the file.
func (im *importer) importAll(ctx context.Context, in io.Reader, format string) error {
	source, err := newImportSource(in, format)
	if err != nil {
		return err
	}
	if s, ok := source.(*csvLines); ok {
		if err := im.columns(s.header, im.ignoreUnknown); err != nil {
			return fmt.Errorf("the columns: %w", err)
		}
	}
	for {
		batch, readErr := im.readBatch(source)
		process(context.WithoutCancel(ctx), batch) // a batch is finished in any case
		fault := im.settleAll(batch)
		switch {
		case fault != nil:
			return errors.Join(fault, errImportStopped)
		case errors.Is(readErr, io.EOF):
			return nil
		case readErr != nil:
			return fmt.Errorf("import: %w", readErr)
		case ctx.Err() != nil:
			return errImportStopped
		}
	}
}

var errImportStopped = errors.New("the import was stopped: the same command with --skip-existing goes on with it")

// readBatch reads records; those that cannot be imported come with the reason.
func (im *importer) readBatch(source importSource) ([]importItem, error) {
	var batch []importItem
	for len(batch) < importBatch {
		l, err := source.next()
		if err != nil {
			return batch, err
		}
		item := importItem{number: l.number, err: l.refusal}
		if item.err == nil {
			item = im.item(l)
		}
		for _, name := range item.names {
			if line, twice := im.seen[name]; twice && item.err == nil {
				item.err = fmt.Errorf("line %d has the same: %s", line, name)
			}
		}
		if item.err == nil {
			for _, name := range item.names {
				im.seen[name] = item.number
			}
		}
		batch = append(batch, item)
	}
	return batch, nil
}

// process imports the records of a batch all at once.
func process(ctx context.Context, batch []importItem) {
	var all sync.WaitGroup
	for i := range batch {
		if item := &batch[i]; item.err == nil {
			all.Go(func() {
				item.outcome, item.err = item.run(ctx)
				item.fault = isFault(item.err)
			})
		}
	}
	all.Wait()
}

// settleAll counts what became of the records of a batch. It returns the first fault.
func (im *importer) settleAll(batch []importItem) error {
	var fault error
	for i := range batch {
		if err := im.settle(&batch[i]); fault == nil {
			fault = err
		}
	}
	return fault
}

// settle counts what became of a record. It returns a fault.
func (im *importer) settle(item *importItem) error {
	switch {
	case item.err != nil:
		return im.refuse(item)
	case item.outcome == wasSkipped:
		im.counts.Skipped++
		return nil
	case item.outcome == wasUpdated:
		im.counts.Updated++
		return nil
	}
	im.counts.Imported++
	if item.bare {
		im.bare++
	}
	return nil
}

// refusedRecord is a line of --report.
type refusedRecord struct {
	Line   int    `json:"line"`
	ID     string `json:"id"`
	Reason string `json:"reason"`
}

// refuse tells why a record was refused. It returns the error of one that was not its own fault.
func (im *importer) refuse(item *importItem) error {
	r := refusedRecord{item.number, withoutHashes(item.id), withoutHashes(item.err.Error())}
	text := im.printer.cell(fmt.Sprintf("line %d: %s: %s", r.Line, cmp.Or(r.ID, "-"), r.Reason))
	if item.fault {
		return errors.New(text)
	}
	im.counts.Refused++
	im.progress.say(text)
	if im.refused == nil {
		return nil
	}
	if err := im.refused.Encode(r); err != nil {
		return fmt.Errorf("--report: %w", err)
	}
	return nil
}

// isFault reports whether a record failed for a reason that has nothing to do with it.
func isFault(err error) bool {
	own := []error{nil, admin.ErrUsage, oauth.ErrExists, oauth.ErrNotFound, oauth.ErrConflict}
	return !slices.ContainsFunc(own, func(kind error) bool { return errors.Is(err, kind) })
}

// secretLooking is what a hash looks like, or a client secret of OroCommerce.
var secretLooking = regexp.MustCompile(`\$(?:argon2|2[abxy]\$)[^\s"]*|[A-Za-z0-9+/_-]{86}(?:==)?`)

// withoutHashes takes out what got into the wrong member or column: reasons may repeat that.
func withoutHashes(reason string) string {
	return secretLooking.ReplaceAllLiteralString(reason, "[redacted]")
}

// client reads a record about a client.
func (im *importer) client(l importLine) importItem {
	c, err := parseClient(l.members, im.ignoreUnknown)
	return importItem{
		number: l.number, id: cmp.Or(c.ID, c.Name), names: []string{c.ID}, err: err,
		bare: !c.Public && len(c.Secrets) == 0 && c.secret == "",
		run:  func(ctx context.Context) (importOutcome, error) { return im.importClient(ctx, c) },
	}
}

func (im *importer) importClient(ctx context.Context, c *importedClient) (importOutcome, error) {
	defer im.turn(c.secret)()
	err := im.Operator.ImportClient(ctx, c.Client, c.secret, im.dryRun)
	switch {
	case errors.Is(err, oauth.ErrExists) && im.skipExisting:
		return wasSkipped, nil
	case errors.Is(err, oauth.ErrExists) && im.update:
		return wasUpdated, im.Operator.UpdateImportedClient(ctx, c.ID, c.change, c.secret, im.dryRun)
	}
	return wasImported, err
}

// user reads a record about a user.
func (im *importer) user(l importLine) importItem {
	u, err := parseUser(l.members, im.ignoreUnknown)
	names := []string{u.Username}
	if u.Email != "" && u.Email != u.Username {
		names = append(names, u.Email)
	}
	if u.ID != "" {
		names = append(names, u.ID)
	}
	return importItem{
		number: l.number, id: cmp.Or(u.Username, u.Email), names: names, err: err, bare: u.PasswordHash == "" && u.password == "",
		run: func(ctx context.Context) (importOutcome, error) { return im.importUser(ctx, u) },
	}
}

func (im *importer) importUser(ctx context.Context, u *importedUser) (importOutcome, error) {
	defer im.turn(u.password)()
	err := im.Operator.ImportUser(ctx, u.User, u.password, im.dryRun)
	if !errors.Is(err, oauth.ErrExists) || !im.skipExisting {
		return wasImported, err
	}
	if _, missing := im.Operator.User(ctx, u.Username); missing != nil {
		return wasImported, err // it is the e-mail address, or the subject, that somebody else has
	}
	return wasSkipped, nil
}

// turn waits until a password can be hashed, if there is one; the next one's turn comes
// when the function is called that it returns.
func (im *importer) turn(plain oauth.Secret) (end func()) {
	if plain == "" {
		return func() {}
	}
	im.hashing <- struct{}{}
	return func() { <-im.hashing }
}
