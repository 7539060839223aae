package storetest

import (
	"context"
	"sync"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/store"
)

func alarm(key string, minute int) store.Alert {
	return store.Alert{Key: key, Kind: "halt", Severity: "critical", App: "shop", Channel: "production", Package: "main", Subject: "r1", Title: "halted ✓",
		Detail: []byte(`{"n":1}`), State: store.AlertOpen, Last: at(minute)}
}

func receiver(name string) store.AlertTarget {
	return store.AlertTarget{Name: name, Type: "webhook", App: "shop", Kinds: []string{"halt", "publish"}, Severity: "warning", Address: "https://example.org/…",
		Public: "whpk_x", Sealed: []byte{0, 1, 255}, Created: at(0)}
}

// raise raises one alert in an Update of its own.
func (e *env) raise(a store.Alert) (now store.Alert, repeated bool) {
	e.Helper()
	e.update(func(ctx context.Context, tx store.Tx) (err error) {
		now, repeated, err = tx.Log().Alerts().Raise(ctx, a)
		return err
	})
	return now, repeated
}

// message queues a delivery due at a minute.
func (e *env) message(target string, minute int) (d store.Delivery) {
	e.Helper()
	e.update(func(ctx context.Context, tx store.Tx) (err error) {
		d, err = tx.Log().Alerts().Deliveries().Add(ctx, store.Delivery{Target: target, Alert: 1, Event: "alert.opened", Body: []byte(`{"a":"<b>"}`), Created: at(minute)})
		return err
	})
	return d
}

func (e *env) receivers(names ...string) {
	e.Helper()
	e.update(func(ctx context.Context, tx store.Tx) error {
		for _, n := range names {
			e.must(tx.Log().Alerts().Targets().Put(ctx, receiver(n)))
		}
		return nil
	})
}

// due claims messages in an Update of its own.
func (e *env) due(minute, most, perTarget int) (out []store.Delivery) {
	e.Helper()
	e.update(func(ctx context.Context, tx store.Tx) (err error) {
		out, err = tx.Log().Alerts().Deliveries().Claim(ctx, at(minute), 2*time.Minute, most, perTarget)
		return err
	})
	return out
}

func deliveriesOf(tx store.Tx) store.Deliveries { return tx.Log().Alerts().Deliveries() }

func names(list []store.Delivery) (out string) {
	for _, d := range list {
		out += d.Target + itoa(d.ID) + " "
	}
	return out
}

var alertCases = []contract{
	{"Raise keeps all fields; a repeat of an active one is counted into it", func(e *env) {
		first, repeated := e.raise(alarm("k", 0))
		want := alarm("k", 0)
		want.ID, want.Count, want.First = 1, 1, at(0)
		e.same(first, want, "the first")
		e.same(repeated, false, "repeated")
		again := alarm("k", 5)
		again.Title, again.Severity, again.Detail, again.Kind = "worse", "warning", nil, "other"
		second, repeated := e.raise(again)
		want.Count, want.Last, want.Title, want.Severity, want.Detail = 2, at(5), "worse", "warning", nil
		e.same(second, want, "the repeat")
		e.same(repeated, true, "repeated")
		e.view(func(ctx context.Context, tx store.Tx) error {
			got, err := tx.Log().Alerts().Get(ctx, 1)
			e.same(got, want, "Get")
			_, missing := tx.Log().Alerts().Get(ctx, 2)
			e.want(missing, slipstream.ErrNotFound, "Get of another")
			return err
		})
	}},
	{"a resolved alert stays, and the next of its key is a new one; noted ones are never grouped", func(e *env) {
		a, _ := e.raise(alarm("k", 0))
		a.State, a.Actor, a.Note, a.Changed, a.Notified = store.AlertAcknowledged, "anna", "on it ✓", at(1), at(0)
		e.update(func(ctx context.Context, tx store.Tx) error { return tx.Log().Alerts().Save(ctx, a) })
		same, repeated := e.raise(alarm("k", 2))
		e.same([]any{same.ID, same.State, same.Actor, same.Note, same.Changed, same.Notified, repeated}, []any{a.ID, a.State, a.Actor, a.Note, a.Changed, a.Notified, true}, "after acknowledging")
		a.State = store.AlertResolved
		e.update(func(ctx context.Context, tx store.Tx) error { return tx.Log().Alerts().Save(ctx, a) })
		next, repeated := e.raise(alarm("k", 3))
		e.same([]any{next.ID, next.Count, repeated}, []any{int64(2), int64(1), false}, "after resolving")
		e.fails(slipstream.ErrConflict, "bringing the first back", func(ctx context.Context, tx store.Tx) error {
			a.State = store.AlertOpen
			return tx.Log().Alerts().Save(ctx, a)
		})
		e.fails(slipstream.ErrNotFound, "saving what is not there", func(ctx context.Context, tx store.Tx) error {
			return tx.Log().Alerts().Save(ctx, store.Alert{ID: 99, State: store.AlertResolved})
		})
		note := alarm("n", 0)
		note.State = store.AlertNoted
		for range 2 {
			_, repeated := e.raise(note)
			e.same(repeated, false, "a noted one repeated")
		}
		e.view(func(ctx context.Context, tx store.Tx) error {
			for _, c := range []struct {
				query store.AlertQuery
				want  string
			}{
				{store.AlertQuery{}, "4 3 2 1 "}, {store.AlertQuery{Active: true}, "2 "}, {store.AlertQuery{Key: "k"}, "2 1 "},
				{store.AlertQuery{BeforeID: 4, Limit: 2}, "3 2 "}, {store.AlertQuery{App: "other"}, ""}, {store.AlertQuery{Apps: []string{"other", "shop"}}, "4 3 2 1 "}, {store.AlertQuery{Apps: []string{"other"}}, ""}, {store.AlertQuery{Kind: "halt", App: "shop", Limit: 1}, "4 "},
			} {
				list, err := tx.Log().Alerts().List(ctx, c.query)
				e.must(err)
				got := ""
				for _, a := range list {
					got += itoa(a.ID) + " "
				}
				e.same(got, c.want, "List")
			}
			return nil
		})
	}},
	{"Expire leaves what is active or young", func(e *env) {
		e.receivers("a")
		old, _ := e.raise(alarm("old", 0))
		e.raise(alarm("active", 0))
		old.State = store.AlertResolved
		young := alarm("young", 60)
		young.State = store.AlertNoted
		e.raise(young)
		e.message("a", 0)
		done := e.message("a", 0)
		e.same(len(e.due(1, 9, 9)), 2, "claimed")
		done.State, done.Attempts, done.Updated = store.DeliverySent, 1, at(1)
		e.update(func(ctx context.Context, tx store.Tx) error {
			e.must(tx.Log().Alerts().Save(ctx, old))
			e.must(deliveriesOf(tx).Finish(ctx, done))
			n, err := tx.Log().Alerts().Expire(ctx, at(30))
			e.same(n, int64(1), "expired")
			left, err2 := tx.Log().Alerts().List(ctx, store.AlertQuery{})
			e.same(len(left), 2, "alerts left")
			messages, err3 := deliveriesOf(tx).List(ctx, store.DeliveryQuery{})
			e.same(names(messages), "a1 ", "messages left")
			e.must(err3)
			e.must(err2)
			return err
		})
	}},
	{"targets are kept, replaced, listed by name and deleted with their messages", func(e *env) {
		e.receivers("b", "a")
		e.message("a", 0)
		changed := receiver("a")
		changed.Kinds, changed.Disabled = []string{}, true
		e.update(func(ctx context.Context, tx store.Tx) error { return tx.Log().Alerts().Targets().Put(ctx, changed) })
		e.view(func(ctx context.Context, tx store.Tx) error {
			list, err := tx.Log().Alerts().Targets().List(ctx)
			e.same(list, []store.AlertTarget{changed, receiver("b")}, "List")
			one, err2 := tx.Log().Alerts().Targets().Get(ctx, "b")
			e.same(one, receiver("b"), "Get")
			messages, err3 := deliveriesOf(tx).List(ctx, store.DeliveryQuery{})
			e.same(names(messages), "a1 ", "messages")
			e.must(err2)
			e.must(err3)
			return err
		})
		e.update(func(ctx context.Context, tx store.Tx) error {
			e.must(tx.Log().Alerts().Targets().Delete(ctx, "a"))
			e.want(tx.Log().Alerts().Targets().Delete(ctx, "a"), slipstream.ErrNotFound, "Delete again")
			_, err := tx.Log().Alerts().Targets().Get(ctx, "a")
			e.want(err, slipstream.ErrNotFound, "Get")
			messages, err := deliveriesOf(tx).List(ctx, store.DeliveryQuery{})
			e.same(names(messages), "", "messages")
			return err
		})
		e.fails(slipstream.ErrNotFound, "a message to nobody", func(ctx context.Context, tx store.Tx) error {
			_, err := deliveriesOf(tx).Add(ctx, store.Delivery{Target: "a", Created: at(0)})
			return err
		})
	}},
	{"Claim gives what is due, the longest due first, fairly between targets, once until its lease ends", func(e *env) {
		e.receivers("a", "b")
		for i := range 4 {
			e.message("a", i)
		}
		e.message("b", 5)
		e.message("b", 50)
		e.same(names(e.due(10, 3, 2)), "a1 a2 b5 ", "first claim")
		e.same(names(e.due(10, 9, 9)), "a3 a4 ", "second claim")
		e.same(names(e.due(10, 9, 9)), "", "third claim")
		again := e.due(12, 9, 9)
		e.same(names(again), "a1 a2 a3 a4 b5 ", "after the lease")
		want := store.Delivery{ID: 1, Target: "a", Alert: 1, Event: "alert.opened", Body: []byte(`{"a":"<b>"}`), State: store.DeliveryQueued,
			Attempts: 2, Due: at(14), Created: at(0), Updated: at(12)}
		e.same(again[0], want, "a claimed message")
	}},
	{"Finish keeps how an attempt went, of the last attempt only; Retry brings dead ones back", func(e *env) {
		e.receivers("a", "b")
		e.message("a", 0)
		e.message("b", 0)
		d := e.due(0, 1, 1)[0]
		late := d
		d.State, d.Due, d.Status, d.Error, d.Took, d.Updated = store.DeliveryQueued, at(3), 503, "busy ✓", 1500*time.Microsecond, at(1)
		e.update(func(ctx context.Context, tx store.Tx) error { return deliveriesOf(tx).Finish(ctx, d) })
		e.same(names(e.due(3, 1, 1)), "b2 ", "the other one was due first")
		d = e.due(3, 1, 1)[0]
		e.same([]any{d.ID, d.Attempts, d.Status, d.Error, d.Took}, []any{int64(1), 2, 503, "busy ✓", 1500 * time.Microsecond}, "the second attempt")
		e.fails(slipstream.ErrConflict, "the end of an earlier attempt", func(ctx context.Context, tx store.Tx) error {
			late.State = store.DeliverySent
			return deliveriesOf(tx).Finish(ctx, late)
		})
		d.State, d.Due = store.DeliveryDead, time.Time{}
		e.update(func(ctx context.Context, tx store.Tx) error { return deliveriesOf(tx).Finish(ctx, d) })
		e.fails(slipstream.ErrNotFound, "the end of what is not there", func(ctx context.Context, tx store.Tx) error {
			return deliveriesOf(tx).Finish(ctx, store.Delivery{ID: 77, State: store.DeliverySent})
		})
		e.update(func(ctx context.Context, tx store.Tx) error {
			counts, err := deliveriesOf(tx).Counts(ctx)
			e.same(counts, map[store.DeliveryState]int64{store.DeliveryQueued: 1, store.DeliveryDead: 1}, "counts")
			dead, err2 := deliveriesOf(tx).List(ctx, store.DeliveryQuery{State: store.DeliveryDead})
			e.same(names(dead), "a1 ", "dead ones")
			none, err3 := deliveriesOf(tx).Retry(ctx, at(9), "b")
			e.same(none, int64(0), "retried of another target")
			none, err4 := deliveriesOf(tx).Retry(ctx, at(9), "", 2)
			e.same(none, int64(0), "retried of another id")
			n, err5 := deliveriesOf(tx).Retry(ctx, at(9), "a", 2, 1)
			e.same(n, int64(1), "retried")
			for _, err := range []error{err, err2, err3, err4, err5} {
				e.must(err)
			}
			return nil
		})
		back := e.due(9, 9, 9)
		e.same(names(back), "b2 a1 ", "after the retry")
		e.same(back[1].Attempts, 1, "attempts after the retry")
		e.view(func(ctx context.Context, tx store.Tx) error {
			got, err := deliveriesOf(tx).List(ctx, store.DeliveryQuery{Target: "a", Alert: 1, BeforeID: 2, Limit: 5})
			e.same(names(got), "a1 ", "List")
			return err
		})
	}},
	{"nothing is written in a View", func(e *env) {
		e.receivers("a")
		e.message("a", 0)
		e.view(func(ctx context.Context, tx store.Tx) error {
			_, _, raised := tx.Log().Alerts().Raise(ctx, alarm("k", 0))
			_, claimed := deliveriesOf(tx).Claim(ctx, at(9), time.Minute, 9, 9)
			_, added := deliveriesOf(tx).Add(ctx, store.Delivery{Target: "a", Created: at(0)})
			_, expired := tx.Log().Alerts().Expire(ctx, at(9))
			for what, err := range map[string]error{"Raise": raised, "Claim": claimed, "Add": added, "Expire": expired} {
				if err == nil {
					e.Errorf("%s works in a View", what)
				}
			}
			return nil
		})
	}},
	{"two nodes never get the same message", func(e *env) {
		e.receivers("a", "b")
		for i := range 24 {
			e.message([]string{"a", "b"}[i%2], 0)
		}
		nodes := []store.Store{e.s, e.node()}
		var mu sync.Mutex
		seen := map[int64]int{}
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				for {
					var got []store.Delivery
					err := nodes[i%2].Update(e.Context(), func(tx store.Tx) (err error) {
						got, err = deliveriesOf(tx).Claim(e.Context(), at(1), time.Minute, 3, 3)
						return err
					})
					if err != nil {
						e.Errorf("claim: %v", err)
					}
					if err != nil || len(got) == 0 {
						return
					}
					mu.Lock()
					for _, d := range got {
						seen[d.ID]++
					}
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		e.same(len(seen), 24, "messages given out")
		for id, n := range seen {
			e.same(n, 1, "times of message "+itoa(id))
		}
	}},
}
