package store

import (
	"context"
	"time"
)

// Evaluation is one look of the guard at a rollout: which lines of the trial log it took in, and what it made of them.
// With the log it can be run again.
type Evaluation struct {
	Rollout string
	N       int64 // 1, 2, 3 … without gaps
	At      time.Time
	// FromSeq and ToSeq: the lines of store.Trials with FromSeq < Seq <= ToSeq were taken in.
	FromSeq, ToSeq int64
	// SilentFrom and SilentTo: devices that enrolled in (SilentFrom, SilentTo] and had no end up to ToSeq counted as silent.
	SilentFrom, SilentTo time.Time
	Doc                  []byte // JSON object of package halt/watch: verdict, what was done
}

// Evidence keeps the guard's looks, in the transaction of what was done about them. It goes with its channel's policy: a
// row is deleted by Expire alone.
type Evidence interface {
	// Append keeps the next look and the state after it. ErrConflict unless N is one above the last: another node was
	// faster.
	Append(ctx context.Context, e Evaluation, state []byte) error
	// Last gives the newest look at a rollout with the state after it, or ErrNotFound.
	Last(ctx context.Context, rollout string) (Evaluation, []byte, error)
	// List gives the looks at a rollout from the first on, at most limit (0 = 100,000).
	List(ctx context.Context, rollout string, limit int) ([]Evaluation, error)
	// Expire deletes the looks of rollouts at which nobody has looked since t, and says how many rollouts those were.
	Expire(ctx context.Context, t time.Time) (int64, error)
}
