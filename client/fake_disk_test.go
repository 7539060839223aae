package client

import (
	"io/fs"
	"sync"
	"syscall"
)

// faultyDisk is the real disk with a switch for errors. It does not wait for the platter.
type faultyDisk struct {
	Disk
	mu   sync.Mutex
	fail func(op, name string) error
}

func (d *faultyDisk) check(op, name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail == nil {
		return nil
	}
	return d.fail(op, name)
}

func (d *faultyDisk) set(fail func(op, name string) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fail = fail
}

type faultyFile struct {
	File
	d    *faultyDisk
	name string
}

func (f faultyFile) Write(p []byte) (int, error) {
	if err := f.d.check("write", f.name); err != nil {
		return 0, err
	}
	return f.File.Write(p)
}

func (*faultyDisk) SyncDir(string) error { return nil }

func (d *faultyDisk) Create(name string, perm fs.FileMode) (File, error) {
	if err := d.check("create", name); err != nil {
		return nil, err
	}
	f, err := d.Disk.Create(name, perm)
	if err != nil {
		return nil, err
	}
	return faultyFile{f, d, name}, nil
}

func (d *faultyDisk) Append(name string) (File, error) {
	if err := d.check("append", name); err != nil {
		return nil, err
	}
	f, err := d.Disk.Append(name)
	if err != nil {
		return nil, err
	}
	return faultyFile{f, d, name}, nil
}

type faultyScratch struct {
	ScratchFile
	d    *faultyDisk
	name string
}

func (f faultyScratch) WriteAt(p []byte, at int64) (int, error) {
	if err := f.d.check("scratch", f.name); err != nil {
		return 0, err
	}
	return f.ScratchFile.WriteAt(p, at)
}

func (d *faultyDisk) Scratch(name string) (ScratchFile, error) {
	f, err := d.Disk.Scratch(name)
	return faultyScratch{f, d, name}, err
}

func (d *faultyDisk) Rename(a, b string) error {
	if err := d.check("rename", b); err != nil {
		return err
	}
	return d.Disk.Rename(a, b)
}

func (d *faultyDisk) Remove(name string) error {
	if err := d.check("remove", name); err != nil {
		return err
	}
	return d.Disk.Remove(name)
}

func (d *faultyDisk) MkdirAll(name string) error {
	if err := d.check("mkdir", name); err != nil {
		return err
	}
	return d.Disk.MkdirAll(name)
}

func diskFull(string, string) error { return &fs.PathError{Op: "write", Err: syscall.ENOSPC} }

func readOnly(string, string) error { return &fs.PathError{Op: "write", Err: syscall.EROFS} }
