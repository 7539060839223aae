package sqlite

import (
	"errors"
	"fmt"

	"modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	"github.com/slipstream-ota/slipstream"
)

// explain turns SQLite's result codes into errors of the domain (https://www.sqlite.org/rescode.html).
func explain(err error) error {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Code() & 0xff {
	case lib.SQLITE_BUSY, lib.SQLITE_LOCKED:
		return slipstream.Hint(fmt.Errorf("%w: %w", slipstream.ErrUnavailable, err),
			"another process holds the database's write lock; look for a second slipstream or an open sqlite3 shell on this file")
	case lib.SQLITE_FULL:
		return slipstream.Hint(fmt.Errorf("%w: %w", slipstream.ErrUnavailable, err), "the disk is full: make room where the database lies")
	case lib.SQLITE_READONLY, lib.SQLITE_CANTOPEN, lib.SQLITE_PERM, lib.SQLITE_AUTH:
		return slipstream.Hint(err, "the database file and its folder must be readable and writable for this user")
	case lib.SQLITE_IOERR:
		return slipstream.Hint(fmt.Errorf("%w: %w", slipstream.ErrUnavailable, err), "the disk under the database reports errors: check the system log")
	case lib.SQLITE_CORRUPT, lib.SQLITE_NOTADB:
		return slipstream.Hint(err, "the file is damaged or not a slipstream database: restore it from a backup")
	}
	return err
}
