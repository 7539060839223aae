package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/store"
)

// Evidence implements store.Log.
func (l logs) Evidence() store.Evidence { return evidence(l) }

type evidence struct{ *Tx }

const evaluationColumns = `rollout, n, at, from_seq, to_seq, silent_from, silent_to, doc`

func scanEvaluation(s scanner) (store.Evaluation, error) {
	var e store.Evaluation
	var at, from, to int64
	err := s.Scan(&e.Rollout, &e.N, &at, &e.FromSeq, &e.ToSeq, &from, &to, &e.Doc)
	e.At, e.SilentFrom, e.SilentTo = instant(at), instant(from), instant(to)
	return e, err
}

func (v evidence) Append(ctx context.Context, e store.Evaluation, state []byte) error {
	var last int64
	err := v.one(ctx, `SELECT n FROM guard_states WHERE rollout = ?`, []any{e.Rollout}, &last)
	if err != nil && !errors.Is(err, slipstream.ErrNotFound) {
		return about(err, "last evidence of rollout %s", e.Rollout)
	}
	if e.N != last+1 {
		return fmt.Errorf("evidence %d of rollout %s after %d: %w", e.N, e.Rollout, last, slipstream.ErrConflict)
	}
	if _, err := v.write(ctx, `INSERT INTO evaluations (`+evaluationColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
		e.Rollout, e.N, micros(e.At), e.FromSeq, e.ToSeq, micros(e.SilentFrom), micros(e.SilentTo), bytesOf(e.Doc)); err != nil {
		return about(err, "keep evidence of rollout %s", e.Rollout)
	}
	_, err = v.write(ctx, `INSERT INTO guard_states (rollout, n, at, state) VALUES (?, ?, ?, ?)
		ON CONFLICT (rollout) DO UPDATE SET n = excluded.n, at = excluded.at, state = excluded.state`, e.Rollout, e.N, micros(e.At), bytesOf(state))
	return about(err, "keep state of rollout %s", e.Rollout)
}

func (v evidence) Last(ctx context.Context, rollout string) (store.Evaluation, []byte, error) {
	var state []byte
	var n int64
	if err := v.one(ctx, `SELECT n, state FROM guard_states WHERE rollout = ?`, []any{rollout}, &n, &state); err != nil {
		return store.Evaluation{}, nil, about(err, "evidence of rollout %s", rollout)
	}
	e, err := get(ctx, v.conn, scanEvaluation, `SELECT `+evaluationColumns+` FROM evaluations WHERE rollout = ? AND n = ?`, rollout, n)
	return e, state, about(err, "evidence of rollout %s", rollout)
}

func (v evidence) List(ctx context.Context, rollout string, n int) ([]store.Evaluation, error) {
	if n <= 0 {
		n = 100_000
	}
	out, err := list(ctx, v.conn, scanEvaluation, `SELECT `+evaluationColumns+` FROM evaluations WHERE rollout = ? ORDER BY n`+limit(n), rollout)
	return out, about(err, "evidence of rollout %s", rollout)
}

func (v evidence) Expire(ctx context.Context, t time.Time) (int64, error) {
	if _, err := v.write(ctx, `DELETE FROM evaluations WHERE rollout IN (SELECT rollout FROM guard_states WHERE at < ?)`, micros(t)); err != nil {
		return 0, about(err, "expire evidence")
	}
	n, err := v.write(ctx, `DELETE FROM guard_states WHERE at < ?`, micros(t))
	return n, about(err, "expire evidence")
}
