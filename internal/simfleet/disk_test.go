package simfleet

import (
	"errors"
	"io"
	"io/fs"
	"testing"

	"github.com/slipstream-ota/slipstream/client"
)

func read(t *testing.T, d *disk, name string) string {
	t.Helper()
	f, err := d.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(f)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func write(t *testing.T, d *disk, name, text string, open func(string) (client.File, error)) {
	t.Helper()
	f, err := open(name)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.WriteString(f, text)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestDisksShareBytesAndNothingElse(t *testing.T) {
	t.Parallel()
	p := newPool()
	a, b := newDisk(p), newDisk(p)
	for _, d := range []*disk{a, b} {
		if err := d.MkdirAll("/x/y"); err != nil {
			t.Fatal(err)
		}
		write(t, d, "/x/y/same", "the same", func(n string) (client.File, error) { return d.Create(n, 0o600) })
	}
	_, one, _, _ := a.walk("/x/y/same")
	_, two, _, _ := b.walk("/x/y/same")
	if &one.data[0] != &two.data[0] {
		t.Error("equal files are there twice")
	}
	write(t, a, "/x/y/same", " and more", a.Append)
	if got, other := read(t, a, "/x/y/same"), read(t, b, "/x/y/same"); got != "the same and more" || other != "the same" {
		t.Errorf("%q and %q", got, other)
	}
}

func TestDiskFailsLikeADisk(t *testing.T) {
	t.Parallel()
	d := newDisk(newPool())
	if _, err := d.Open("/none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("open what is not there: %v", err)
	}
	if err := d.Rename("/none", "/some"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("rename what is not there: %v", err)
	}
	if _, err := d.Create("/none/file", 0o600); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("create in what is not there: %v", err)
	}
	if err := errors.Join(d.MkdirAll("/full/folder"), d.MkdirAll("/other/folder")); err != nil {
		t.Fatal(err)
	}
	if err := d.Remove("/full"); err == nil {
		t.Error("a full folder is removed")
	}
	if err := d.Rename("/full", "/other"); err == nil {
		t.Error("a folder takes another one's place")
	}
	if err := d.Rename("/full/folder", "/moved"); err != nil {
		t.Error(err)
	}
	if err := d.Remove("/full"); err != nil {
		t.Error(err)
	}
	list, err := d.ReadDir("/")
	if err != nil || len(list) != 2 || list[0].Name() != "moved" || !list[0].IsDir() || list[1].Name() != "other" {
		t.Errorf("%v, %v", list, err)
	}
	lock, err := d.TryLock("/lock")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.TryLock("/lock"); !errors.Is(err, client.ErrLocked) {
		t.Errorf("a lock is had twice: %v", err)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := d.TryLock("/lock"); err != nil {
		t.Errorf("a lock stays: %v", err)
	}
}
