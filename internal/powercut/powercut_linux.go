package powercut

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// Supported says why this system has no such disks, nil when it has.
func Supported() error {
	if os.Geteuid() != 0 {
		return errors.New("mounting needs root")
	}
	for _, device := range []string{"/dev/fuse", "/dev/loop-control"} {
		f, err := os.OpenFile(device, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	for _, program := range []string{"mkfs.ext4", "losetup", "mount", "umount"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%s is not installed", program)
		}
	}
	return nil
}

// entry is one write, or a flush when data is nil.
type entry struct {
	at   int64
	data []byte
}

// Disk is a mounted disk that logs what is written to it.
type Disk struct {
	scratch string
	server  *fuse.Server
	loop    string
	mounted bool

	mu   sync.Mutex
	base []byte // when the log began
	now  []byte
	log  []entry
}

// New makes a disk of size bytes with an empty ext4 and mounts it, all below scratch. The log begins when it is mounted.
func New(ctx context.Context, scratch string, size int64) (_ *Disk, err error) {
	d := &Disk{scratch: scratch}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	for _, folder := range []string{"fuse", "disk"} {
		if err := os.MkdirAll(filepath.Join(scratch, folder), 0o700); err != nil {
			return nil, fmt.Errorf("make mount point: %w", err)
		}
	}
	blank := filepath.Join(scratch, "blank")
	if d.now, err = format(ctx, blank, size); err != nil {
		return nil, err
	}
	root := &folder{disk: d}
	d.server, err = fs.Mount(filepath.Join(scratch, "fuse"), root, &fs.Options{MountOptions: fuse.MountOptions{
		FsName: "powercut", Name: "powercut", DirectMountStrict: true, MaxWrite: 128 << 10,
	}})
	if err != nil {
		return nil, fmt.Errorf("mount FUSE: %w", err)
	}
	if d.loop, err = output(ctx, "losetup", "--find", "--show", filepath.Join(scratch, "fuse", "disk")); err != nil {
		return nil, err
	}
	if _, err := output(ctx, "mount", "-t", "ext4", d.loop, d.Dir()); err != nil {
		return nil, err
	}
	d.mounted = true
	d.mu.Lock()
	defer d.mu.Unlock()
	d.base, d.log = slices.Clone(d.now), nil
	return d, nil
}

// format makes an empty ext4 with a small journal.
func format(ctx context.Context, name string, size int64) ([]byte, error) {
	f, err := os.Create(name)
	if err == nil {
		err = errors.Join(f.Truncate(size), f.Close())
	}
	if err != nil {
		return nil, fmt.Errorf("make disk: %w", err)
	}
	_, err = output(ctx, "mkfs.ext4", "-q", "-F", "-b", "1024", "-J", "size=1", "-E", "lazy_itable_init=0,lazy_journal_init=0", name)
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(name)
	return b, errors.Join(err, os.Remove(name))
}

const patience = 30 * time.Second // with a program that mounts or unmounts

// output runs a program and gives the line that it prints. It runs to its end even when ctx ends, so that nobody wonders
// whether something was mounted.
func output(ctx context.Context, name string, args ...string) (string, error) {
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	var out, problem bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = &out, &problem
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(problem.String()))
	}
	return strings.TrimSpace(out.String()), nil
}

// Dir is where the disk is mounted.
func (d *Disk) Dir() string { return filepath.Join(d.scratch, "disk") }

// Len is how many writes and flushes there were.
func (d *Disk) Len() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.log)
}

// Flushes are the places of the log right after a flush.
func (d *Disk) Flushes() []int {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []int
	for i, e := range d.log {
		if e.data == nil {
			out = append(out, i+1)
		}
	}
	return out
}

// Image is the disk after its power was cut at a place of the log: everything before the last flush is there, and of what
// was written after it a random half of the blocks.
func (d *Disk) Image(cut int, seed uint64) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	flushed := 0
	for i := range cut {
		if d.log[i].data == nil {
			flushed = i
		}
	}
	random := rand.New(rand.NewPCG(seed, uint64(cut)))
	image := slices.Clone(d.base)
	for i, e := range d.log[:cut] {
		for at := 0; at < len(e.data); at += block {
			end := min(at+block, len(e.data))
			if i < flushed || random.IntN(2) == 0 {
				copy(image[e.at+int64(at):], e.data[at:end])
			}
		}
	}
	return image
}

const block = 4096 // bytes that a disk writes as one

// Close unmounts everything, whatever state it is in.
func (d *Disk) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var errs []error
	if d.mounted {
		errs = append(errs, unmount(ctx, d.Dir()))
		d.mounted = false
	}
	if d.loop != "" {
		_, err := output(ctx, "losetup", "--detach", d.loop)
		errs = append(errs, err)
		d.loop = ""
	}
	if d.server != nil {
		errs = append(errs, d.unmountFUSE(ctx))
		d.server = nil
	}
	return errors.Join(errs...)
}

// unmount waits for programs that were just begun and still hold our files. What stays busy is detached all the same.
func unmount(ctx context.Context, dir string) error {
	for range 100 {
		if _, err := output(ctx, "umount", dir); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
	_, err := output(context.WithoutCancel(ctx), "umount", "--lazy", dir)
	return err
}

// unmountFUSE waits for the loop device to let go of the file.
func (d *Disk) unmountFUSE(ctx context.Context) error {
	for {
		err := d.server.Unmount()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("unmount FUSE: %w", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// With mounts an image below scratch while use runs. What use writes need not survive, so nothing waits for flushes.
func With(ctx context.Context, scratch string, image []byte, use func(dir string) error) (err error) {
	dir, name := filepath.Join(scratch, "image"), filepath.Join(scratch, "image.ext4")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make mount point: %w", err)
	}
	if err := os.WriteFile(name, image, 0o600); err != nil {
		return fmt.Errorf("write image: %w", err)
	}
	defer func() { err = errors.Join(err, os.Remove(name)) }()
	if _, err := output(ctx, "mount", "-t", "ext4", "-o", "loop,barrier=0", name, dir); err != nil {
		return fmt.Errorf("%w: %w", ErrUnmountable, err)
	}
	defer func() {
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		err = errors.Join(err, unmount(late, dir)) // the loop device goes with it
	}()
	return use(dir)
}

// ErrUnmountable says that the file system itself did not survive.
var ErrUnmountable = errors.New("the image does not mount")

// folder is the root of the FUSE file system: it holds the disk.
type folder struct {
	fs.Inode
	disk *Disk
}

var _ fs.NodeOnAdder = (*folder)(nil)

func (f *folder) OnAdd(ctx context.Context) {
	f.AddChild("disk", f.NewPersistentInode(ctx, &file{disk: f.disk}, fs.StableAttr{Mode: syscall.S_IFREG}), true)
}

// file is the disk as a file.
type file struct {
	fs.Inode
	disk *Disk
}

var (
	_ fs.NodeGetattrer = (*file)(nil)
	_ fs.NodeOpener    = (*file)(nil)
	_ fs.NodeReader    = (*file)(nil)
	_ fs.NodeWriter    = (*file)(nil)
	_ fs.NodeFsyncer   = (*file)(nil)
)

func (f *file) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Mode, out.Size = 0o600, uint64(len(f.disk.now))
	return fs.OK
}

func (f *file) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return nil, fuse.FOPEN_DIRECT_IO, fs.OK
}

func (f *file) Read(_ context.Context, _ fs.FileHandle, dest []byte, at int64) (fuse.ReadResult, syscall.Errno) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if at >= int64(len(f.disk.now)) {
		return fuse.ReadResultData(nil), fs.OK
	}
	return fuse.ReadResultData(dest[:copy(dest, f.disk.now[at:])]), fs.OK
}

func (f *file) Write(_ context.Context, _ fs.FileHandle, data []byte, at int64) (uint32, syscall.Errno) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if at+int64(len(data)) > int64(len(f.disk.now)) {
		return 0, syscall.ENOSPC
	}
	copy(f.disk.now[at:], data)
	f.disk.log = append(f.disk.log, entry{at: at, data: slices.Clone(data)})
	return uint32(len(data)), fs.OK
}

func (f *file) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	f.disk.log = append(f.disk.log, entry{})
	return fs.OK
}
