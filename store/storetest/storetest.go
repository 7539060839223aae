// Package storetest is the contract of store.Store as tests. Every implementation runs it:
//
//	func TestContract(t *testing.T) {
//		storetest.Run(t, func(t *testing.T) func() store.Store { … })
//	}
package storetest

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/store"
)

// Run checks every sentence of store.Store's contract. database makes an empty, migrated database and gives the
// function that opens it: each call is one more node on the same database. Run closes the stores.
func Run(t *testing.T, database func(t *testing.T) func() store.Store) {
	for _, group := range []struct {
		name  string
		cases []contract
	}{
		{"transactions", transactions}, {"apps", appCases}, {"releases", releaseCases}, {"containers", containerCases},
		{"channels", channelCases}, {"states", stateCases}, {"audit", auditCases}, {"tokens", tokenCases}, {"members", memberCases}, {"sessions", sessionCases}, {"tickets", ticketCases},
		{"settings", settingCases}, {"jobs", jobCases}, {"evidence", evidenceCases}, {"grants", grantCases}, {"alerts", alertCases}, {"reports", reportCases}, {"trials", trialCases}, {"fleet", fleetCases}, {"nodes", nodeCases},
	} {
		t.Run(group.name, func(t *testing.T) {
			for _, c := range group.cases {
				t.Run(c.name, func(t *testing.T) {
					t.Parallel()
					e := &env{T: t, open: database(t)}
					e.s = e.node()
					c.test(e)
				})
			}
		})
	}
}

// contract is one sentence and the test of it.
type contract struct {
	name string
	test func(e *env)
}

// env is a test with a store on a database of its own.
type env struct {
	*testing.T
	s    store.Store
	open func() store.Store
}

func (e *env) node() store.Store {
	s := e.open()
	e.Cleanup(func() {
		if err := s.Close(); err != nil {
			e.Errorf("close: %v", err)
		}
	})
	return s
}

func (e *env) must(err error) {
	e.Helper()
	if err != nil {
		e.Fatalf("%v (hint: %s)", err, slipstream.HintOf(err))
	}
}

func (e *env) want(err, kind error, what string) {
	e.Helper()
	if !errors.Is(err, kind) {
		e.Errorf("%s: %v, want %v", what, err, kind)
	}
}

func (e *env) same(got, want any, what string) {
	e.Helper()
	if !reflect.DeepEqual(got, want) {
		e.Errorf("%s:\n got %+v\nwant %+v", what, got, want)
	}
}

func (e *env) update(fn func(ctx context.Context, tx store.Tx) error) {
	e.Helper()
	ctx := e.Context()
	e.must(e.s.Update(ctx, func(tx store.Tx) error { return fn(ctx, tx) }))
}

func (e *env) view(fn func(ctx context.Context, tx store.Tx) error) {
	e.Helper()
	ctx := e.Context()
	e.must(e.s.View(ctx, func(tx store.Tx) error { return fn(ctx, tx) }))
}

// fails runs fn in an Update of its own and wants its error to be kind.
func (e *env) fails(kind error, what string, fn func(ctx context.Context, tx store.Tx) error) {
	e.Helper()
	ctx := e.Context()
	e.want(e.s.Update(ctx, func(tx store.Tx) error { return fn(ctx, tx) }), kind, what)
}

// at is an instant that every store keeps exactly: microseconds, UTC.
func at(minutes int) time.Time {
	return time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC).Add(time.Duration(minutes) * time.Minute)
}

func digest(s string) slipstream.Digest { return slipstream.DigestOf(sha256.Sum256([]byte(s))) }

func app(name string) store.App {
	return store.App{Name: name, Display: "The " + name + " ✓", Platforms: []string{"any", "android"}, Settings: []byte(`{"a":1}`), Created: at(0)}
}

// release is one of shop's main package for any platform and runtime.
func release(seq int64, version string) *slipstream.Release {
	m := &slipstream.Manifest{
		App: "shop", Package: "main", Platform: "any", Runtime: slipstream.AnyRuntime(), Seq: seq, Version: version, Entry: "main.js",
		Created:  slipstream.At(at(0)),
		Files:    []slipstream.File{{Path: "a/<b>&é.js", Size: 3, SHA256: digest("x"), Exec: true}, {Path: "main.js", Size: 0, SHA256: digest("")}},
		Fallback: []slipstream.Digest{digest("before")},
		Requires: map[string]slipstream.Requirement{"base": {MinSeq: 3}, "lib": {Digests: []slipstream.Digest{digest("lib")}}},
		Data:     &slipstream.DataFormats{Reads: []string{"1"}, Writes: "2"},
		Meta:     map[string]json.RawMessage{"k": json.RawMessage(`{"n":"<1>"}`)},
	}
	return sealed(m)
}

func sealed(m *slipstream.Manifest) *slipstream.Release {
	d := digest(fmt.Sprintf("%s %s %s %s %d %s", m.App, m.Package, m.Platform, m.Runtime, m.Seq, m.Version))
	return &slipstream.Release{Digest: d, Manifest: m, Envelope: []byte("envelope of " + d), Published: slipstream.At(at(1)), Notes: "notes", Embedded: m.Seq == 1}
}

func channel(name string) store.Channel {
	return store.Channel{App: "shop", Name: name, Display: "D " + name, Policy: []byte(`{"rollouts":[]}`), Created: at(0), Updated: at(1)}
}

func state(ch, platform string, epoch int64) store.StateRow {
	return store.StateRow{App: "shop", Channel: ch, Platform: platform, Epoch: epoch, Issued: at(0), Expires: at(60), Envelope: fmt.Appendf(nil, "state %d", epoch)}
}

// shop makes the app shop with the channel production.
func (e *env) shop() {
	e.Helper()
	e.update(func(ctx context.Context, tx store.Tx) error {
		return errors.Join(tx.Apps().Create(ctx, app("shop")), tx.Channels().Create(ctx, channel("production")))
	})
}
