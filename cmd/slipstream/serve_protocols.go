package main

import (
	"context"
	"net"
	"net/http"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/protocol"
	"github.com/slipstream-ota/slipstream/protocol/easyclick"
	"github.com/slipstream-ota/slipstream/store"
)

// protocols lists every foreign protocol; a new one is one line here and one in surfaces.
func protocols() []protocol.Protocol { return []protocol.Protocol{easyclick.Protocol{}} }

// fitsProtocols refuses releases that the clients of a protocol which is on could not take.
func fitsProtocols(ctx context.Context, tx store.Tx, m *slipstream.Manifest) error {
	return protocol.Fits(ctx, tx, protocols(), m)
}

// foreign are the surfaces of the foreign protocols, by the first part of their paths.
type foreign struct {
	keepers  []*protocol.Keeper
	surfaces map[string]http.Handler
}

// foreign puts the adapters on top of the device side.
func (c *serveConfig) foreign(o opened, decider protocol.Decider, bytes http.Handler) *foreign {
	f := &foreign{surfaces: map[string]http.Handler{}}
	keep := func(p protocol.Protocol) func() *protocol.Catalogue {
		k := protocol.NewKeeper(p, o.store, o.blobs, c.log)
		f.keepers = append(f.keepers, k)
		return k.Catalogue
	}
	trusted := c.trusted()
	base := protocol.BaseURL(c.baseURL, func(r *http.Request) bool {
		host, _, err := net.SplitHostPort(r.RemoteAddr)
		return err == nil && trusted != nil && trusted(host)
	})
	f.surfaces[easyclick.Name] = easyclick.New(easyclick.Config{Catalogue: keep(easyclick.Protocol{}), Decider: decider, Bytes: bytes, BaseURL: base, Log: c.log})
	return f
}

// run keeps what the adapters answer from fresh until ctx ends.
func (f *foreign) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, k := range f.keepers {
		group.Go(func() error { return k.Run(ctx) })
	}
	return group.Wait()
}

// surface gives the adapter that a path belongs to, or nil.
func (f *foreign) surface(path string) http.Handler {
	name, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return f.surfaces[name]
}
