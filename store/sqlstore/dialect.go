package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/slipstream-ota/slipstream"
)

// Dialect is what differs between databases.
type Dialect struct {
	Name     string // of the dialect as goose calls it: "sqlite3" or "postgres"
	Numbered bool   // placeholders are $1, $2 … instead of ?
	// Explain turns a driver's error into one of the domain, with advice where there is any. It is never called with
	// nil.
	Explain func(error) error
}

func (d *Dialect) bind(query string) string {
	if !d.Numbered {
		return query
	}
	var b strings.Builder
	n := 0
	for part := range strings.SplitSeq(query, "?") {
		if n > 0 {
			b.WriteByte('$')
			b.WriteString(strconv.Itoa(n))
		}
		b.WriteString(part)
		n++
	}
	return b.String()
}

func (d *Dialect) explain(err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return d.Explain(err)
}

// querier is a *sql.Tx or a *sql.DB.
type querier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// conn runs queries written with ? placeholders.
type conn struct {
	q querier
	d *Dialect
}

func (c conn) exec(ctx context.Context, query string, args ...any) (int64, error) {
	res, err := c.q.ExecContext(ctx, c.d.bind(query), args...)
	if err != nil {
		return 0, c.d.explain(err)
	}
	n, err := res.RowsAffected()
	return n, c.d.explain(err)
}

// one scans a single row into dest; no row is slipstream.ErrNotFound.
func (c conn) one(ctx context.Context, query string, args []any, dest ...any) error {
	err := c.q.QueryRowContext(ctx, c.d.bind(query), args...).Scan(dest...)
	if errors.Is(err, sql.ErrNoRows) {
		return slipstream.ErrNotFound
	}
	return c.d.explain(err)
}

// scanner is a *sql.Row or *sql.Rows.
type scanner interface{ Scan(dest ...any) error }

func list[T any](ctx context.Context, c conn, scan func(scanner) (T, error), query string, args ...any) (out []T, err error) {
	rows, err := c.q.QueryContext(ctx, c.d.bind(query), args...)
	if err != nil {
		return nil, c.d.explain(err)
	}
	defer func() { err = c.d.explain(errors.Join(err, rows.Close())) }()
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, rows.Err()
}

func get[T any](ctx context.Context, c conn, scan func(scanner) (T, error), query string, args ...any) (T, error) {
	v, err := scan(c.q.QueryRowContext(ctx, c.d.bind(query), args...))
	if errors.Is(err, sql.ErrNoRows) {
		err = slipstream.ErrNotFound
	}
	return v, c.d.explain(err)
}

// micros and instant convert times; the zero time is 0.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func instant(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// bytesOf gives columns that are never NULL an empty value instead of none.
func bytesOf(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// orNil is bytesOf's way back.
func orNil(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return b
}

func about(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf(format+": %w", append(args, err)...)
}

// where collects conditions that may be absent.
type where struct {
	parts []string
	args  []any
}

func (w *where) add(cond string, arg any) {
	w.parts = append(w.parts, cond)
	w.args = append(w.args, arg)
}

func (w *where) addText(column, value string) {
	if value != "" {
		w.add(column+" = ?", value)
	}
}

func (w *where) sql() string {
	if len(w.parts) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(w.parts, " AND ")
}

func limit(n int) string {
	if n <= 0 {
		return ""
	}
	return " LIMIT " + strconv.Itoa(n)
}
