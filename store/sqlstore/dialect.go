// Package sqlstore is the part of store/sqlite and store/postgres that is the same: the tables behind store.Tx, the
// queries of the outcome log, running migrations and telling changes. It speaks database/sql; what differs between the
// two databases is a Dialect value.
//
// Conventions of the schema: instants are integers, microseconds since 1970 UTC, 0 for the zero time.Time; documents are
// bytes as they came; conditions that would break a constraint are looked up first, so that an ErrConflict never
// aborts the surrounding transaction (PostgreSQL would).
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

// addAny wants column to be one of values, unless there are none.
func (w *where) addAny(column string, values []string) {
	if len(values) == 0 {
		return
	}
	w.parts = append(w.parts, column+" IN ("+strings.Repeat("?, ", len(values)-1)+"?)")
	for _, v := range values {
		w.args = append(w.args, v)
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

// insertRows runs head + the rows + tail, many rows at a time: in a few sizes only, so that a prepared statement is
// found again. It says how many rows were written.
func (c conn) insertRows(ctx context.Context, head, tail string, rows [][]any) (int64, error) {
	var total int64
	for size := 128; len(rows) > 0; {
		if len(rows) < size {
			size /= 2
			continue
		}
		width := len(rows[0])
		row := "(" + strings.Repeat("?, ", width-1) + "?)"
		args := make([]any, 0, size*width)
		for _, r := range rows[:size] {
			args = append(args, r...)
		}
		n, err := c.exec(ctx, head+" VALUES "+strings.Repeat(row+", ", size-1)+row+" "+tail, args...)
		if err != nil {
			return total, err
		}
		total += n
		rows = rows[size:]
	}
	return total, nil
}

// inChunks calls fn with "column IN (…)" and its arguments for all keys.
func inChunks[T any](keys []T, column string, fn func(cond string, args []any) error) error {
	for size := 256; len(keys) > 0; {
		if len(keys) < size {
			size /= 2
			continue
		}
		args := make([]any, size)
		for i, k := range keys[:size] {
			args[i] = k
		}
		if err := fn(column+" IN ("+strings.Repeat("?, ", size-1)+"?)", args); err != nil {
			return err
		}
		keys = keys[size:]
	}
	return nil
}
