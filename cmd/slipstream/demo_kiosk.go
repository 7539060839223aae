//go:build !device

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"
)

// kiosk is one device of the demo: `slipstream run` with a directory of its own.
type kiosk struct {
	name   string
	events chan demoEvent
	done   chan struct{}
}

// start switches a kiosk on; it ends with ctx.
func (d *demo) start(ctx context.Context, name string) *kiosk {
	k := &kiosk{name: name, events: make(chan demoEvent, 64), done: make(chan struct{})}
	dir := filepath.Join(d.dir, strings.ReplaceAll(name, " ", "-"))
	args := []string{"run", "--json", "--app", "shop", "--dir", dir, "--poll", "500ms", "--confirm-after", "3s", "--", d.program, "demo-program", "{dir}"}
	if len(d.kiosks) == 0 {
		d.say("$ slipstream run --app shop --dir %s --poll 500ms --confirm-after 3s -- %s demo-program {dir}", dir, filepath.Base(d.program))
	}
	d.kiosks = append(d.kiosks, k)
	printed, shown := io.Pipe()
	go func() {
		defer close(k.done)
		code := run(ctx, args, d.environ, strings.NewReader(""), shown, shown)
		if code != exitOK && ctx.Err() == nil {
			fmt.Fprintf(d.out(), "    [%s] ended with exit code %d\n", name, code)
		}
		shown.Close()
	}()
	go func() {
		defer close(k.events)
		lines := bufio.NewScanner(printed)
		for lines.Scan() {
			e := demoEvent{Text: lines.Text()}
			if json.Unmarshal(lines.Bytes(), &e) != nil {
				e.Text = "» " + e.Text // the shop's own words
			}
			if e.Event == "control" {
				continue
			}
			fmt.Fprintf(d.out(), "    [%s] %s\n", name, e.Text)
			select {
			case k.events <- e:
			default: // nobody waits for it
			}
		}
	}()
	return k
}

// await waits for the next event of a kind and passes over the others.
func (k *kiosk) await(ctx context.Context, kind string) (demoEvent, error) {
	patience := time.NewTimer(demoPatience)
	defer patience.Stop()
	for {
		select {
		case e, open := <-k.events:
			if !open {
				return e, errors.New(k.name + " has stopped")
			}
			if e.Event == kind {
				return e, nil
			}
		case <-patience.C:
			return demoEvent{}, fmt.Errorf("%s: no %s within %s", k.name, kind, demoPatience)
		case <-ctx.Done():
			return demoEvent{}, ctx.Err()
		}
	}
}
