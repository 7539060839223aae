//go:build !device

package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"

	"github.com/slipstream-ota/slipstream/publish/build"
)

// builder makes containers on this node. Nodes of one database share its queue.
func (c *serveConfig) builder(o opened) *build.Builder {
	host, err := os.Hostname()
	if err != nil {
		host = "node"
	}
	return build.New(build.Config{
		Store: o.store, Blobs: o.blobs, TempDir: filepath.Join(c.data, tempFolder), Log: c.log,
		Owner: fmt.Sprintf("%s %d %s", host, os.Getpid(), rand.Text()[:6]),
		Running: func(ctx context.Context, app, pkg string) ([]build.Share, error) {
			list, err := o.store.Reports().Fleet().Running(ctx, app, pkg)
			out := make([]build.Share, len(list))
			for i, r := range list {
				out[i] = build.Share{Release: r.Release, Devices: r.Devices}
			}
			return out, err
		},
	})
}
