// Package sqlstore is the part of store/sqlite and store/postgres that is the same: the tables behind store.Tx, the
// queries of the outcome log, running migrations and telling changes. It speaks database/sql; what differs between the
// two databases is a Dialect value.
//
// Conventions of the schema: instants are integers, microseconds since 1970 UTC, 0 for the zero time.Time; documents are
// bytes as they came; conditions that would break a constraint are looked up first, so that an ErrConflict never
// aborts the surrounding transaction (PostgreSQL would).
package sqlstore
