//go:build !device

package main

import (
	"context"

	guard "github.com/slipstream-ota/slipstream/halt/watch"
	"github.com/slipstream-ota/slipstream/rollout"
)

// watcher watches the rollouts of all apps. Nodes of one database take turns.
func (c *serveConfig) watcher(o opened, changes *rollout.Service, looked func(context.Context, guard.Happening)) *guard.Watcher {
	return guard.New(guard.Config{Store: o.store, Rollout: changes, Every: c.guardEvery, Log: c.log, Looked: looked})
}
