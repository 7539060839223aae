package client

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/client/trial"
)

// disk is a device's directory.
type disk struct {
	FS
	dir string
}

func (d disk) path(parts ...string) string {
	return filepath.Join(append([]string{d.dir}, parts...)...)
}

func (d disk) tree(digest slipstream.Digest) string { return d.path("releases", string(digest)) }

// rootFile is one link of the chain from the shipped root to the newest.
func (d disk) rootFile(version int64) string {
	return d.path("trust", "roots", strconv.FormatInt(version, 10)+".json")
}

func (d disk) manifestFile(digest slipstream.Digest) string {
	return d.path("releases", string(digest)+".manifest.json")
}

// makeFolders makes the device's directory and what is always in it. Until the device has an id, the names of the directory
// and of those above it that had to be made are made durable too: without them nothing in it is.
func (d disk) makeFolders() error {
	var above []string
	if !d.exists(d.path("device.json")) {
		above = d.above()
	}
	for _, folder := range []string{"trust", filepath.Join("trust", "roots"), "releases", "packages", "fetch", "leases"} {
		if err := d.MkdirAll(d.path(folder)); err != nil {
			return err
		}
	}
	for _, folder := range above {
		if err := d.SyncDir(folder); err != nil && !errors.Is(err, fs.ErrPermission) {
			return fmt.Errorf("fsync folder above the directory: %w", err)
		}
	}
	return nil
}

// above are the folder that holds the directory and, while they are missing, those above it.
func (d disk) above() []string {
	up := filepath.Dir(d.dir)
	out := []string{up}
	for !d.exists(up) && up != filepath.Dir(up) {
		up = filepath.Dir(up)
		out = append(out, up)
	}
	return out
}

func (d disk) stateEnvelope(channel string) string {
	return d.path("trust", "state-"+channel+".json")
}

// write is how everything that must survive a crash is written: old bytes or new bytes, never a mixture. Only the
// holder of the lock writes, so the temporary name needs no randomness.
func (d disk) write(name string, data []byte) (err error) {
	temp := name + ".tmp"
	f, err := d.Create(temp, 0o600)
	if err != nil {
		return fmt.Errorf("create %s: %w", temp, err)
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", temp, err), ignoreMissing(d.Remove(temp)))
	}
	if err := d.Rename(temp, name); err != nil {
		return fmt.Errorf("rename to %s: %w", name, err)
	}
	if err := d.SyncDir(filepath.Dir(name)); err != nil {
		return fmt.Errorf("fsync folder of %s: %w", name, err)
	}
	return nil
}

// read gives the content of a file of at most limit bytes.
func (d disk) read(name string, limit int64) ([]byte, error) {
	f, err := d.Open(name)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("read %s: more than %d bytes", name, limit)
	}
	return b, nil
}

func (d disk) exists(name string) bool {
	f, err := d.Open(name)
	if err != nil {
		return false
	}
	return f.Close() == nil
}

// removeAll deletes a tree. What is not there is no error.
func (d disk) removeAll(name string) error {
	entries, err := d.ReadDir(filepath.Dir(name))
	if err != nil {
		return ignoreMissing(err)
	}
	for _, e := range entries {
		if e.Name() == filepath.Base(name) {
			return d.removeEntry(name, e)
		}
	}
	return nil
}

// removeEntry deletes what a folder lists as e. A link is removed and never followed, because what it leads to is not
// ours, whoever made it: what is a folder is said by the listing of the folder above, which does not follow links either.
func (d disk) removeEntry(name string, e fs.DirEntry) error {
	if e.IsDir() {
		entries, err := d.ReadDir(name)
		if err != nil {
			return ignoreMissing(err)
		}
		for _, e := range entries {
			if err := d.removeEntry(filepath.Join(name, e.Name()), e); err != nil {
				return err
			}
		}
	}
	return ignoreMissing(d.Remove(name))
}

// hidden is where a tree goes before it is deleted, and where leftovers look for it.
func (d disk) hidden(digest slipstream.Digest) string {
	return d.path("releases", ".old-"+string(digest))
}

// hide takes a tree out of sight by one rename, so that half of one is never seen.
func (d disk) hide(digest slipstream.Digest) error {
	return errors.Join(d.removeAll(d.hidden(digest)), d.Rename(d.tree(digest), d.hidden(digest)))
}

// discard deletes a tree.
func (d disk) discard(digest slipstream.Digest) error {
	if err := d.hide(digest); err != nil {
		return err
	}
	return d.removeAll(d.hidden(digest))
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// body is everything that changes in place.
type body struct {
	Trial       trial.State                  `json:"trial"`
	Outbox      []slipstream.Event           `json:"outbox,omitempty"` // oldest first
	Channels    map[string]seen              `json:"channels,omitempty"`
	StateRole   string                       `json:"stateRole,omitempty"` // fingerprint of the role under which Channels was learned
	RootChecked int64                        `json:"rootChecked,omitempty"`
	Grants      map[string]bool              `json:"grants,omitempty"`    // rollout → admitted
	Ungranted   map[string]int64             `json:"ungranted,omitempty"` // rollout → epoch in which it had no place for this device
	Ran         map[string]slipstream.Digest `json:"ran,omitempty"`       // what each package ran last
	Failed      map[string]slipstream.Reason `json:"failed,omitempty"`    // failures told already, by stage, package and release
	Told        map[string]int64             `json:"told,omitempty"`      // Unix seconds when it was last told what a package runs
	Left        map[string]int64             `json:"left,omitempty"`      // by channel and release, the epoch in which it was left at once
}

// seen is what a device remembers of a channel beside the state itself. Signed is the highest issued time, in Unix
// seconds, of any document that it accepted there. ETag belongs to the envelope with that SHA-256.
type seen struct {
	Epoch    int64  `json:"epoch,omitempty"`
	Signed   int64  `json:"signed,omitempty"`
	ETag     string `json:"etag,omitempty"`
	Envelope string `json:"envelope,omitempty"`
}

const (
	stateFormat   = 1
	maxStateFile  = 16 << 20
	stateFile     = "state.json"
	previousState = "state.previous.json"
)

// generation is one file of state: a body and its checksum.
type generation struct {
	Format int             `json:"format"`
	Number int64           `json:"generation"`
	SHA256 string          `json:"sha256"`
	Body   json.RawMessage `json:"body"`
}

func encodeGeneration(number int64, b body) ([]byte, error) {
	raw, err := json.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("encode state: %w", err)
	}
	sum := sha256.Sum256(raw)
	out, err := json.Marshal(generation{Format: stateFormat, Number: number, SHA256: hex.EncodeToString(sum[:]), Body: raw})
	if err != nil {
		return nil, fmt.Errorf("encode state: %w", err)
	}
	// What could not be read again must never take the place of what can.
	if len(out) > maxStateFile {
		return nil, slipstream.Refuse(slipstream.ReasonTooLarge, stateFile, "%d bytes, at most %d can be read", len(out), maxStateFile)
	}
	if _, _, err := decodeGeneration(out); err != nil {
		return nil, fmt.Errorf("encode state: %w", err)
	}
	return out, nil
}

// decodeGeneration reads what encodeGeneration writes. What the checksum does not cover exactly is refused as
// storage_corrupted. Fields of the body that a later version added are passed over: an app may be set back by its store.
func decodeGeneration(data []byte) (int64, body, error) {
	refuse := func(format string, args ...any) (int64, body, error) {
		return 0, body{}, slipstream.Refuse(slipstream.ReasonStorageCorrupted, stateFile, format, args...)
	}
	var g generation
	if err := decodeStrict(data, &g); err != nil {
		return refuse("parse: %w", err)
	}
	if g.Format != stateFormat {
		return refuse("format %d is not %d", g.Format, stateFormat)
	}
	sum := sha256.Sum256(g.Body)
	if hex.EncodeToString(sum[:]) != g.SHA256 {
		return refuse("the checksum is wrong")
	}
	var b body
	if err := json.Unmarshal(g.Body, &b); err != nil {
		return refuse("parse body: %w", err)
	}
	// The shell around the body, which no checksum covers, is written in one way only.
	if again, err := json.Marshal(g); err != nil || !bytes.Equal(again, data) {
		return refuse("it is not written as this program writes it")
	}
	return g.Number, b, nil
}

func decodeStrict(data []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("trailing data")
	}
	return nil
}

// loaded is what was found on disk. Damage names what was unusable.
type loaded struct {
	number   int64
	body     body
	raw      []byte       // bytes of the newest good generation
	previous *trial.State // of the generation before, when it is readable
	found    bool
	newest   bool // state.json itself was readable
	damage   []error
}

// load reads the newest good generation: state.json, else the one before, else nothing. A file that is not exactly right
// is as good as none.
func (d disk) load() loaded {
	var l loaded
	for _, name := range []string{stateFile, previousState} {
		raw, err := d.read(d.path(name), maxStateFile)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		var number int64
		var b body
		if err == nil {
			number, b, err = decodeGeneration(raw)
		}
		switch {
		case err != nil:
			l.damage = append(l.damage, err)
		case !l.found:
			l.number, l.body, l.raw, l.found, l.newest = number, b, raw, true, name == stateFile
		default:
			l.previous = &b.Trial
		}
	}
	return l
}

// classify gives the reason of a failed write.
func classify(err error) slipstream.Reason {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return slipstream.ReasonDiskFull
	case errors.Is(err, syscall.EROFS), errors.Is(err, fs.ErrPermission):
		return slipstream.ReasonReadOnly
	case errors.Is(err, ErrLocked):
		return slipstream.ReasonLocked
	}
	return slipstream.ReasonOf(err, slipstream.ReasonInternal)
}

// storage wraps a failed write with its reason.
func storage(what string, err error) error {
	if err == nil {
		return nil
	}
	if reason := classify(err); reason == slipstream.ReasonDiskFull || reason == slipstream.ReasonReadOnly {
		return &slipstream.Refusal{Reason: reason, What: what, Err: err}
	}
	return fmt.Errorf("%s: %w", what, err)
}

// digests lists the trees that are visible under releases.
func (d disk) digests() ([]slipstream.Digest, error) {
	entries, err := d.ReadDir(d.path("releases"))
	if err != nil {
		return nil, ignoreMissing(err)
	}
	var out []slipstream.Digest
	for _, e := range entries {
		if digest := slipstream.Digest(e.Name()); e.IsDir() && digest.Valid() {
			out = append(out, digest)
		}
	}
	return out, nil
}

// leftovers removes what an interrupted write left: unfinished trees and temporary files.
func (d disk) leftovers() error {
	for _, folder := range []string{"", "trust", filepath.Join("trust", "roots"), "releases", "fetch"} {
		entries, err := d.ReadDir(d.path(folder))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), ".new-") || strings.HasPrefix(e.Name(), ".old-") || strings.HasSuffix(e.Name(), ".tmp") {
				if err := d.removeEntry(d.path(folder, e.Name()), e); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
