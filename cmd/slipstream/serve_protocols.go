//go:build !device

package main

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/auth"
	"github.com/slipstream-ota/slipstream/deliver"
	"github.com/slipstream-ota/slipstream/protocol"
	"github.com/slipstream-ota/slipstream/protocol/capgo"
	"github.com/slipstream-ota/slipstream/protocol/codepush"
	"github.com/slipstream-ota/slipstream/protocol/codepush/manage"
	"github.com/slipstream-ota/slipstream/protocol/easyclick"
	"github.com/slipstream-ota/slipstream/protocol/ocrunner"
	"github.com/slipstream-ota/slipstream/rollout"
	"github.com/slipstream-ota/slipstream/store"
)

// protocols lists every foreign protocol; a new one is one line here and one in surfaces.
func protocols() []protocol.Protocol {
	return []protocol.Protocol{easyclick.Protocol{}, ocrunner.Protocol{}, codepush.Protocol{}, capgo.Protocol{}}
}

// fitsProtocols refuses releases that the clients of a protocol which is on could not take.
func fitsProtocols(ctx context.Context, tx store.Tx, m *slipstream.Manifest) error {
	return protocol.Fits(ctx, tx, protocols(), m)
}

// foreign are the surfaces of the foreign protocols, by the first part of their paths.
type foreign struct {
	running  []func(ctx context.Context) error
	surfaces map[string]http.Handler
	patches  *ocrunner.Server
	bundles  *codepush.Server
	bundling *manage.Server
	settle   func(ctx context.Context) error // brings what was changed to devices of every kind
}

// foreign puts the adapters on top of the device side.
func (c *serveConfig) foreign(o opened, devices *deliver.Server, changes *rollout.Service, tokens *auth.Tokens, logins *auth.Limiter) *foreign {
	var decider protocol.Decider = devices
	bytes := devices.Handler()
	f := &foreign{surfaces: map[string]http.Handler{}}
	var keepers []*protocol.Keeper
	keep := func(p protocol.Protocol) func() *protocol.Catalogue {
		k := protocol.NewKeeper(p, o.store, o.blobs, c.log)
		f.running, keepers = append(f.running, k.Run), append(keepers, k)
		return k.Catalogue
	}
	base := protocol.BaseURL(c.baseURL, c.fromProxy())
	f.surfaces[easyclick.Name] = easyclick.New(easyclick.Config{Catalogue: keep(easyclick.Protocol{}), Decider: decider, Bytes: bytes, BaseURL: base, Log: c.log})
	patches := keep(ocrunner.Protocol{})
	links := ocrunner.NewTokens(o.links, o.store, nil, c.log)
	increments := ocrunner.NewIncrements(patches, o.store, o.blobs, c.log)
	f.running = append(f.running, links.Run, increments.Run)
	f.patches = ocrunner.New(ocrunner.Config{Catalogue: patches, Decider: decider, Tokens: links, Bytes: bytes, Increments: increments,
		RootApp: c.patchApp, RootChannel: c.patchChannel, Log: c.log})
	f.surfaces[ocrunner.Name] = f.patches
	keep(codepush.Protocol{})
	book := codepush.NewBook(o.store, o.blobs, nil, c.log)
	f.running = append(f.running, book.Run)
	f.bundles = codepush.New(codepush.Config{Book: book, Decider: decider, Reporter: devices, Running: protocol.Runs(o.store), Bytes: bytes, BaseURL: base, Log: c.log})
	f.surfaces[codepush.Name] = f.bundles
	keep(capgo.Protocol{})
	apps := capgo.NewBook(o.store, o.blobs, nil, c.log)
	f.running = append(f.running, apps.Run)
	f.surfaces[capgo.Name] = capgo.New(capgo.Config{Book: apps, Decider: decider, Reporter: devices, Running: protocol.Runs(o.store), Bytes: bytes,
		Blobs: o.blobs, BaseURL: base, Log: c.log})
	f.settle = func(ctx context.Context) error {
		var kept errgroup.Group
		for _, k := range keepers {
			kept.Go(func() error { return k.Settle(ctx) })
		}
		return errors.Join(devices.Settle(ctx), kept.Wait(), book.Settle(ctx), apps.Settle(ctx)) // the books read what the keepers made
	}
	f.bundling = manage.New(manage.Config{Store: o.store, Blobs: o.blobs, Rollout: changes, Tokens: tokens, Limiter: logins, Sender: c.sender(), BaseURL: base, Settle: f.settle, Log: c.log})
	return f
}

// run keeps what the adapters answer from fresh until ctx ends.
func (f *foreign) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, run := range f.running {
		group.Go(func() error { return run(ctx) })
	}
	return group.Wait()
}

// saysAddresses says whether answers under a path carry addresses of this server.
func (f *foreign) saysAddresses(path string) bool {
	s := f.surface(path)
	return s != nil && s != http.Handler(f.patches) // those name paths alone
}

// surface gives the adapter that a path belongs to, or nil.
func (f *foreign) surface(path string) http.Handler {
	if f.bundling.Owns(path) {
		return f.bundling
	}
	if f.patches.AtRoot(path) {
		return f.patches
	}
	if f.bundles.AtRoot(path) {
		return f.bundles
	}
	name, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return f.surfaces[name]
}
