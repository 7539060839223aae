package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/blob"
	"github.com/slipstream-ota/slipstream/publish"
	"github.com/slipstream-ota/slipstream/publish/delta"
	"github.com/slipstream-ota/slipstream/store"
)

const (
	bases        = 5                // earlier releases that a new one gets containers from
	replanEvery  = 10 * time.Minute // what another node left undone is found this way
	retryFailing = time.Minute
)

// Containers builds the containers of releases that have none, one release at a time, in the background. It plans from
// what the store says, so it goes on after a restart, and doing a release twice changes nothing.
type Containers struct {
	store store.Store
	blobs blob.Store
	temp  string
	log   *slog.Logger
	wake  chan struct{}
}

// NewContainers makes the job; temp is the folder for temporary files, "" the system's.
func NewContainers(st store.Store, blobs blob.Store, temp string, log *slog.Logger) *Containers {
	return &Containers{store: st, blobs: blobs, temp: temp, log: log, wake: make(chan struct{}, 1)}
}

// Wake says that there may be something to do.
func (c *Containers) Wake() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Run works until ctx ends.
func (c *Containers) Run(ctx context.Context) error {
	for {
		wait := replanEvery
		if err := c.Build(ctx); err != nil && ctx.Err() == nil {
			c.log.LogAttrs(ctx, slog.LevelError, "containers could not be built", slog.Any("error", err))
			wait = retryFailing
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-c.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// Build makes the containers of every release that lacks its full one. A release that fails does not keep the others.
func (c *Containers) Build(ctx context.Context) error {
	plan, err := c.plan(ctx)
	if err != nil {
		return err
	}
	var failed error
	for _, digest := range plan {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := c.one(ctx, digest); err != nil {
			failed = errors.Join(failed, fmt.Errorf("release %s: %w", digest.Short(), err))
		}
	}
	return failed
}

// plan names the releases without a full container, newest first within a package.
func (c *Containers) plan(ctx context.Context) ([]slipstream.Digest, error) {
	var out []slipstream.Digest
	err := c.store.View(ctx, func(tx store.Tx) error {
		out = nil
		have, err := tx.Containers().All(ctx)
		if err != nil {
			return err
		}
		apps, err := tx.Apps().List(ctx)
		if err != nil {
			return err
		}
		for _, a := range apps {
			releases, err := tx.Releases().List(ctx, store.ReleaseFilter{App: a.Name})
			if err != nil {
				return err
			}
			for _, r := range releases {
				if !r.Embedded && !full(have[r.Digest]) {
					out = append(out, r.Digest)
				}
			}
		}
		return nil
	})
	return out, err
}

func full(list []slipstream.Container) bool {
	for _, c := range list {
		if c.From == "" && c.Codec == delta.CodecFull {
			return true
		}
	}
	return false
}

func (c *Containers) one(ctx context.Context, digest slipstream.Digest) error {
	var target *slipstream.Release
	var from []*slipstream.Release
	err := c.store.View(ctx, func(tx store.Tx) error {
		var err error
		if target, err = tx.Releases().Get(ctx, digest); err != nil {
			return err
		}
		m := target.Manifest
		from, err = tx.Releases().List(ctx, store.ReleaseFilter{App: m.App, Package: m.Package, Platform: m.Platform, BeforeSeq: m.Seq, Limit: bases})
		return err
	})
	if errors.Is(err, slipstream.ErrNotFound) {
		return nil // deleted meanwhile
	}
	if err != nil {
		return err
	}
	// The full container marks the release as done, so it is told last: after a crash in between, all are made again.
	var last *slipstream.Container
	_, err = publish.BuildContainers(ctx, c.blobs, target, from, publish.ContainerOptions{TempDir: c.temp}, func(ctx context.Context, k slipstream.Container) error {
		if k.From == "" {
			last = &k
			return nil
		}
		return c.put(ctx, digest, k)
	})
	if err != nil || last == nil {
		return err
	}
	return c.put(ctx, digest, *last)
}

func (c *Containers) put(ctx context.Context, release slipstream.Digest, k slipstream.Container) error {
	err := c.store.Update(ctx, func(tx store.Tx) error {
		if _, err := tx.Releases().Get(ctx, release); err != nil {
			return err
		}
		return tx.Containers().Put(ctx, release, k)
	})
	if errors.Is(err, slipstream.ErrNotFound) {
		return nil // deleted meanwhile
	}
	return err
}
