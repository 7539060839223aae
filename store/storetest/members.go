package storetest

import (
	"context"
	"errors"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/store"
)

func member(name string) store.Member {
	return store.Member{Name: name, Display: "The " + name + " ✓", Email: name + "@example.org", Role: "publisher", Apps: []string{"cart", "shop"}, Password: "$argon2id$…",
		OTP: []byte{1, 2}, OTPStep: 58, Recovery: []string{"a", "b"}, Subject: "https://id.example.org " + name, Created: at(0), Seen: at(1), Disabled: true}
}

func session(id, token, member string) store.Session {
	s := store.Session{ID: id, Token: token, Member: member, Via: "password", Agent: "A <browser>", Created: at(0), Seen: at(1), Expires: at(600)}
	copy(s.Hash[:], "hash of "+id)
	return s
}

func ticket(id, token, member string) store.Ticket {
	k := store.Ticket{Kind: "invitation", Token: token, Member: member, Created: at(0), Expires: at(5)}
	copy(k.Hash[:], "hash of "+id)
	return k
}

// ann is a store with a member, a token of hers, and somebody else's token.
func (e *env) ann() {
	e.Helper()
	hers := token("hers")
	hers.Member = "ann"
	e.update(func(ctx context.Context, tx store.Tx) error {
		p := tx.People()
		return errors.Join(p.Members().Create(ctx, member("ann")), p.Tokens().Put(ctx, hers), p.Tokens().Put(ctx, token("other")))
	})
}

var memberCases = []contract{
	{"Create keeps all fields, Get, ByEmail, BySubject and List give them", func(e *env) {
		plain := store.Member{Name: "bob", Role: "viewer", Created: at(2)}
		e.update(func(ctx context.Context, tx store.Tx) error {
			return errors.Join(tx.People().Members().Create(ctx, plain), tx.People().Members().Create(ctx, member("ann")))
		})
		e.view(func(ctx context.Context, tx store.Tx) error {
			m := tx.People().Members()
			got, err := m.Get(ctx, "bob")
			e.same(got, plain, "Get")
			byMail, err2 := m.ByEmail(ctx, "ann@example.org")
			e.same(byMail, member("ann"), "ByEmail")
			bySubject, err3 := m.BySubject(ctx, "https://id.example.org ann")
			e.same(bySubject, member("ann"), "BySubject")
			all, err4 := m.List(ctx)
			e.same(all, []store.Member{member("ann"), plain}, "List")
			return errors.Join(err, err2, err3, err4)
		})
	}},
	{"who has no e-mail and no subject is not found by none", func(e *env) {
		e.update(func(ctx context.Context, tx store.Tx) error {
			m := tx.People().Members()
			e.must(m.Create(ctx, store.Member{Name: "bob", Role: "viewer"}))
			e.must(m.Create(ctx, store.Member{Name: "cid", Role: "viewer"}))
			_, err := m.ByEmail(ctx, "")
			e.want(err, slipstream.ErrNotFound, "ByEmail")
			_, err = m.BySubject(ctx, "")
			e.want(err, slipstream.ErrNotFound, "BySubject")
			return nil
		})
	}},
	{"a name, an e-mail or a subject that is taken is ErrConflict and does not end the transaction", func(e *env) {
		e.update(func(ctx context.Context, tx store.Tx) error {
			m := tx.People().Members()
			e.must(m.Create(ctx, member("ann")))
			e.must(m.Create(ctx, store.Member{Name: "bob", Role: "viewer"}))
			e.want(m.Create(ctx, store.Member{Name: "ann"}), slipstream.ErrConflict, "the name")
			for _, other := range []store.Member{{Name: "bob", Email: "ann@example.org"}, {Name: "bob", Subject: "https://id.example.org ann"}} {
				e.want(m.Save(ctx, other), slipstream.ErrConflict, "Save")
				other.Name = "cid"
				e.want(m.Create(ctx, other), slipstream.ErrConflict, "Create")
			}
			return m.Save(ctx, member("ann"))
		})
	}},
	{"Save replaces all but Created, ErrNotFound for nobody", func(e *env) {
		e.ann()
		changed := store.Member{Name: "ann", Display: "Ann", Email: "a@example.org", Role: "owner", OTPStep: 59, Created: at(9), Seen: at(3)}
		e.update(func(ctx context.Context, tx store.Tx) error {
			e.want(tx.People().Members().Save(ctx, member("bob")), slipstream.ErrNotFound, "nobody")
			return tx.People().Members().Save(ctx, changed)
		})
		e.view(func(ctx context.Context, tx store.Tx) error {
			got, err := tx.People().Members().Get(ctx, "ann")
			changed.Created = at(0)
			e.same(got, changed, "Get")
			return err
		})
	}},
	{"Delete takes the member's tokens, sessions and tickets along", func(e *env) {
		e.ann()
		e.update(func(ctx context.Context, tx store.Tx) error {
			p := tx.People()
			return errors.Join(p.Sessions().Put(ctx, session("s1", "", "ann")), p.Sessions().Put(ctx, session("s2", "hers", "")), p.Sessions().Put(ctx, session("s3", "other", "")),
				p.Tickets().Put(ctx, ticket("t1", "", "ann")))
		})
		e.update(func(ctx context.Context, tx store.Tx) error {
			p := tx.People()
			e.must(p.Members().Delete(ctx, "ann"))
			e.want(p.Members().Delete(ctx, "ann"), slipstream.ErrNotFound, "Delete again")
			_, err := p.Tokens().Get(ctx, "hers")
			e.want(err, slipstream.ErrNotFound, "token")
			_, err = p.Tickets().ByHash(ctx, ticket("t1", "", "").Hash)
			e.want(err, slipstream.ErrNotFound, "ticket")
			all, err := p.Sessions().List(ctx, "", "")
			e.same(all, []store.Session{session("s3", "other", "")}, "sessions")
			return err
		})
	}},
}

var sessionCases = []contract{
	{"Put keeps all fields and replaces, ByHash and List give them", func(e *env) {
		e.ann()
		a, b, c := session("a", "", "ann"), session("b", "", "ann"), session("c", "other", "")
		b.Created, c.Created = at(1), at(2)
		e.update(func(ctx context.Context, tx store.Tx) error {
			s := tx.People().Sessions()
			return errors.Join(s.Put(ctx, a), s.Put(ctx, b), s.Put(ctx, c))
		})
		a.Seen = at(7)
		e.update(func(ctx context.Context, tx store.Tx) error { return tx.People().Sessions().Put(ctx, a) })
		e.view(func(ctx context.Context, tx store.Tx) error {
			s := tx.People().Sessions()
			got, err := s.ByHash(ctx, a.Hash)
			e.same(got, a, "ByHash")
			_, missing := s.ByHash(ctx, [32]byte{1})
			e.want(missing, slipstream.ErrNotFound, "an unknown hash")
			hers, err2 := s.List(ctx, "", "ann")
			e.same(hers, []store.Session{b, a}, "of a member")
			others, err3 := s.List(ctx, "other", "")
			e.same(others, []store.Session{c}, "of a token")
			all, err4 := s.List(ctx, "", "")
			e.same(all, []store.Session{c, b, a}, "all")
			return errors.Join(err, err2, err3, err4)
		})
	}},
	{"a session or ticket of nobody is ErrNotFound and does not end the transaction", func(e *env) {
		e.ann()
		e.update(func(ctx context.Context, tx store.Tx) error {
			p := tx.People()
			stray := token("stray")
			stray.Member = "bob"
			e.want(p.Sessions().Put(ctx, session("a", "", "bob")), slipstream.ErrNotFound, "member's session")
			e.want(p.Sessions().Put(ctx, session("a", "t9", "")), slipstream.ErrNotFound, "token's session")
			e.want(p.Tickets().Put(ctx, ticket("a", "", "bob")), slipstream.ErrNotFound, "ticket")
			e.want(p.Tokens().Put(ctx, stray), slipstream.ErrNotFound, "token")
			return p.Sessions().Put(ctx, session("a", "", "ann"))
		})
	}},
	{"sessions go with their token, also when it is made anew with the same id, but stay when it is changed", func(e *env) {
		e.ann()
		there := func(want int) func(context.Context, store.Tx) error {
			return func(ctx context.Context, tx store.Tx) error {
				all, err := tx.People().Sessions().List(ctx, "other", "")
				e.same(len(all), want, "sessions")
				return err
			}
		}
		e.update(func(ctx context.Context, tx store.Tx) error {
			p := tx.People()
			return errors.Join(p.Sessions().Put(ctx, session("a", "other", "")), p.Tokens().Put(ctx, token("other")), there(1)(ctx, tx))
		})
		e.update(func(ctx context.Context, tx store.Tx) error {
			p := tx.People()
			return errors.Join(p.Tokens().Delete(ctx, "other"), p.Tokens().Put(ctx, token("other")), there(0)(ctx, tx))
		})
	}},
	{"Delete and Expire end sessions", func(e *env) {
		e.ann()
		e.update(func(ctx context.Context, tx store.Tx) error {
			s := tx.People().Sessions()
			over, idle, fine := session("over", "", "ann"), session("idle", "", "ann"), session("fine", "", "ann")
			over.Expires, over.Seen, idle.Seen, fine.Seen = at(30), at(30), at(10), at(11)
			e.must(errors.Join(s.Put(ctx, over), s.Put(ctx, idle), s.Put(ctx, fine), s.Expire(ctx, at(30), at(10))))
			all, err := s.List(ctx, "", "")
			e.same(all, []store.Session{fine}, "what is left")
			e.must(s.Delete(ctx, fine.Hash))
			e.want(s.Delete(ctx, fine.Hash), slipstream.ErrNotFound, "Delete again")
			return err
		})
	}},
}

var ticketCases = []contract{
	{"Put keeps all fields, ByHash gives them, Delete takes the ticket once", func(e *env) {
		e.ann()
		hers, its := ticket("a", "", "ann"), ticket("b", "other", "")
		e.update(func(ctx context.Context, tx store.Tx) error {
			return errors.Join(tx.People().Tickets().Put(ctx, hers), tx.People().Tickets().Put(ctx, its))
		})
		e.update(func(ctx context.Context, tx store.Tx) error {
			t := tx.People().Tickets()
			got, err := t.ByHash(ctx, its.Hash)
			e.same(got, its, "ByHash")
			e.want(t.Put(ctx, its), slipstream.ErrConflict, "the same code")
			e.must(t.Delete(ctx, its.Hash))
			e.want(t.Delete(ctx, its.Hash), slipstream.ErrNotFound, "Delete again")
			_, missing := t.ByHash(ctx, its.Hash)
			e.want(missing, slipstream.ErrNotFound, "ByHash of what was taken")
			return err
		})
	}},
	{"DeleteOf and Expire take tickets back", func(e *env) {
		e.ann()
		left := func(ctx context.Context, tx store.Tx) (out string) {
			for _, id := range []string{"a", "b", "c"} {
				if _, err := tx.People().Tickets().ByHash(ctx, ticket(id, "", "").Hash); err == nil {
					out += id
				}
			}
			return out
		}
		a, b, c := ticket("a", "", "ann"), ticket("b", "", "ann"), ticket("c", "other", "")
		b.Kind, c.Expires = "sign-in", at(6)
		e.update(func(ctx context.Context, tx store.Tx) error {
			t := tx.People().Tickets()
			e.must(errors.Join(t.Put(ctx, a), t.Put(ctx, b), t.Put(ctx, c), t.DeleteOf(ctx, "ann", "invitation")))
			e.same(left(ctx, tx), "bc", "after DeleteOf")
			e.must(t.Expire(ctx, at(5)))
			e.same(left(ctx, tx), "c", "after Expire")
			return nil
		})
	}},
}
