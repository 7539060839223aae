package storetest

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/store"
)

var errStop = errors.New("stop here")

var transactions = []contract{
	{"an error in fn leaves nothing and is passed on", func(e *env) {
		e.shop()
		e.fails(errStop, "Update", func(ctx context.Context, tx store.Tx) error {
			e.must(tx.Apps().Create(ctx, app("other")))
			e.must(tx.Releases().Put(ctx, release(1, "1.0.0")))
			e.must(tx.States().Put(ctx, state("production", "any", 1)))
			e.must(tx.Settings().Set(ctx, "k", []byte("v")))
			_, err := tx.Log().Audit().Append(ctx, store.AuditEntry{At: at(0), Action: "x"})
			e.must(err)
			return errStop
		})
		e.view(func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Apps().Get(ctx, "other")
			e.want(err, slipstream.ErrNotFound, "the app")
			_, err = tx.Settings().Get(ctx, "k")
			e.want(err, slipstream.ErrNotFound, "the setting")
			seq, err := tx.Releases().HighestSeq(ctx, "shop", "main")
			e.same(seq, int64(0), "highest seq")
			entries, err2 := tx.Log().Audit().List(ctx, store.AuditQuery{})
			e.same(len(entries), 0, "audit entries")
			rows, err3 := tx.States().Since(ctx, 0)
			e.same(len(rows), 0, "states")
			return errors.Join(err, err2, err3)
		})
	}},
	{"a panic in fn leaves nothing and the store usable", func(e *env) {
		func() {
			defer func() { e.same(recover(), any("oops"), "recovered") }()
			_ = e.s.Update(e.Context(), func(tx store.Tx) error {
				e.must(tx.Apps().Create(e.Context(), app("shop")))
				panic("oops")
			})
		}()
		e.shop()
	}},
	{"what Update wrote, later views see", func(e *env) {
		e.shop()
		e.view(func(ctx context.Context, tx store.Tx) error {
			a, err := tx.Apps().Get(ctx, "shop")
			e.same(a, app("shop"), "app")
			return err
		})
	}},
	{"fn reads its own writes", func(e *env) {
		e.update(func(ctx context.Context, tx store.Tx) error {
			e.must(tx.Settings().Set(ctx, "k", []byte("v")))
			v, err := tx.Settings().Get(ctx, "k")
			e.same(v, []byte("v"), "value")
			return err
		})
	}},
	{"a refused write does not end the transaction", func(e *env) {
		e.shop()
		e.update(func(ctx context.Context, tx store.Tx) error {
			e.want(tx.Apps().Create(ctx, app("shop")), slipstream.ErrConflict, "create")
			e.want(tx.Channels().Create(ctx, channel("production")), slipstream.ErrConflict, "create channel")
			e.want(tx.Releases().SetEnvelope(ctx, digest("none"), nil), slipstream.ErrNotFound, "set envelope")
			e.want(tx.Apps().AddRoot(ctx, "shop", 7, nil), slipstream.ErrConflict, "add root")
			e.want(tx.States().Put(ctx, state("none", "any", 1)), slipstream.ErrNotFound, "put state")
			return tx.Settings().Set(ctx, "k", []byte("v"))
		})
		e.view(func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Settings().Get(ctx, "k")
			return err
		})
	}},
	{"writes in a View fail and change nothing", func(e *env) {
		e.view(func(ctx context.Context, tx store.Tx) error {
			if tx.Apps().Create(ctx, app("shop")) == nil || tx.Settings().Set(ctx, "k", nil) == nil {
				e.Error("a View writes")
			}
			if _, err := tx.Log().Audit().Append(ctx, store.AuditEntry{}); err == nil {
				e.Error("a View appends to the audit log")
			}
			return nil
		})
		e.view(func(ctx context.Context, tx store.Tx) error {
			all, err := tx.Apps().List(ctx)
			e.same(len(all), 0, "apps")
			return err
		})
	}},
	{"an error in a View is passed on", func(e *env) {
		e.want(e.s.View(e.Context(), func(store.Tx) error { return errStop }), errStop, "View")
	}},
	{"a View stays one snapshot while others write", snapshot},
	{"Updates are serialised: sixteen goroutines count without losing one", func(e *env) { countUp(e, e.s) }},
	{"a transaction is over when fn has returned", func(e *env) {
		var kept store.Tx
		e.update(func(_ context.Context, tx store.Tx) error { kept = tx; return nil })
		if _, err := kept.Apps().List(e.Context()); err == nil {
			e.Error("the transaction is still usable")
		}
	}},
	{"an ended context ends Update and View without effect", endedContext},
	{"cancelling inside fn leaves nothing", func(e *env) {
		ctx, cancel := context.WithCancel(e.Context())
		err := e.s.Update(ctx, func(tx store.Tx) error {
			e.must(tx.Settings().Set(ctx, "k", []byte("v")))
			cancel()
			return nil
		})
		e.want(err, context.Canceled, "Update")
		e.view(func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Settings().Get(ctx, "k")
			e.want(err, slipstream.ErrNotFound, "the setting")
			return nil
		})
	}},
	{"waiting for another Update ends with the context", waiting},
	{"Ping answers", func(e *env) { e.must(e.s.Ping(e.Context())) }},
	{"Close waits for a running Update, and what comes later is ErrUnavailable", closing},
}

func snapshot(e *env) {
	e.shop()
	e.view(func(ctx context.Context, tx store.Tx) error {
		before, err := tx.Apps().List(ctx)
		e.must(err)
		e.update(func(ctx context.Context, tx store.Tx) error { return tx.Apps().Create(ctx, app("other")) })
		after, err := tx.Apps().List(ctx)
		e.same(after, before, "apps in the same view")
		_, getErr := tx.Apps().Get(ctx, "other")
		e.want(getErr, slipstream.ErrNotFound, "the new app")
		return err
	})
}

// countUp raises a setting by read and write in 16 goroutines spread over the nodes.
func countUp(e *env, nodes ...store.Store) {
	const workers, each = 16, 6
	var wg sync.WaitGroup
	for w := range workers {
		s := nodes[w%len(nodes)]
		wg.Go(func() {
			for range each {
				if err := s.Update(e.Context(), func(tx store.Tx) error { return raise(e.Context(), tx) }); err != nil {
					e.Error(err)
				}
			}
		})
	}
	wg.Wait()
	e.view(func(ctx context.Context, tx store.Tx) error {
		v, err := tx.Settings().Get(ctx, "n")
		e.same(string(v), strconv.Itoa(workers*each), "the count")
		return err
	})
}

func raise(ctx context.Context, tx store.Tx) error {
	v, err := tx.Settings().Get(ctx, "n")
	if err != nil && !errors.Is(err, slipstream.ErrNotFound) {
		return err
	}
	n := 0
	if v != nil {
		if n, err = strconv.Atoi(string(v)); err != nil {
			return err
		}
	}
	return tx.Settings().Set(ctx, "n", []byte(strconv.Itoa(n+1)))
}

func endedContext(e *env) {
	ctx, cancel := context.WithCancel(e.Context())
	cancel()
	e.want(e.s.Update(ctx, func(tx store.Tx) error { return tx.Settings().Set(e.Context(), "k", nil) }), context.Canceled, "Update")
	e.want(e.s.View(ctx, func(tx store.Tx) error { return nil }), context.Canceled, "View")
	e.want(e.s.Ping(ctx), context.Canceled, "Ping")
	_, err := e.s.Reports().Append(ctx, []store.StoredEvent{event(1, "d", slipstream.KindConfirmed)})
	e.want(err, context.Canceled, "Append")
	_, err = e.s.Reports().Events(ctx, store.EventQuery{})
	e.want(err, context.Canceled, "Events")
	e.view(func(ctx context.Context, tx store.Tx) error {
		_, err := tx.Settings().Get(ctx, "k")
		e.want(err, slipstream.ErrNotFound, "the setting")
		return nil
	})
	events, err := e.s.Reports().Events(e.Context(), store.EventQuery{})
	e.must(err)
	e.same(len(events), 0, "events")
}

func waiting(e *env) {
	inside, leave := make(chan struct{}), make(chan struct{})
	done := make(chan error)
	go func() {
		done <- e.s.Update(e.Context(), func(store.Tx) error { close(inside); <-leave; return nil })
	}()
	<-inside
	ctx, cancel := context.WithTimeout(e.Context(), 50*time.Millisecond)
	defer cancel()
	ran := false
	e.want(e.s.Update(ctx, func(store.Tx) error { ran = true; return nil }), context.DeadlineExceeded, "the waiting Update")
	if ran {
		e.Error("two Updates ran at once")
	}
	close(leave)
	e.must(<-done)
	e.shop() // the store still works
}

func closing(e *env) {
	s := e.open()
	inside := make(chan struct{})
	done := make(chan error, 1)
	var ended atomic.Bool
	go func() {
		done <- s.Update(e.Context(), func(tx store.Tx) error {
			close(inside)
			time.Sleep(50 * time.Millisecond)
			ended.Store(true)
			return tx.Apps().Create(e.Context(), app("shop"))
		})
	}()
	<-inside
	e.must(s.Close())
	if !ended.Load() {
		e.Error("Close did not wait")
	}
	e.must(<-done)
	e.want(s.Update(e.Context(), func(store.Tx) error { return nil }), slipstream.ErrUnavailable, "Update after Close")
	e.want(s.View(e.Context(), func(store.Tx) error { return nil }), slipstream.ErrUnavailable, "View after Close")
	e.want(s.Ping(e.Context()), slipstream.ErrUnavailable, "Ping after Close")
	_, err := s.Reports().Events(e.Context(), store.EventQuery{})
	e.want(err, slipstream.ErrUnavailable, "Events after Close")
	_, err = s.Reports().Append(e.Context(), []store.StoredEvent{event(1, "d", slipstream.KindStarted)})
	e.want(err, slipstream.ErrUnavailable, "Append after Close")
	e.must(s.Close())
	e.view(func(ctx context.Context, tx store.Tx) error { _, err := tx.Apps().Get(ctx, "shop"); return err })
}

// watcher counts the calls of a Watch that runs until the test ends.
type watcher struct{ calls chan struct{} }

func watch(e *env, s store.Store) *watcher {
	w := &watcher{calls: make(chan struct{}, 1000)}
	ctx, cancel := context.WithCancel(context.WithoutCancel(e.Context()))
	done := make(chan error, 1)
	go func() { done <- s.Watch(ctx, func() { w.calls <- struct{}{} }) }()
	e.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			e.want(err, context.Canceled, "Watch after its context ended")
		case <-time.After(5 * time.Second):
			e.Error("Watch does not return when its context ends")
		}
	})
	return w
}

// told waits for a call. A change is to be told within a second; a loaded machine gets some more.
func (w *watcher) told(e *env, what string) {
	e.Helper()
	select {
	case <-w.calls:
	case <-time.After(5 * time.Second):
		e.Fatalf("not told: %s", what)
	}
}

func (w *watcher) silent(t *testing.T, what string) {
	t.Helper()
	select {
	case <-w.calls:
		t.Errorf("told without a change: %s", what)
	case <-time.After(1300 * time.Millisecond):
	}
}

var nodeCases = []contract{
	{"Watch calls once at the start", func(e *env) { watch(e, e.s).told(e, "the start") }},
	{"Watch tells an Update of this node", func(e *env) {
		w := watch(e, e.s)
		w.told(e, "the start")
		e.shop()
		w.told(e, "the update")
	}},
	{"Watch tells an Update of another node", func(e *env) {
		w := watch(e, e.node())
		w.told(e, "the start")
		e.shop()
		w.told(e, "the update")
	}},
	{"Watch is silent about Updates that fail or write nothing, reads and reports", func(e *env) {
		e.shop()
		w := watch(e, e.s)
		w.told(e, "the start")
		e.fails(errStop, "Update", func(ctx context.Context, tx store.Tx) error {
			return errors.Join(tx.Settings().Set(ctx, "k", nil), errStop)
		})
		e.view(func(ctx context.Context, tx store.Tx) error { _, err := tx.Apps().List(ctx); return err })
		e.update(func(ctx context.Context, tx store.Tx) error {
			e.want(tx.Apps().Create(ctx, app("shop")), slipstream.ErrConflict, "create")
			return nil
		})
		_, err := e.s.Reports().Append(e.Context(), []store.StoredEvent{event(1, "d", slipstream.KindConfirmed)})
		e.must(err)
		w.silent(e.T, "after reads, reports, a failed and an empty update")
	}},
	{"Updates are serialised over nodes", func(e *env) { countUp(e, e.s, e.node(), e.node()) }},
	{"reopening keeps everything", reopening},
}

func reopening(e *env) {
	first := e.open()
	ctx := e.Context()
	e.must(first.Update(ctx, func(tx store.Tx) error {
		_, err := tx.Log().Audit().Append(ctx, store.AuditEntry{At: at(0), Actor: "a", Action: "x"})
		return errors.Join(err, tx.Apps().Create(ctx, app("shop")), tx.Channels().Create(ctx, channel("production")),
			tx.Releases().Put(ctx, release(1, "1.0.0")), tx.States().Put(ctx, state("production", "any", 5)),
			tx.Apps().AddRoot(ctx, "shop", 1, []byte("root")), tx.People().Tokens().Put(ctx, token("t")), tx.Settings().Set(ctx, "k", []byte("v")))
	}))
	_, err := first.Reports().Append(ctx, []store.StoredEvent{event(1, "d", slipstream.KindConfirmed)})
	e.must(err)
	dump := func(s store.Store) string {
		var all []any
		keep := func(v any, err error) { e.must(err); all = append(all, v) }
		e.must(s.View(ctx, func(tx store.Tx) error {
			keep(tx.Apps().List(ctx))
			keep(tx.Apps().Roots(ctx, "shop"))
			keep(tx.Channels().List(ctx, ""))
			keep(tx.Releases().Get(ctx, release(1, "1.0.0").Digest))
			keep(tx.States().Since(ctx, 0))
			keep(tx.Log().Audit().List(ctx, store.AuditQuery{}))
			keep(tx.People().Tokens().List(ctx))
			keep(tx.Settings().Get(ctx, "k"))
			return nil
		}))
		keep(s.Reports().Events(ctx, store.EventQuery{}))
		keep(s.Reports().Counts(ctx, "shop"))
		doc, err := json.MarshalIndent(all, "", " ")
		e.must(err)
		return string(doc)
	}
	before := dump(first)
	e.must(first.Close())
	e.same(dump(e.node()), before, "everything after reopening")
}
