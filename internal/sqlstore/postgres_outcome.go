package sqlstore

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

// SQLSTATEs that decide what is done next (PostgreSQL documentation, appendix A).
const (
	serializationFailure = "40001"
	completionUnknown    = "40003"
	deadlockDetected     = "40P01"
	uniqueViolation      = "23505"
	readOnlyTransaction  = "25006"
	adminShutdown        = "57P01"
	crashShutdown        = "57P02"
	cannotConnectNow     = "57P03"
)

// outcome says what became of a statement that commits, from the error it ended with:
// nil, when it is durable; an error that says it did not happen; or
// oauth.ErrOutcomeUnknown. A COMMIT with a warning is not a durable one: it was
// "committed locally, but might not have been replicated to the standby".
func outcome(conn *pgx.Conn, err error) error {
	switch warning := conn.PgConn().CustomData()[warned]; {
	case err == nil && warning == nil, err != nil && didNotHappen(err):
		return err
	case err == nil:
		err = fmt.Errorf("warning: %v", warning)
	}
	return errors.Join(oauth.ErrOutcomeUnknown, err)
}

// didNotHappen reports whether an error says for sure that a statement had no effect:
// it was never sent, or the server refused it and lives on. The driver says that a
// connection is closed, and that it is safe to try again, also when it had sent
// everything and lost the connection while it waited for the answer.
func didNotHappen(err error) bool {
	var failure *pgconn.PgError
	if !errors.As(err, &failure) {
		return pgconn.SafeToRetry(err) && !errors.Is(err, pgconn.ErrConnClosed)
	}
	unsure := []string{completionUnknown, adminShutdown, crashShutdown, cannotConnectNow}
	return cmp.Or(failure.SeverityUnlocalized, failure.Severity) == "ERROR" &&
		!slices.Contains(unsure, failure.Code) && !strings.HasPrefix(failure.Code, "08") // connection exceptions
}

// transient reports whether a step that did not happen may succeed when it is run
// again. A unique violation may be one that another step caused at the same moment:
// one of the next runs will see its row.
func transient(err error, attempt int) bool {
	if errors.Is(err, oauth.ErrOutcomeUnknown) {
		return false
	}
	return hasCode(err, serializationFailure, deadlockDetected, readOnlyTransaction) ||
		attempt < mostDuplicates && hasCode(err, uniqueViolation)
}

// readOnly reports whether the server is no primary any more.
func readOnly(err error) bool { return hasCode(err, readOnlyTransaction) }

// hasCode reports whether the server sent an error with one of the codes.
func hasCode(err error, codes ...string) bool {
	var failure *pgconn.PgError
	return errors.As(err, &failure) && slices.Contains(codes, failure.Code)
}

// broken reports whether a connection cannot be used any more.
func broken(err error) bool {
	if err == nil {
		return false
	}
	var failure *pgconn.PgError
	if errors.As(err, &failure) {
		return !didNotHappen(err)
	}
	var network net.Error
	return errors.As(err, &network) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || pgconn.Timeout(err) ||
		errors.Is(err, net.ErrClosed) || errors.Is(err, pgconn.ErrConnClosed)
}

// warned is where a connection keeps the last warning it got.
const warned = "warning"

// rememberWarning is called for each notice of the server.
func rememberWarning(conn *pgconn.PgConn, notice *pgconn.Notice) {
	if cmp.Or(notice.SeverityUnlocalized, notice.Severity) == "WARNING" {
		conn.CustomData()[warned] = notice.Message
	}
}

func forgetWarning(conn *pgx.Conn) { delete(conn.PgConn().CustomData(), warned) }
