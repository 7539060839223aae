package postgres

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/slipstream-ota/slipstream"
)

// explainer gives a function that turns errors of the driver into errors of the domain. Hints name host, database and
// user of the connection, never the password.
func explainer(c *pgconn.Config) func(error) error {
	where := fmt.Sprintf("%s, database %q, user %q", net.JoinHostPort(c.Host, fmt.Sprint(c.Port)), c.Database, c.User)
	return func(err error) error {
		if errors.Is(err, context.Canceled) || errors.Is(err, slipstream.ErrUnavailable) {
			return err
		}
		var pg *pgconn.PgError
		if errors.As(err, &pg) {
			return explainCode(pg, err, where)
		}
		if lost(err) {
			return unavailable(err, "PostgreSQL does not answer at %s: is it running, and may this machine reach it?", where)
		}
		return err
	}
}

func unavailable(err error, hint string, args ...any) error {
	return slipstream.Hint(fmt.Errorf("%w: %w", slipstream.ErrUnavailable, err), hint, args...)
}

func lost(err error) bool {
	var connect *pgconn.ConnectError
	var network net.Error
	return errors.As(err, &connect) || errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, net.ErrClosed) || errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) || strings.Contains(err.Error(), "conn closed")
}

// explainCode follows https://www.postgresql.org/docs/current/errcodes-appendix.html.
func explainCode(pg *pgconn.PgError, err error, where string) error {
	switch {
	case pg.Code == "28P01" || pg.Code == "28000":
		return unavailable(err, "PostgreSQL refuses the login at %s: check user and password of the database URL, and pg_hba.conf", where)
	case pg.Code == "3D000":
		return unavailable(err, "make the database first (createdb); asked was %s", where)
	case pg.Code == "53300":
		return unavailable(err, "PostgreSQL at %s has no connections left: raise max_connections, or lower pool_max_conns in the database URL", where)
	case pg.Code == "53100":
		return unavailable(err, "the disk of PostgreSQL at %s is full", where)
	case pg.Code == "55P03":
		return unavailable(err, "another node has held the update lock for too long: look for a hanging slipstream in pg_stat_activity of %s", where)
	case pg.Code == "25006":
		return unavailable(err, "%s is a read-only standby: point the database URL at the primary", where)
	case pg.Code == "42501":
		return slipstream.Hint(err, "the user needs to own the schema, at %s", where)
	case strings.HasPrefix(pg.Code, "08"), strings.HasPrefix(pg.Code, "53"), strings.HasPrefix(pg.Code, "57P"):
		return unavailable(err, "PostgreSQL at %s is starting, stopping or overloaded: see its log", where)
	}
	return err
}

// again says whether a transaction lost a conflict that repeating resolves: deadlock or serialization failure.
func again(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code == "40P01" || pg.Code == "40001")
}
