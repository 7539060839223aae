package ocrunner

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/blob"
	"github.com/slipstream-ota/slipstream/protocol"
	"github.com/slipstream-ota/slipstream/publish/delta/bsdiff"
	"github.com/slipstream-ota/slipstream/store"
)

// FormatBSDIFF is the format of increments: BSDIFF40, which every platform has a reader for.
const FormatBSDIFF = "bsdiff"

const (
	maxIncrementFile = 32 << 20 // bytes of either patch
	maxAsked         = 256      // increments that wait to be made
	maxKnown         = 10000    // increments remembered at once
)

// Increments makes the differences between patches that devices ask for, in the background, and remembers them: a device
// that asks first gets the whole patch, the next one the increment.
type Increments struct {
	catalogue func() *protocol.Catalogue
	store     store.Store
	blobs     blob.Store
	log       *slog.Logger
	asked     chan pair

	mu    sync.Mutex
	known map[pair]made
}

type pair struct{ from, to slipstream.Digest }

// made is what came of a pair; without a digest it is not worth having.
type made struct {
	sum  slipstream.Digest
	size int64
}

// NewIncrements makes none before Run.
func NewIncrements(catalogue func() *protocol.Catalogue, st store.Store, blobs blob.Store, log *slog.Logger) *Increments {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Increments{catalogue: catalogue, store: st, blobs: blobs, log: log, asked: make(chan pair, maxAsked), known: map[pair]made{}}
}

// Find gives the increment from one blob to another, or none while it is not made or not worth it. It does no I/O.
func (n *Increments) Find(from, to slipstream.Digest) (slipstream.Digest, int64, bool) {
	p := pair{from, to}
	n.mu.Lock()
	m, ok := n.known[p]
	n.mu.Unlock()
	if !ok && from != to {
		select {
		case n.asked <- p:
		default: // asked for again by the next device
		}
	}
	return m.sum, m.size, m.sum != ""
}

// Run makes what is asked for until ctx ends.
func (n *Increments) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case p := <-n.asked:
			if err := n.Make(ctx, p.from, p.to); err != nil && ctx.Err() == nil {
				n.log.LogAttrs(ctx, slog.LevelError, "an increment could not be made", slog.Any("error", err))
			}
		}
	}
}

// Make makes one increment, unless it is known.
func (n *Increments) Make(ctx context.Context, from, to slipstream.Digest) error {
	p := pair{from, to}
	n.mu.Lock()
	_, ok := n.known[p]
	n.mu.Unlock()
	if ok {
		return nil
	}
	releases, err := n.stored(ctx, p)
	if err != nil || releases == nil {
		return err
	}
	old, err := n.read(ctx, from)
	if err != nil {
		return err
	}
	target, err := n.read(ctx, to)
	if err != nil {
		return err
	}
	if old == nil || target == nil {
		n.remember(p, made{})
		return nil
	}
	var patch, again bytes.Buffer
	if err := bsdiff.Diff(ctx, &patch, old, target); err != nil {
		return fmt.Errorf("diff: %w", err)
	}
	if err := bsdiff.Apply(ctx, &again, bytes.NewReader(old), int64(len(old)), bytes.NewReader(patch.Bytes()), int64(patch.Len()), int64(len(target))); err != nil || !bytes.Equal(again.Bytes(), target) {
		return errors.Join(errors.New("prove increment: it does not give the patch"), err)
	}
	if patch.Len() >= len(target) {
		n.remember(p, made{})
		return nil
	}
	m := made{slipstream.DigestOf(sha256.Sum256(patch.Bytes())), int64(patch.Len())}
	if err := n.blobs.Put(ctx, m.sum, m.size, bytes.NewReader(patch.Bytes())); err != nil {
		return fmt.Errorf("store increment: %w", err)
	}
	doc, err := json.Marshal(map[string]slipstream.Digest{"from": from, "to": to})
	if err != nil {
		return err
	}
	err = n.store.Update(ctx, func(tx store.Tx) error {
		return tx.Containers().PutRendition(ctx, store.Rendition{Release: releases.to, From: releases.from, Protocol: Name, Size: m.size, SHA256: m.sum, Doc: doc})
	})
	if errors.Is(err, slipstream.ErrNotFound) {
		return nil // deleted meanwhile
	}
	if err == nil {
		n.remember(p, m)
	}
	return err
}

// stored gives the releases that stand behind a pair, unless the increment is in the store already, or they are gone.
func (n *Increments) stored(ctx context.Context, p pair) (releases *pair, err error) {
	var list []store.Rendition
	if err := n.store.View(ctx, func(tx store.Tx) (err error) {
		list, err = tx.Containers().Renditions(ctx, Name)
		return err
	}); err != nil {
		return nil, err
	}
	releases = &pair{}
	for _, r := range list {
		switch {
		case r.From == "" && r.SHA256 == p.from:
			releases.from = r.Release
		case r.From == "" && r.SHA256 == p.to:
			releases.to = r.Release
		}
		var doc struct{ From, To slipstream.Digest }
		if r.From != "" && json.Unmarshal(r.Doc, &doc) == nil && (pair{doc.From, doc.To}) == p {
			n.remember(p, made{r.SHA256, r.Size})
			return nil, nil
		}
	}
	if releases.from == "" || releases.to == "" {
		return nil, nil
	}
	return releases, nil
}

func (n *Increments) remember(p pair, m made) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.known) >= maxKnown {
		n.known = map[pair]made{}
	}
	n.known[p] = m
}

// read gives a blob, nil when it is too large to be worth it.
func (n *Increments) read(ctx context.Context, d slipstream.Digest) (_ []byte, err error) {
	o, err := n.blobs.Open(ctx, d)
	if err != nil {
		return nil, fmt.Errorf("open blob: %w", err)
	}
	defer func() { _ = o.Close() }() // only read from
	if o.Size() > maxIncrementFile {
		return nil, nil
	}
	b, err := io.ReadAll(io.LimitReader(o, o.Size()))
	if err != nil {
		return nil, fmt.Errorf("read blob: %w", err)
	}
	if slipstream.DigestOf(sha256.Sum256(b)) != d {
		return nil, slipstream.Refuse(slipstream.ReasonFileMismatch, d.Short(), "the stored bytes are others")
	}
	return b, nil
}
