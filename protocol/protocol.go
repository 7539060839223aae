// Package protocol is what the adapters of other systems' update protocols stand on. An adapter translates: a request
// into the arguments of the one decision, the decision into the answer that its clients know. It has no rollout logic
// and no storage of its own.
//
// A [Keeper] holds, for one adapter, an immutable [Catalogue] of the apps that it is switched on for and of their
// releases, made anew whenever the store changes; so an adapter answers a check without I/O, like the server's own check.
// What an adapter's clients need of a release and the release does not have by itself (a checksum of another kind, an
// archive) is rendered once, after publishing, and kept as a store.Rendition.
package protocol

import (
	"bytes"
	"cmp"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/blob"
	"github.com/slipstream-ota/slipstream/store"
)

// Protocol is one foreign protocol.
type Protocol interface {
	// Name is what switches, paths and renditions are named by.
	Name() string
	// Check refuses options that the protocol does not understand; nil means none are set.
	Check(options json.RawMessage) error
	// Fits refuses a release of a shape that the protocol's clients cannot take.
	Fits(m *slipstream.Manifest) error
	// Render makes what the clients need of a release that fits. It is called outside of transactions, maybe on two nodes
	// at once, and gives the same for the same release.
	Render(ctx context.Context, r *slipstream.Release, blobs blob.Store) (store.Rendition, error)
}

// Choosy is a Protocol whose options say more about what its clients can take.
type Choosy interface {
	// Wants reports whether clients of an app with these options could be offered a release at all. What they could not is
	// neither rendered nor refused.
	Wants(options json.RawMessage, m *slipstream.Manifest) bool
	// FitsWith refuses a release that clients of an app with these options cannot take.
	FitsWith(options json.RawMessage, m *slipstream.Manifest) error
}

// Decider answers by the one decision; package deliver has it.
type Decider interface {
	Decide(q Question) (Answer, error)
}

// MaxOptions bounds the options of one switch, in bytes.
const MaxOptions = 16 << 10

func switchKey(protocol, app string) string { return "protocol/" + protocol + "/" + app }

// Enable switches a protocol on for an app, with its options (a JSON object, nil for none).
func Enable(ctx context.Context, tx store.Tx, p Protocol, app string, options json.RawMessage) error {
	if _, err := tx.Apps().Get(ctx, app); err != nil {
		return fmt.Errorf("app %q: %w", app, err)
	}
	if len(options) > MaxOptions {
		return slipstream.Invalidf("options of %s: more than %d bytes", p.Name(), MaxOptions)
	}
	if err := p.Check(options); err != nil {
		return err
	}
	if len(options) == 0 {
		options = json.RawMessage(`{}`)
	}
	return tx.Settings().Set(ctx, switchKey(p.Name(), app), options)
}

// Disable switches a protocol off; slipstream.ErrNotFound when it was not on.
func Disable(ctx context.Context, tx store.Tx, protocol, app string) error {
	return tx.Settings().Delete(ctx, switchKey(protocol, app))
}

// Switched gives the options of the apps that a protocol is switched on for.
func Switched(ctx context.Context, tx store.Tx, protocol string) (map[string]json.RawMessage, error) {
	list, err := tx.Settings().List(ctx, switchKey(protocol, ""))
	if err != nil {
		return nil, err
	}
	out := make(map[string]json.RawMessage, len(list))
	for _, s := range list {
		out[strings.TrimPrefix(s.Key, switchKey(protocol, ""))] = s.Value
	}
	return out, nil
}

// Fits refuses a release that clients of a protocol which is switched on for its app could not take, so that nobody
// publishes what a part of the fleet never gets.
func Fits(ctx context.Context, tx store.Tx, protocols []Protocol, m *slipstream.Manifest) error {
	for _, p := range protocols {
		options, err := tx.Settings().Get(ctx, switchKey(p.Name(), m.App))
		if errors.Is(err, slipstream.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		choosy, picks := p.(Choosy)
		if picks && !choosy.Wants(options, m) {
			continue
		}
		err = p.Fits(m)
		if picks && err == nil {
			err = choosy.FitsWith(options, m)
		}
		if err != nil {
			change := cmp.Or(slipstream.HintOf(err), "change the release")
			return slipstream.Hint(fmt.Errorf("clients of protocol %s cannot take this release: %w", p.Name(), err),
				"%s, or switch the protocol off: slipstream protocol disable %s --app %s", change, p.Name(), m.App)
		}
	}
	return nil
}

// SingleFile is the file that clients of a single-file protocol get of a release: its only one, or its entry.
func SingleFile(m *slipstream.Manifest) (slipstream.File, error) {
	if len(m.Files) == 1 {
		return m.Files[0], nil
	}
	for _, f := range m.Files {
		if f.Path == m.Entry {
			return f, nil
		}
	}
	return slipstream.File{}, slipstream.Invalidf("it has %d files and no entry: these clients take exactly one file", len(m.Files))
}

// ReadOptions reads the options of an app's switch into to; there says which there are, for whoever has to mend them.
func ReadOptions(name string, raw json.RawMessage, to any, there string) error {
	if len(raw) == 0 {
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(to); err != nil {
		return slipstream.Invalidf("options of %s: %v; %s", name, err, there)
	}
	return nil
}

// Checksum reads the file that SingleFile names and gives its MD5 in lower-case hex, by which older clients check a
// download. The SHA-256 is computed along with it, so that no bytes but the signed ones get an MD5.
func Checksum(ctx context.Context, m *slipstream.Manifest, blobs blob.Store) (f slipstream.File, sum string, err error) {
	if f, err = SingleFile(m); err != nil {
		return f, "", err
	}
	o, err := blobs.Open(ctx, f.SHA256)
	if err != nil {
		return f, "", fmt.Errorf("open %s: %w", f.Path, err)
	}
	defer func() { _ = o.Close() }() // only read from
	weak, strong := md5.New(), sha256.New()
	n, err := io.Copy(io.MultiWriter(weak, strong), io.LimitReader(o, f.Size+1))
	if err != nil {
		return f, "", fmt.Errorf("read %s: %w", f.Path, err)
	}
	if n != f.Size || slipstream.DigestOf([32]byte(strong.Sum(nil))) != f.SHA256 {
		return f, "", slipstream.Refuse(slipstream.ReasonFileMismatch, f.Path, "the stored bytes are not the signed ones")
	}
	return f, hex.EncodeToString(weak.Sum(nil)), nil
}
