package storetest

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/store"
)

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

func platforms(rows []store.StateRow) (out string) {
	for _, r := range rows {
		out += r.Platform + " "
	}
	return out
}

func (e *env) since(rev int64) (rows []store.StateRow) {
	e.Helper()
	e.view(func(ctx context.Context, tx store.Tx) (err error) {
		rows, err = tx.States().Since(ctx, rev)
		return err
	})
	return rows
}

// sinceNeverMisses lets four goroutines raise epochs while a reader follows by Rev alone.
func sinceNeverMisses(e *env) {
	e.shop()
	const writers, each = 4, 15
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for epoch := range each {
				if err := e.s.Update(e.Context(), func(tx store.Tx) error {
					return tx.States().Put(e.Context(), state("production", "p"+itoa(int64(w)), int64(epoch+1)))
				}); err != nil {
					e.Error(err)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	reader, seen, rev := e.node(), map[string]int64{}, int64(0)
	for last := false; ; {
		var rows []store.StateRow
		e.must(reader.View(e.Context(), func(tx store.Tx) (err error) {
			rows, err = tx.States().Since(e.Context(), rev)
			return err
		}))
		for _, r := range rows {
			if r.Rev <= rev {
				e.Errorf("Rev %d after %d", r.Rev, rev)
			}
			rev, seen[r.Platform] = r.Rev, r.Epoch
		}
		if last {
			break
		}
		select {
		case <-done:
			last = true
		case <-time.After(time.Millisecond):
		}
	}
	for w := range writers {
		e.same(seen["p"+itoa(int64(w))], int64(each), "last epoch seen of a writer")
	}
}

var auditCases = []contract{
	{"seq is 1, 2, 3 … without gaps over failed Updates, and the hash chain holds", auditChain},
	{"all fields are kept; List gives newest first and filters", func(e *env) {
		want := store.AuditEntry{At: at(0), Actor: "anna", Action: "app.create", App: "shop", Target: "shop ✓", Detail: []byte(`{"a":"<b>"}`)}
		e.update(func(ctx context.Context, tx store.Tx) error {
			stored, err := tx.Log().Audit().Append(ctx, want)
			want.Seq, want.Hash = stored.Seq, stored.Hash
			e.same(stored, want, "what Append gives")
			for i := range 4 {
				_, err2 := tx.Log().Audit().Append(ctx, store.AuditEntry{At: at(i), Action: "x", App: []string{"shop", "art"}[i%2]})
				err = errors.Join(err, err2)
			}
			return err
		})
		e.view(func(ctx context.Context, tx store.Tx) error {
			for _, c := range []struct {
				query store.AuditQuery
				want  string
			}{
				{store.AuditQuery{}, "5 4 3 2 1 "}, {store.AuditQuery{App: "shop"}, "4 2 1 "}, {store.AuditQuery{Action: "app.create"}, "1 "},
				{store.AuditQuery{BeforeSeq: 4, Limit: 2}, "3 2 "}, {store.AuditQuery{Apps: []string{"art", "bank"}}, "5 3 "}, {store.AuditQuery{Apps: []string{"shop"}, App: "art"}, ""},
			} {
				entries, err := tx.Log().Audit().List(ctx, c.query)
				e.must(err)
				got := ""
				for _, a := range entries {
					got += itoa(a.Seq) + " "
				}
				e.same(got, c.want, "List")
			}
			first, err := tx.Log().Audit().List(ctx, store.AuditQuery{Action: "app.create"})
			e.same(first, []store.AuditEntry{want}, "the first entry")
			return err
		})
	}},
}

func auditChain(e *env) {
	ctx := e.Context()
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 6 {
				err := e.s.Update(ctx, func(tx store.Tx) error {
					_, err := tx.Log().Audit().Append(ctx, store.AuditEntry{At: time.Now(), Actor: itoa(int64(w)), Action: "x", Detail: []byte(`{}`)})
					if i%3 == 2 {
						return errors.Join(err, errStop)
					}
					return err
				})
				if err != nil && !errors.Is(err, errStop) {
					e.Error(err)
				}
			}
		})
	}
	wg.Wait()
	e.view(func(ctx context.Context, tx store.Tx) error {
		entries, err := tx.Log().Audit().List(ctx, store.AuditQuery{})
		e.same(len(entries), 16, "entries")
		prev := ""
		for i := len(entries) - 1; i >= 0; i-- {
			a := entries[i]
			e.same(a.Seq, int64(len(entries)-i), "seq")
			e.same(a.Prev, prev, "previous hash")
			e.same(a.Hash, store.ChainHash(a), "hash")
			prev = a.Hash
		}
		return err
	})
}

func token(id string) store.Token {
	k := store.Token{ID: id, Name: "ci " + id, Role: "publisher", App: "shop", Created: at(0), Expires: at(100)}
	copy(k.Hash[:], "hash of "+id)
	return k
}

var tokenCases = []contract{
	{"Put keeps all fields, ByHash and List give them", func(e *env) {
		forever := token("b")
		forever.Expires, forever.App, forever.Created = time.Time{}, "", at(1)
		e.update(func(ctx context.Context, tx store.Tx) error {
			return errors.Join(tx.People().Tokens().Put(ctx, forever), tx.People().Tokens().Put(ctx, token("a")))
		})
		e.view(func(ctx context.Context, tx store.Tx) error {
			got, err := tx.People().Tokens().ByHash(ctx, forever.Hash)
			e.same(got, forever, "ByHash")
			all, err2 := tx.People().Tokens().List(ctx)
			e.same(all, []store.Token{token("a"), forever}, "List")
			_, missing := tx.People().Tokens().ByHash(ctx, [32]byte{1})
			e.want(missing, slipstream.ErrNotFound, "an unknown hash")
			return errors.Join(err, err2)
		})
	}},
	{"Put of a known id replaces, LastUsed is kept to the hour", func(e *env) {
		k := token("a")
		e.update(func(ctx context.Context, tx store.Tx) error {
			e.must(tx.People().Tokens().Put(ctx, k))
			k.LastUsed, k.Role = at(42), "viewer"
			return tx.People().Tokens().Put(ctx, k)
		})
		e.view(func(ctx context.Context, tx store.Tx) error {
			got, err := tx.People().Tokens().ByHash(ctx, k.Hash)
			k.LastUsed = at(0).Truncate(time.Hour)
			e.same(got, k, "token")
			return err
		})
	}},
	{"another token's secret is ErrConflict", func(e *env) {
		e.fails(slipstream.ErrConflict, "Put", func(ctx context.Context, tx store.Tx) error {
			thief := token("b")
			thief.Hash = token("a").Hash
			return errors.Join(tx.People().Tokens().Put(ctx, token("a")), tx.People().Tokens().Put(ctx, thief))
		})
	}},
	{"Delete removes, ErrNotFound when it is not there", func(e *env) {
		e.update(func(ctx context.Context, tx store.Tx) error {
			e.must(tx.People().Tokens().Put(ctx, token("a")))
			e.must(tx.People().Tokens().Delete(ctx, "a"))
			e.want(tx.People().Tokens().Delete(ctx, "a"), slipstream.ErrNotFound, "Delete again")
			_, err := tx.People().Tokens().ByHash(ctx, token("a").Hash)
			e.want(err, slipstream.ErrNotFound, "ByHash")
			return nil
		})
	}},
}

var settingCases = []contract{
	{"Set keeps and replaces, a missing key is ErrNotFound", func(e *env) {
		e.update(func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Settings().Get(ctx, "k")
			e.want(err, slipstream.ErrNotFound, "Get")
			return errors.Join(tx.Settings().Set(ctx, "k", []byte("one")), tx.Settings().Set(ctx, "k", []byte{0, 255}))
		})
		e.view(func(ctx context.Context, tx store.Tx) error {
			v, err := tx.Settings().Get(ctx, "k")
			e.same(v, []byte{0, 255}, "value")
			return err
		})
	}},
	{"List gives what begins with the prefix, Delete takes one away", func(e *env) {
		e.update(func(ctx context.Context, tx store.Tx) error {
			s := tx.Settings()
			return errors.Join(s.Set(ctx, "p/b", []byte("2")), s.Set(ctx, "p/a", []byte("1")), s.Set(ctx, "p", nil), s.Set(ctx, "pq/a", nil), s.Set(ctx, "P/a", nil), s.Set(ctx, "p%", nil))
		})
		e.view(func(ctx context.Context, tx store.Tx) error {
			got, err := tx.Settings().List(ctx, "p/")
			e.same(got, []store.Setting{{Key: "p/a", Value: []byte("1")}, {Key: "p/b", Value: []byte("2")}}, "List")
			return err
		})
		e.update(func(ctx context.Context, tx store.Tx) error { return tx.Settings().Delete(ctx, "p/a") })
		e.fails(slipstream.ErrNotFound, "Delete again", func(ctx context.Context, tx store.Tx) error { return tx.Settings().Delete(ctx, "p/a") })
	}},
}
