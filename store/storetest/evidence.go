package storetest

import (
	"context"
	"errors"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/store"
)

func look(rollout string, n int64) store.Evaluation {
	return store.Evaluation{Rollout: rollout, N: n, At: at(int(n)), FromSeq: 10 * (n - 1), ToSeq: 10 * n, SilentFrom: at(int(n) - 1), SilentTo: at(int(n)), Doc: []byte(`{"n":1}`)}
}

var evidenceCases = []contract{
	{"looks are kept in order, the newest with its state", func(e *env) {
		e.update(func(ctx context.Context, tx store.Tx) error {
			v := tx.Log().Evidence()
			return errors.Join(v.Append(ctx, look("r1", 1), []byte("s1")), v.Append(ctx, look("r1", 2), []byte("s2")), v.Append(ctx, look("r2", 1), []byte("other")))
		})
		e.view(func(ctx context.Context, tx store.Tx) error {
			last, state, err := tx.Log().Evidence().Last(ctx, "r1")
			e.same(last, look("r1", 2), "last look")
			e.same(string(state), "s2", "state after it")
			all, err2 := tx.Log().Evidence().List(ctx, "r1", 0)
			e.same(all, []store.Evaluation{look("r1", 1), look("r1", 2)}, "all looks")
			first, err3 := tx.Log().Evidence().List(ctx, "r1", 1)
			e.same(first, []store.Evaluation{look("r1", 1)}, "the first look")
			_, _, none := tx.Log().Evidence().Last(ctx, "r3")
			e.want(none, slipstream.ErrNotFound, "a rollout that nobody looked at")
			return errors.Join(err, err2, err3)
		})
	}},
	{"of two nodes one is faster", func(e *env) {
		e.update(func(ctx context.Context, tx store.Tx) error {
			return tx.Log().Evidence().Append(ctx, look("r1", 1), nil)
		})
		for _, n := range []int64{0, 1, 3} {
			e.fails(slipstream.ErrConflict, "the same look again, or one too far", func(ctx context.Context, tx store.Tx) error {
				return tx.Log().Evidence().Append(ctx, look("r1", n), nil)
			})
		}
	}},
	{"a look and what was done about it are one transaction", func(e *env) {
		e.shop()
		broken := errors.New("broken")
		ctx := e.Context()
		err := e.s.Update(ctx, func(tx store.Tx) error {
			ch, err := tx.Channels().Get(ctx, "shop", "production")
			ch.Policy = []byte(`{"halted":true}`)
			return errors.Join(err, tx.Log().Evidence().Append(ctx, look("r1", 1), nil), tx.Channels().Save(ctx, ch), broken)
		})
		e.want(err, broken, "the transaction")
		e.view(func(ctx context.Context, tx store.Tx) error {
			_, _, none := tx.Log().Evidence().Last(ctx, "r1")
			e.want(none, slipstream.ErrNotFound, "evidence of a halt that did not happen")
			ch, err := tx.Channels().Get(ctx, "shop", "production")
			e.same(string(ch.Policy), string(channel("production").Policy), "policy")
			return err
		})
	}},
	{"old ones go when nobody looks any more", func(e *env) {
		e.update(func(ctx context.Context, tx store.Tx) error {
			v := tx.Log().Evidence()
			return errors.Join(v.Append(ctx, look("old", 1), nil), v.Append(ctx, look("new", 1), nil), v.Append(ctx, look("new", 2), nil))
		})
		e.update(func(ctx context.Context, tx store.Tx) error {
			n, err := tx.Log().Evidence().Expire(ctx, at(1).Add(time.Second))
			e.same(n, int64(1), "rollouts that went")
			return err
		})
		e.view(func(ctx context.Context, tx store.Tx) error {
			left, err := tx.Log().Evidence().List(ctx, "new", 0)
			e.same(len(left), 2, "looks at a rollout that is looked at")
			gone, err2 := tx.Log().Evidence().List(ctx, "old", 0)
			e.same(len(gone), 0, "looks at an old one")
			return errors.Join(err, err2)
		})
	}},
}
