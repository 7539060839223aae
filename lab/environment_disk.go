package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/client"
)

const smallDisk = 1 << 20

// onSmallDisk is a device with release 2 in force on a real file system of its own.
func onSmallDisk(ctx context.Context, t *trials, reasons ...slipstream.Reason) (*hardLife, *mounted, error) {
	m, err := mountSmall(filepath.Join(t.dir, "mount"), smallDisk)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errNotHere, err)
	}
	disk := client.Disk{}
	h, err := newHardLife(machine{fs: disk, locks: disk, dir: filepath.Join(m.dir, "updates"), settle: func() {}}, t.env.Seed)
	if err == nil {
		h.start(ctx, h.clock)
		h.confirm(ctx)
		h.offerRelease(Spec{Package: mainPkg, Seq: 2})
		h.update(ctx)
		h.start(ctx, h.clock)
		h.confirm(ctx)
		if p := h.problem(); p != "" {
			err = errors.New(p)
		}
	}
	if err != nil {
		return nil, nil, errors.Join(err, m.unmount())
	}
	h.reasons = reasons
	return h, m, nil
}

// realSmallDisk leaves less and less room on a real file system before an update.
func realSmallDisk(ctx context.Context, t *trials) error {
	step := 4 << 10
	if t.env.Quick {
		step = 20 << 10
	}
	for room := 0; room <= 100<<10; room += step {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		h, m, err := onSmallDisk(ctx, t, slipstream.ReasonDiskFull)
		if err != nil {
			return err
		}
		filler := filepath.Join(m.dir, "filler")
		err = fill(filler, room)
		if err == nil {
			h.goThrough(ctx)
			err = os.Remove(filler)
		}
		if err == nil {
			h.recover(ctx)
		}
		t.expect(fmt.Sprintf("%d KiB left", room>>10), h.problem())
		if err = errors.Join(err, h.stop(), m.unmount()); err != nil {
			return err
		}
	}
	return nil
}

// goThrough is an update with a bad trial and its confirmation, whatever fails.
func (h *hardLife) goThrough(ctx context.Context) {
	h.offerRelease(Spec{Package: mainPkg, Seq: 3})
	h.update(ctx)
	h.start(ctx, h.clock)
	h.crash(ctx)
	h.start(ctx, h.clock)
	h.confirm(ctx)
	if h.client != nil {
		h.may("report", h.client.Report(ctx))
	}
	h.repo.Withdraw(production, h.releases["main3"])
	h.update(ctx)
	h.start(ctx, h.clock)
}

// fill writes a file until the disk is full, and then leaves room bytes.
func fill(name string, room int) error {
	f, err := os.Create(name)
	if err != nil {
		return fmt.Errorf("fill disk: %w", err)
	}
	page := make([]byte, 4<<10)
	size := int64(0)
	for err == nil {
		var n int
		n, err = f.Write(page)
		size += int64(n)
	}
	if errors.Is(err, syscall.ENOSPC) {
		err = f.Truncate(max(size-int64(room), 0))
	}
	return errors.Join(err, f.Close())
}

// realReadOnlyDisk is a file system that turns read-only between two processes, at several points of an update.
func realReadOnlyDisk(ctx context.Context, t *trials) error {
	for point, before := range []func(h *hardLife){
		func(*hardLife) {},
		func(h *hardLife) { h.offerRelease(Spec{Package: mainPkg, Seq: 4}); h.update(ctx) },
		func(h *hardLife) {
			h.offerRelease(Spec{Package: mainPkg, Seq: 4})
			h.update(ctx)
			h.start(ctx, h.clock)
		},
	} {
		h, m, err := onSmallDisk(ctx, t, slipstream.ReasonReadOnly)
		if err != nil {
			return err
		}
		before(h)
		err = errors.Join(h.stop(), m.remount(true))
		if err == nil {
			h.start(ctx, h.clock)
			t.expectf(h.launch != nil && h.launch.Reason == slipstream.ReasonReadOnly && h.launch.Packages[mainPkg].Seq == 2,
				fmt.Sprintf("start at point %d", point), "%+v", h.launch)
			h.goThrough(ctx)
			err = errors.Join(h.stop(), m.remount(false))
		}
		if err == nil {
			h.recover(ctx)
		}
		t.expect(fmt.Sprintf("read-only at point %d", point), h.problem())
		if err = errors.Join(err, h.stop(), m.unmount()); err != nil {
			return err
		}
	}
	return nil
}
