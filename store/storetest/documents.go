package storetest

import (
	"context"
	"errors"
	"math"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/store"
)

var appCases = []contract{
	{"Create keeps all fields, Get and List give them", func(e *env) {
		e.update(func(ctx context.Context, tx store.Tx) error {
			return errors.Join(tx.Apps().Create(ctx, app("zoo")), tx.Apps().Create(ctx, app("shop")), tx.Apps().Create(ctx, store.App{Name: "bare"}))
		})
		e.view(func(ctx context.Context, tx store.Tx) error {
			one, err := tx.Apps().Get(ctx, "shop")
			e.same(one, app("shop"), "Get")
			all, err2 := tx.Apps().List(ctx)
			e.same(all, []store.App{{Name: "bare"}, app("shop"), app("zoo")}, "List, by name")
			return errors.Join(err, err2)
		})
	}},
	{"a taken name is ErrConflict", func(e *env) {
		e.shop()
		e.fails(slipstream.ErrConflict, "Create", func(ctx context.Context, tx store.Tx) error { return tx.Apps().Create(ctx, app("shop")) })
	}},
	{"an unknown app is ErrNotFound", func(e *env) {
		e.update(func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Apps().Get(ctx, "none")
			e.want(err, slipstream.ErrNotFound, "Get")
			e.want(tx.Apps().Save(ctx, app("none")), slipstream.ErrNotFound, "Save")
			e.want(tx.Apps().AddRoot(ctx, "none", 1, nil), slipstream.ErrNotFound, "AddRoot")
			e.want(tx.Apps().AddStateKey(ctx, store.StateKey{App: "none"}), slipstream.ErrNotFound, "AddStateKey")
			e.want(tx.Channels().Create(ctx, channel("c")), slipstream.ErrNotFound, "Channels.Create")
			e.want(tx.Releases().Put(ctx, release(1, "1")), slipstream.ErrNotFound, "Releases.Put")
			return nil
		})
	}},
	{"Save replaces display name, platforms and settings", func(e *env) {
		e.shop()
		changed := store.App{Name: "shop", Display: "New", Platforms: []string{"any"}, Settings: []byte(`{}`), Created: at(0)}
		e.update(func(ctx context.Context, tx store.Tx) error { return tx.Apps().Save(ctx, changed) })
		e.view(func(ctx context.Context, tx store.Tx) error {
			a, err := tx.Apps().Get(ctx, "shop")
			e.same(a, changed, "app")
			return err
		})
	}},
	{"roots are kept verbatim, in order, without gaps", func(e *env) {
		e.shop()
		e.update(func(ctx context.Context, tx store.Tx) error {
			e.want(tx.Apps().AddRoot(ctx, "shop", 2, []byte("two")), slipstream.ErrConflict, "2 before 1")
			e.must(tx.Apps().AddRoot(ctx, "shop", 1, []byte("one\x00\xff")))
			e.must(tx.Apps().AddRoot(ctx, "shop", 2, []byte("two")))
			e.must(tx.Apps().AddRoot(ctx, "shop", 2, []byte("two")))
			e.must(tx.Apps().AddRoot(ctx, "shop", 1, []byte("one\x00\xff")))
			e.want(tx.Apps().AddRoot(ctx, "shop", 2, []byte("other")), slipstream.ErrConflict, "2 again with other bytes")
			e.want(tx.Apps().AddRoot(ctx, "shop", 4, []byte("four")), slipstream.ErrConflict, "4 after 2")
			return nil
		})
		e.view(func(ctx context.Context, tx store.Tx) error {
			roots, err := tx.Apps().Roots(ctx, "shop")
			e.same(roots, [][]byte{[]byte("one\x00\xff"), []byte("two")}, "roots")
			none, err2 := tx.Apps().Roots(ctx, "none")
			e.same(len(none), 0, "roots of an unknown app")
			return errors.Join(err, err2)
		})
	}},
	{"state keys come oldest first, the same one twice is ErrConflict", func(e *env) {
		e.shop()
		old := store.StateKey{App: "shop", KeyID: "ff", Public: "pub", Sealed: []byte{0, 1}, Created: at(0)}
		young := store.StateKey{App: "shop", KeyID: "00", Public: "pub2", Sealed: []byte{2}, Created: at(1)}
		e.update(func(ctx context.Context, tx store.Tx) error {
			e.must(tx.Apps().AddStateKey(ctx, young))
			e.must(tx.Apps().AddStateKey(ctx, old))
			e.want(tx.Apps().AddStateKey(ctx, old), slipstream.ErrConflict, "again")
			keys, err := tx.Apps().StateKeys(ctx, "shop")
			e.same(keys, []store.StateKey{old, young}, "keys")
			return err
		})
	}},
}

var releaseCases = []contract{
	{"Put keeps all fields, Get gives them", func(e *env) {
		e.shop()
		want := release(1, "1.0.0")
		e.update(func(ctx context.Context, tx store.Tx) error { return tx.Releases().Put(ctx, want) })
		e.view(func(ctx context.Context, tx store.Tx) error {
			got, err := tx.Releases().Get(ctx, want.Digest)
			e.same(got, want, "release")
			_, missing := tx.Releases().Get(ctx, digest("none"))
			e.want(missing, slipstream.ErrNotFound, "an unknown release")
			return err
		})
	}},
	{"a seq not above the package's highest is ErrConflict", func(e *env) {
		e.shop()
		e.update(func(ctx context.Context, tx store.Tx) error {
			e.must(tx.Releases().Put(ctx, release(5, "1")))
			e.want(tx.Releases().Put(ctx, release(5, "2")), slipstream.ErrConflict, "the same seq")
			e.want(tx.Releases().Put(ctx, release(4, "3")), slipstream.ErrConflict, "a lower seq")
			e.must(tx.Releases().Put(ctx, release(9, "4")))
			other := release(1, "1")
			other.Manifest.Package = "cart"
			return tx.Releases().Put(ctx, sealed(other.Manifest))
		})
	}},
	{"a version taken for package, platform and runtime is ErrConflict", func(e *env) {
		e.shop()
		e.update(func(ctx context.Context, tx store.Tx) error {
			e.must(tx.Releases().Put(ctx, release(1, "1.0.0")))
			e.want(tx.Releases().Put(ctx, release(2, "1.0.0")), slipstream.ErrConflict, "the same version")
			ios := release(2, "1.0.0")
			ios.Manifest.Platform = "ios"
			e.must(tx.Releases().Put(ctx, sealed(ios.Manifest)))
			exact := release(3, "1.0.0")
			exact.Manifest.Runtime = slipstream.Runtime{Fingerprint: "*"}
			return tx.Releases().Put(ctx, sealed(exact.Manifest))
		})
	}},
	{"the very same digest again is no error and changes nothing", func(e *env) {
		e.shop()
		e.update(func(ctx context.Context, tx store.Tx) error {
			e.must(tx.Releases().Put(ctx, release(1, "1.0.0")))
			again := release(1, "1.0.0")
			again.Notes, again.Envelope = "other notes", []byte("other")
			return tx.Releases().Put(ctx, again)
		})
		e.view(func(ctx context.Context, tx store.Tx) error {
			got, err := tx.Releases().Get(ctx, release(1, "1.0.0").Digest)
			e.same(got, release(1, "1.0.0"), "release")
			return err
		})
	}},
	{"List filters, newest first within app and package", listReleases},
	{"Delete never lowers HighestSeq and takes the containers' rows along", func(e *env) {
		e.shop()
		r := release(7, "1.0.0")
		e.update(func(ctx context.Context, tx store.Tx) error {
			seq, err := tx.Releases().HighestSeq(ctx, "shop", "main")
			e.same(seq, int64(0), "highest seq without a release")
			e.must(tx.Releases().Put(ctx, r))
			e.must(tx.Containers().Put(ctx, r.Digest, slipstream.Container{Codec: "full/1", SHA256: digest("c")}))
			e.must(tx.Releases().Delete(ctx, r.Digest))
			e.want(tx.Releases().Delete(ctx, r.Digest), slipstream.ErrNotFound, "Delete again")
			return err
		})
		e.update(func(ctx context.Context, tx store.Tx) error {
			seq, err := tx.Releases().HighestSeq(ctx, "shop", "main")
			e.same(seq, int64(7), "highest seq")
			e.want(tx.Releases().Put(ctx, release(6, "2")), slipstream.ErrConflict, "a lower seq")
			all, err2 := tx.Containers().All(ctx)
			e.same(len(all), 0, "containers")
			return errors.Join(err, err2, tx.Releases().Put(ctx, release(8, "1.0.0")))
		})
	}},
	{"SetEnvelope replaces the envelope alone", func(e *env) {
		e.shop()
		r := release(1, "1.0.0")
		e.update(func(ctx context.Context, tx store.Tx) error {
			return errors.Join(tx.Releases().Put(ctx, r), tx.Releases().SetEnvelope(ctx, r.Digest, []byte("more signatures")))
		})
		e.update(func(ctx context.Context, tx store.Tx) error {
			got, err := tx.Releases().Get(ctx, r.Digest)
			r.Envelope = []byte("more signatures")
			e.same(got, r, "release")
			e.want(tx.Releases().SetEnvelope(ctx, digest("none"), nil), slipstream.ErrNotFound, "an unknown release")
			return err
		})
	}},
	{"a manifest with all 16,000 files and the greatest seq is kept", func(e *env) {
		e.shop()
		r := release(slipstream.MaxSafeInteger, "1.0.0")
		for len(r.Manifest.Files) < slipstream.MaxFiles {
			r.Manifest.Files = append(r.Manifest.Files, slipstream.File{Path: "z", Size: slipstream.MaxSafeInteger, SHA256: digest("z")})
		}
		e.update(func(ctx context.Context, tx store.Tx) error { return tx.Releases().Put(ctx, r) })
		e.view(func(ctx context.Context, tx store.Tx) error {
			got, err := tx.Releases().Get(ctx, r.Digest)
			e.same(got, r, "release")
			return err
		})
	}},
}

func listReleases(e *env) {
	e.shop()
	e.update(func(ctx context.Context, tx store.Tx) error {
		e.must(tx.Apps().Create(ctx, app("art")))
		for seq, version := range []string{"", "1", "2", "3"} {
			if seq > 0 {
				e.must(tx.Releases().Put(ctx, release(int64(seq), version)))
			}
		}
		ios := release(4, "2")
		ios.Manifest.Platform = "ios"
		cart := release(1, "1")
		cart.Manifest.Package = "cart"
		art := release(10, "1")
		art.Manifest.App = "art"
		return errors.Join(tx.Releases().Put(ctx, sealed(ios.Manifest)), tx.Releases().Put(ctx, sealed(cart.Manifest)), tx.Releases().Put(ctx, sealed(art.Manifest)))
	})
	for _, c := range []struct {
		filter store.ReleaseFilter
		want   string
	}{
		{store.ReleaseFilter{}, "art/main:10 shop/cart:1 shop/main:4 shop/main:3 shop/main:2 shop/main:1 "},
		{store.ReleaseFilter{App: "shop", Package: "main"}, "shop/main:4 shop/main:3 shop/main:2 shop/main:1 "},
		{store.ReleaseFilter{App: "shop", Package: "main", BeforeSeq: 4, Limit: 2}, "shop/main:3 shop/main:2 "},
		{store.ReleaseFilter{App: "shop", Platform: "any", Version: "2"}, "shop/main:2 "},
		{store.ReleaseFilter{App: "none"}, ""},
	} {
		e.view(func(ctx context.Context, tx store.Tx) error {
			got, err := tx.Releases().List(ctx, c.filter)
			names := ""
			for _, r := range got {
				names += r.Manifest.App + "/" + r.Manifest.Package + ":" + itoa(r.Manifest.Seq) + " "
			}
			e.same(names, c.want, "List")
			return err
		})
	}
}

var containerCases = []contract{
	{"renditions are kept by release, protocol and base, and go with their release", func(e *env) {
		e.shop()
		a, b := release(1, "1.0.0"), release(2, "2.0.0")
		whole := store.Rendition{Release: b.Digest, Protocol: "easyclick", Size: 3, SHA256: digest("x"), Doc: []byte(`{"md5":"1"}`)}
		diff := store.Rendition{Release: b.Digest, From: a.Digest, Protocol: "codepush", Size: 2, SHA256: digest("y"), Doc: []byte(`{}`)}
		e.update(func(ctx context.Context, tx store.Tx) error {
			older := whole
			older.Size = 99
			k := tx.Containers()
			return errors.Join(tx.Releases().Put(ctx, a), tx.Releases().Put(ctx, b), k.PutRendition(ctx, older), k.PutRendition(ctx, whole), k.PutRendition(ctx, diff))
		})
		e.view(func(ctx context.Context, tx store.Tx) error {
			one, err := tx.Containers().Renditions(ctx, "easyclick")
			e.same(one, []store.Rendition{whole}, "of a protocol")
			all, err2 := tx.Containers().Renditions(ctx, "")
			e.same(all, []store.Rendition{diff, whole}, "all")
			return errors.Join(err, err2)
		})
		e.fails(slipstream.ErrNotFound, "rendition of no release", func(ctx context.Context, tx store.Tx) error {
			return tx.Containers().PutRendition(ctx, store.Rendition{Release: digest("none"), Protocol: "easyclick"})
		})
		e.update(func(ctx context.Context, tx store.Tx) error { return tx.Releases().Delete(ctx, b.Digest) })
		e.view(func(ctx context.Context, tx store.Tx) error {
			all, err := tx.Containers().Renditions(ctx, "")
			e.same(len(all), 0, "renditions after their release went")
			return err
		})
	}},
	{"Put keeps, the same from and codec replaces, List and All give them", func(e *env) {
		e.shop()
		r := release(1, "1.0.0")
		full := slipstream.Container{Codec: "full/1", Size: 10, SHA256: digest("full")}
		changed := slipstream.Container{From: digest("old"), Codec: "changed/1", Size: 5, SHA256: digest("changed")}
		e.update(func(ctx context.Context, tx store.Tx) error {
			e.must(tx.Releases().Put(ctx, r))
			e.must(tx.Containers().Put(ctx, r.Digest, slipstream.Container{Codec: "full/1", Size: 99, SHA256: digest("older")}))
			return errors.Join(tx.Containers().Put(ctx, r.Digest, full), tx.Containers().Put(ctx, r.Digest, changed))
		})
		e.view(func(ctx context.Context, tx store.Tx) error {
			got, err := tx.Containers().List(ctx, r.Digest)
			e.same(got, []slipstream.Container{full, changed}, "List")
			all, err2 := tx.Containers().All(ctx)
			e.same(all, map[slipstream.Digest][]slipstream.Container{r.Digest: {full, changed}}, "All")
			return errors.Join(err, err2)
		})
	}},
	{"Delete removes one, ErrNotFound when it is not there", func(e *env) {
		e.shop()
		r := release(1, "1.0.0")
		full := slipstream.Container{Codec: "full/1", Size: 10, SHA256: digest("full")}
		e.update(func(ctx context.Context, tx store.Tx) error {
			e.must(errors.Join(tx.Releases().Put(ctx, r), tx.Containers().Put(ctx, r.Digest, full)))
			e.must(tx.Containers().Delete(ctx, r.Digest, full))
			e.want(tx.Containers().Delete(ctx, r.Digest, full), slipstream.ErrNotFound, "Delete again")
			got, err := tx.Containers().List(ctx, r.Digest)
			e.same(len(got), 0, "containers")
			return err
		})
	}},
	{"a container of an unknown release is ErrNotFound", func(e *env) {
		e.fails(slipstream.ErrNotFound, "Put", func(ctx context.Context, tx store.Tx) error {
			return tx.Containers().Put(ctx, digest("none"), slipstream.Container{})
		})
	}},
}

var channelCases = []contract{
	{"Create keeps all fields, Get and List give them", func(e *env) {
		e.shop()
		e.update(func(ctx context.Context, tx store.Tx) error {
			e.must(tx.Apps().Create(ctx, app("art")))
			artful := channel("zeta")
			artful.App = "art"
			return errors.Join(tx.Channels().Create(ctx, channel("beta")), tx.Channels().Create(ctx, artful))
		})
		e.view(func(ctx context.Context, tx store.Tx) error {
			one, err := tx.Channels().Get(ctx, "shop", "beta")
			e.same(one, channel("beta"), "Get")
			of, err2 := tx.Channels().List(ctx, "shop")
			e.same(of, []store.Channel{channel("beta"), channel("production")}, "List of an app, by name")
			all, err3 := tx.Channels().List(ctx, "")
			e.same(len(all), 3, "all channels")
			_, missing := tx.Channels().Get(ctx, "shop", "none")
			e.want(missing, slipstream.ErrNotFound, "an unknown channel")
			return errors.Join(err, err2, err3)
		})
	}},
	{"a taken name is ErrConflict", func(e *env) {
		e.shop()
		e.fails(slipstream.ErrConflict, "Create", func(ctx context.Context, tx store.Tx) error {
			return tx.Channels().Create(ctx, channel("production"))
		})
	}},
	{"Save replaces display name, policy and updated", func(e *env) {
		e.shop()
		changed := channel("production")
		changed.Display, changed.Policy, changed.Updated = "New", []byte(`{"x":1}`), at(9)
		e.update(func(ctx context.Context, tx store.Tx) error {
			e.want(tx.Channels().Save(ctx, channel("none")), slipstream.ErrNotFound, "an unknown channel")
			return tx.Channels().Save(ctx, changed)
		})
		e.view(func(ctx context.Context, tx store.Tx) error {
			got, err := tx.Channels().Get(ctx, "shop", "production")
			e.same(got, changed, "channel")
			return err
		})
	}},
	{"Delete takes the states along, ErrNotFound when it is not there", func(e *env) {
		e.shop()
		e.update(func(ctx context.Context, tx store.Tx) error {
			e.must(tx.Channels().Create(ctx, channel("beta")))
			e.must(tx.States().Put(ctx, state("beta", "any", 1)))
			e.must(tx.States().Put(ctx, state("production", "any", 1)))
			e.must(tx.Channels().Delete(ctx, "shop", "beta"))
			e.want(tx.Channels().Delete(ctx, "shop", "beta"), slipstream.ErrNotFound, "Delete again")
			_, err := tx.States().Get(ctx, "shop", "beta", "any")
			e.want(err, slipstream.ErrNotFound, "its state")
			_, err = tx.States().Get(ctx, "shop", "production", "any")
			return err
		})
	}},
}

var stateCases = []contract{
	{"Put keeps all fields, Get gives them with their Rev", func(e *env) {
		e.shop()
		want := state("production", "any", math.MaxInt32)
		want.Private = []byte(`{"private":true}`)
		e.update(func(ctx context.Context, tx store.Tx) error {
			e.must(tx.States().Put(ctx, want))
			e.want(tx.States().Put(ctx, state("none", "any", 1)), slipstream.ErrNotFound, "an unknown channel")
			return tx.States().Put(ctx, state("production", "ios", 1))
		})
		e.view(func(ctx context.Context, tx store.Tx) error {
			got, err := tx.States().Get(ctx, "shop", "production", "any")
			if got.Rev <= 0 {
				e.Errorf("Rev is %d", got.Rev)
			}
			want.Rev = got.Rev
			e.same(got, want, "state")
			ios, err2 := tx.States().Get(ctx, "shop", "production", "ios")
			if ios.Private != nil {
				e.Errorf("Private is %v, was nil", ios.Private)
			}
			_, missing := tx.States().Get(ctx, "shop", "production", "none")
			e.want(missing, slipstream.ErrNotFound, "an unknown platform")
			return errors.Join(err, err2)
		})
	}},
	{"the epoch never falls", func(e *env) {
		e.shop()
		e.update(func(ctx context.Context, tx store.Tx) error {
			e.must(tx.States().Put(ctx, state("production", "any", 10)))
			e.want(tx.States().Put(ctx, state("production", "any", 9)), slipstream.ErrConflict, "a lower epoch")
			e.must(tx.States().Put(ctx, state("production", "any", 10)))
			e.must(tx.States().Put(ctx, state("production", "any", slipstream.MaxSafeInteger)))
			return tx.States().Put(ctx, state("production", "ios", 1))
		})
		e.fails(slipstream.ErrConflict, "in a later Update", func(ctx context.Context, tx store.Tx) error {
			return tx.States().Put(ctx, state("production", "any", 11))
		})
	}},
	{"Since gives what changed, by rising Rev", func(e *env) {
		e.shop()
		put := func(platforms ...string) {
			e.update(func(ctx context.Context, tx store.Tx) error {
				for _, p := range platforms {
					e.must(tx.States().Put(ctx, state("production", p, 1)))
				}
				return nil
			})
		}
		put("any", "ios")
		put("android")
		put("any")
		rows := e.since(0)
		e.same(platforms(rows), "ios android any ", "all states by Rev")
		e.same(platforms(e.since(rows[0].Rev)), "android any ", "since the first")
		e.same(platforms(e.since(rows[2].Rev)), "", "since the last")
	}},
	{"Since never misses a row while others write", sinceNeverMisses},
	{"Due gives the rows past their half life", func(e *env) {
		e.shop()
		e.update(func(ctx context.Context, tx store.Tx) error {
			late := state("production", "late", 1)
			late.Issued, late.Expires = at(30), at(90)
			return errors.Join(tx.States().Put(ctx, state("production", "any", 1)), tx.States().Put(ctx, late))
		})
		e.view(func(ctx context.Context, tx store.Tx) error {
			for minutes, want := range map[int]string{29: "", 30: "", 31: "any ", 59: "any ", 61: "any late "} {
				rows, err := tx.States().Due(ctx, at(minutes))
				e.must(err)
				e.same(platforms(rows), want, "due after "+itoa(int64(minutes))+" minutes")
			}
			return nil
		})
	}},
}
