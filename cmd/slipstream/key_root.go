//go:build !device

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/internal/atomicfile"
	"github.com/slipstream-ota/slipstream/sign"
)

func newKeyRootCommand(t *tool) *cobra.Command {
	c := &cobra.Command{
		Use:   "root",
		Short: "Make, sign, merge and rotate an app's root",
		Long: `A root is made on one machine and signed on as many as its threshold needs: each person runs "key root sign" on the
file, one after the other, or on copies that "key root merge" puts together.`,
		Args: noSubcommand,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newRootInitCommand(t), newRootSignCommand(t), newRootMergeCommand(t), newRootRotateCommand(t), newRootShowCommand(t))
	return c
}

// rootFlags say which keys a root lists.
type rootFlags struct {
	app, from, out                      string
	rootKeys, releaseKeys, stateKeys    []string
	remove, signBy                      []string
	rootThreshold, releaseThreshold     int
	expires                             string
	signers                             []sign.Signer
	rootRole, releaseRole, stateRoleNew sign.RoleKeys
}

func (f *rootFlags) define(c *cobra.Command, verb string) {
	c.Flags().StringArrayVar(&f.rootKeys, verb+"root-key", nil, "a key of the root role: file or base64 of the public half (repeatable)")
	c.Flags().StringArrayVar(&f.releaseKeys, verb+"release-key", nil, "a key that signs releases: file or base64 of the public half (repeatable)")
	c.Flags().IntVar(&f.rootThreshold, "root-threshold", 0, "how many root keys must sign a root")
	c.Flags().IntVar(&f.releaseThreshold, "release-threshold", 0, "how many release keys must sign a release")
	c.Flags().StringVar(&f.expires, "expires", "5y", "life of the root: 5y, 90d, 12h, or a time like 2031-01-31T00:00:00Z")
	c.Flags().StringVar(&f.out, "out", "root.json", "file to write; never overwritten")
}

// load reads the keys; private ones sign the root at once.
func (f *rootFlags) load(t *tool) error {
	for _, role := range []struct {
		args  []string
		keys  *sign.RoleKeys
		signs bool
	}{{f.rootKeys, &f.rootRole, true}, {f.releaseKeys, &f.releaseRole, false}, {f.stateKeys, &f.stateRoleNew, false}, {f.signBy, &sign.RoleKeys{}, true}} {
		for _, arg := range role.args {
			pub, signer, err := t.loadPublic(arg)
			if err != nil {
				return err
			}
			role.keys.Keys = append(role.keys.Keys, pub)
			if role.signs && signer != nil {
				f.signers = append(f.signers, signer)
			}
		}
	}
	return nil
}

// expiry reads --expires.
func (f *rootFlags) expiry(now time.Time) (time.Time, error) {
	bad := usageError{fmt.Errorf("--expires %q: expected a life like 5y, 90d or 12h, or a time like %s", f.expires, slipstream.TimeLayout)}
	if at, err := slipstream.ParseTime(f.expires); err == nil {
		return at.Time, nil
	}
	if len(f.expires) < 2 {
		return now, bad
	}
	n, err := strconv.Atoi(f.expires[:len(f.expires)-1])
	if err != nil || n < 1 || n > 100_000 {
		return now, bad
	}
	switch f.expires[len(f.expires)-1] {
	case 'y':
		return now.AddDate(n, 0, 0), nil
	case 'd':
		return now.AddDate(0, 0, n), nil
	case 'h':
		return now.Add(time.Duration(n) * time.Hour), nil
	}
	return now, bad
}

func newRootInitCommand(t *tool) *cobra.Command {
	var f rootFlags
	c := &cobra.Command{
		Use:   "init",
		Short: "Make version 1 of an app's root",
		Long: `Init lists the keys of an app in a new root. Of people on other machines give the public half, as "key show" prints it;
private root keys that are given sign at once. The state key is the server's: it may be in no other role.`,
		Example: "  slipstream key root init --app shop --root-key root.key --release-key release.key --state-key sIgH0…= --out root.json",
		Args:    exactly(0, "no argument"),
		RunE: func(*cobra.Command, []string) error {
			for _, flag := range []struct {
				name  string
				given bool
			}{{"app", f.app != ""}, {"root-key", len(f.rootKeys) > 0}, {"release-key", len(f.releaseKeys) > 0}, {"state-key", len(f.stateKeys) > 0}} {
				if !flag.given {
					return usageError{slipstream.Hint(fmt.Errorf("--%s is missing", flag.name), "see `slipstream key root init --help`")}
				}
			}
			expires, err := f.expiry(time.Now())
			if err != nil {
				return err
			}
			if err := f.load(t); err != nil {
				return err
			}
			f.rootRole.Threshold, f.releaseRole.Threshold = f.rootThreshold, f.releaseThreshold
			root, err := sign.NewRoot(f.app, expires, f.rootRole, f.releaseRole, f.stateRoleNew)
			if err != nil {
				return err
			}
			return t.writeRoot(root, &f, nil)
		},
	}
	c.Flags().StringVar(&f.app, "app", "", "name of the app")
	c.Flags().StringArrayVar(&f.stateKeys, "state-key", nil, "the server's public key of the state role (repeatable)")
	f.define(c, "")
	return c
}

// writeRoot signs root by the private keys at hand and writes it to a new file.
func (t *tool) writeRoot(root *slipstream.Root, f *rootFlags, previous *sign.Trust) error {
	e, err := sign.Seal(sign.TypeRoot, root, f.signers...)
	if err != nil {
		return err
	}
	if err := writeNew(f.out, e.Encode()); err != nil {
		return err
	}
	return t.printRoot(f.out, e.Encode(), previous)
}

// writeNew writes a file that is not there yet.
func writeNew(path string, data []byte) error {
	_, err := os.Lstat(path)
	if err == nil {
		return slipstream.Hint(fmt.Errorf("%s exists already: %w", path, slipstream.ErrConflict), "choose another file with --out")
	}
	if !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("look for %s: %w", path, err)
	}
	return atomicfile.Write(path, data, 0o644)
}

func newRootSignCommand(t *tool) *cobra.Command {
	var files []string
	c := &cobra.Command{
		Use:   "sign FILE",
		Short: "Add your signature to a root file",
		Long: `Sign prints what FILE says and, against this machine's own root, who else must sign, and adds the signature of a root
key in place. To look without signing: "key root show FILE".`,
		Example: "  slipstream key root sign root.json --key my-root.key",
		Args:    exactly(1, "one root file"),
		RunE: func(_ *cobra.Command, args []string) error {
			if len(files) == 0 {
				return usageError{slipstream.Hint(errors.New("--key is missing"), "name your private root key: --key root.key")}
			}
			return t.signRoot(args[0], files)
		},
	}
	c.Flags().StringArrayVar(&files, "key", nil, "private root key (repeatable)")
	return c
}

func (t *tool) signRoot(path string, files []string) error {
	raw, err := readSmall(path, slipstream.MaxRootBytes)
	if err != nil {
		return fmt.Errorf("read root: %w", err)
	}
	root, e, _, err := sign.DraftRoot(raw)
	if err != nil {
		return err
	}
	previous, err := t.checkSignable(root, e)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if !t.json { // before the keys are opened, so that whoever is asked for a passphrase has seen it
		if err := t.printRoot(path, raw, previous); err != nil {
			return err
		}
	}
	for _, file := range files {
		s, err := t.loadKey(file)
		if err != nil {
			return err
		}
		if id := sign.KeyID(s.Public()); !slices.Contains(root.Roles.Root.Keys, id) {
			fmt.Fprintf(t.stderr, "Note: %s is no root key of this root; its signature counts only if it was one of the version before.\n", id)
		}
		if err := e.Sign(s); err != nil {
			return err
		}
	}
	if err := atomicfile.Write(path, e.Encode(), 0o644); err != nil {
		return err
	}
	if !t.json {
		_, _, signers, err := sign.DraftRoot(e.Encode())
		if err == nil {
			fmt.Fprintf(t.stdout, "Signed: %s\n", signedText(signers.Signed, signers.Needed, signers.Complete()))
		}
		return err
	}
	return t.printRoot(path, e.Encode(), previous)
}

// checkSignable refuses a draft that takes the place of a version that this machine's own root has or is past of; the
// own root is given when the draft follows it directly.
func (t *tool) checkSignable(draft *slipstream.Root, e *sign.Envelope) (previous *sign.Trust, err error) {
	own, err := t.ownRoot(draft.App)
	if own == nil || err != nil {
		return nil, err
	}
	have := own.Root().Version
	if draft.Version == have+1 {
		return own, nil
	}
	if draft.Version == have && !sameDocument(own.Envelope(), e.Encode()) {
		return nil, slipstream.Hint(slipstream.Refuse(slipstream.ReasonRootVersion, "root", "your own root of version %d says something else", have),
			"two roots of one version split the devices: make it the next one by `slipstream key root rotate`")
	}
	return nil, nil
}

func newRootMergeCommand(t *tool) *cobra.Command {
	var out string
	c := &cobra.Command{
		Use:     "merge FILE FILE…",
		Short:   "Put the signatures of several copies of a root together",
		Example: "  slipstream key root merge root-ann.json root-bob.json --out root.json",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) < 2 {
				return exactly(2, "at least two root files")(c, args)
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			var merged *sign.Envelope
			for _, path := range args {
				raw, err := readSmall(path, slipstream.MaxRootBytes)
				if err != nil {
					return fmt.Errorf("read root: %w", err)
				}
				_, e, _, err := sign.DraftRoot(raw)
				if err != nil {
					return fmt.Errorf("%s: %w", path, err)
				}
				if merged == nil {
					merged = e
				} else if err := merged.Merge(e); err != nil {
					return fmt.Errorf("merge %s and %s: %w", args[0], path, err)
				}
			}
			if err := writeNew(out, merged.Encode()); err != nil {
				return err
			}
			return t.printRoot(out, merged.Encode(), nil)
		},
	}
	c.Flags().StringVar(&out, "out", "root.json", "file to write; never overwritten")
	return c
}

func newRootRotateCommand(t *tool) *cobra.Command {
	var f rootFlags
	c := &cobra.Command{
		Use:   "rotate",
		Short: "Make the next version of a root",
		Long: `Rotate makes the version that follows --from with keys added or removed. It holds once a threshold of the root keys
of both versions has signed it: by --key here, or later and elsewhere by "key root sign".`,
		Example: `  slipstream key root rotate --from root.json --add-release-key ci.pub --out root2.json --key root.key
  slipstream key root rotate --from root.json --remove-key 0123456789abcdef --out root2.json`,
		Args: exactly(0, "no argument"),
		RunE: func(c *cobra.Command, _ []string) error { return t.rotateRoot(&f) },
	}
	c.Flags().StringVar(&f.from, "from", "", "the root in force")
	c.Flags().StringArrayVar(&f.stateKeys, "state-key", nil, "the server's public key of the state role, in place of all before (repeatable)")
	c.Flags().StringArrayVar(&f.remove, "remove-key", nil, "id of a key to remove from every role (repeatable)")
	c.Flags().StringArrayVar(&f.signBy, "key", nil, "private root key that signs at once (repeatable)")
	f.define(c, "add-")
	return c
}

func (t *tool) rotateRoot(f *rootFlags) error {
	if f.from == "" {
		return usageError{slipstream.Hint(errors.New("--from is missing"), "name the root in force: --from root.json")}
	}
	expires, err := f.expiry(time.Now())
	if err != nil {
		return err
	}
	previous, err := openRootFile(f.from)
	if err != nil {
		return err
	}
	if err := t.checkFollowsOwn(previous); err != nil {
		return fmt.Errorf("%s: %w", f.from, err)
	}
	if err := f.load(t); err != nil {
		return err
	}
	root, err := nextRoot(previous)
	if err != nil {
		return err
	}
	root.Expires = slipstream.At(expires)
	if err := f.change(root); err != nil {
		return err
	}
	if err := sign.CheckNewRoot(root); err != nil {
		return slipstream.Hint(err, "a role must keep at least as many keys as its threshold asks for")
	}
	return t.writeRoot(root, f, previous)
}

// checkFollowsOwn refuses to build on a root, perhaps fetched from a stolen server, that does not belong to the one in this
// machine's folder or SLIPSTREAM_ROOT: the next root would take over whatever it lists. Where there is none, what is
// printed of a root is all that can be judged by.
func (t *tool) checkFollowsOwn(root *sign.Trust) error {
	own, err := t.ownRoot(root.Root().App)
	if own == nil || err != nil {
		return err
	}
	have, is := own.Root().Version, root.Root().Version
	switch {
	case is == have && sameDocument(own.Envelope(), root.Envelope()):
		return nil
	case is == have+1:
		_, err = own.Next(root.Envelope())
	case is > have:
		return slipstream.Hint(slipstream.Refuse(slipstream.ReasonRootVersion, "root", "version %d cannot be checked: your own is version %d", is, have),
			"bring your own up to it first, one version after the other: `slipstream app root register` keeps each")
	case is < have:
		return slipstream.Hint(slipstream.Refuse(slipstream.ReasonRootVersion, "root", "version %d is not the newest: your own is version %d", is, have),
			"go on from %s", first(t.env.Get("root", ""), t.env.Folder().RootFile(root.Root().App)))
	default:
		err = slipstream.Refuse(slipstream.ReasonSignatureInvalid, "root", "version %d is another one than your own of that version", is)
	}
	return slipstream.Hint(err, "the server may have made it up. Go on from your own root.json")
}

// ownRoot is the publisher's own root of app, nil when this machine has none.
func (t *tool) ownRoot(app string) (*sign.Trust, error) {
	set := t.env.Get("root", "")
	own, err := openRootFile(first(set, t.env.Folder().RootFile(app)))
	if errors.Is(err, os.ErrNotExist) && set == "" {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if own.Root().App != app {
		return nil, nil // SLIPSTREAM_ROOT names another app's
	}
	return own, nil
}

// sameDocument reports whether two root envelopes are signatures under the same bytes.
func sameDocument(a, b []byte) bool {
	x, errX := sign.ParseEnvelope(a, sign.TypeRoot, slipstream.MaxRootBytes)
	y, errY := sign.ParseEnvelope(b, sign.TypeRoot, slipstream.MaxRootBytes)
	return errX == nil && errY == nil && bytes.Equal(x.Payload, y.Payload)
}

// nextRoot copies a root as the version after it. A root that says more than this version of the tool knows is not
// rotated: the copy would lose it.
func nextRoot(previous *sign.Trust) (*slipstream.Root, error) {
	e, err := sign.ParseEnvelope(previous.Envelope(), sign.TypeRoot, slipstream.MaxRootBytes)
	if err != nil {
		return nil, err
	}
	var root slipstream.Root
	if err := sign.Decode(e.Payload, &root); err != nil {
		return nil, err
	}
	again, err := sign.Encode(&root)
	if err != nil {
		return nil, err
	}
	var before, after any
	if err := errors.Join(json.Unmarshal(e.Payload, &before), json.Unmarshal(again, &after)); err != nil {
		return nil, fmt.Errorf("compare roots: %w", err)
	}
	if !reflect.DeepEqual(before, after) {
		return nil, slipstream.Hint(errors.New("this root says things that this version of slipstream does not know"), "rotate it with a newer version")
	}
	root.Version++
	return &root, nil
}

// change applies the flags to a copy of the previous root.
func (f *rootFlags) change(root *slipstream.Root) error {
	for _, id := range f.remove {
		if _, listed := root.Keys[id]; !listed {
			return slipstream.Hint(fmt.Errorf("key %s: %w", id, slipstream.ErrNotFound), "the root lists %s", strings.Join(slices.Sorted(maps.Keys(root.Keys)), ", "))
		}
		delete(root.Keys, id)
		for _, role := range []*slipstream.Role{&root.Roles.Root, &root.Roles.Release, &root.Roles.State} {
			role.Keys = slices.DeleteFunc(role.Keys, func(k string) bool { return k == id })
		}
	}
	add := func(role *slipstream.Role, keys sign.RoleKeys, threshold int) {
		for _, pub := range keys.Keys {
			if id := sign.AddKey(root, pub); !slices.Contains(role.Keys, id) {
				role.Keys = append(role.Keys, id)
			}
		}
		if threshold > 0 {
			role.Threshold = threshold
		}
	}
	add(&root.Roles.Root, f.rootRole, f.rootThreshold)
	add(&root.Roles.Release, f.releaseRole, f.releaseThreshold)
	if len(f.stateRoleNew.Keys) > 0 {
		root.Roles.State.Keys = []string{}
		add(&root.Roles.State, f.stateRoleNew, 0)
	}
	used := slices.Concat(root.Roles.Root.Keys, root.Roles.Release.Keys, root.Roles.State.Keys)
	maps.DeleteFunc(root.Keys, func(id string, _ slipstream.RootKey) bool { return !slices.Contains(used, id) })
	return nil
}

func newRootShowCommand(t *tool) *cobra.Command {
	var from string
	c := &cobra.Command{
		Use:   "show FILE",
		Short: "Print what a root says and who signed it",
		Args:  exactly(1, "one root file"),
		RunE: func(_ *cobra.Command, args []string) error {
			raw, err := readSmall(args[0], slipstream.MaxRootBytes)
			if err != nil {
				return fmt.Errorf("read root: %w", err)
			}
			var previous *sign.Trust
			if from != "" {
				if previous, err = openRootFile(from); err != nil {
					return err
				}
			}
			return t.printRoot(args[0], raw, previous)
		},
	}
	c.Flags().StringVar(&from, "from", "", "the version before, whose root keys must have signed too")
	return c
}

// rootInfo is what is printed of a root.
type rootInfo struct {
	File     string                        `json:"file"`
	App      string                        `json:"app"`
	Version  int64                         `json:"version"`
	Expires  slipstream.Time               `json:"expires"`
	Keys     map[string]slipstream.RootKey `json:"keys"`
	Roles    slipstream.Roles              `json:"roles"`
	Signed   []string                      `json:"signed"`
	Needed   int                           `json:"needed"`
	Complete bool                          `json:"complete"`
	Previous *previousInfo                 `json:"previous,omitempty"`
}

// previousInfo tells how far the keys of the version before have signed.
type previousInfo struct {
	Version  int64    `json:"version"`
	Signed   []string `json:"signed"`
	Needed   int      `json:"needed"`
	Complete bool     `json:"complete"`
}

func (t *tool) printRoot(path string, raw []byte, previous *sign.Trust) error {
	root, e, signers, err := sign.DraftRoot(raw)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	info := rootInfo{File: path, App: root.App, Version: root.Version, Expires: root.Expires, Keys: root.Keys, Roles: root.Roles,
		Signed: append([]string{}, signers.Signed...), Needed: signers.Needed, Complete: signers.Complete()}
	if previous != nil {
		p := previous.RootSigners(e)
		info.Previous = &previousInfo{previous.Root().Version, append([]string{}, p.Signed...), p.Needed, p.Complete()}
	}
	return t.print(info, info.text)
}

func (r *rootInfo) text(w io.Writer) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s: root of %s, version %d, expires %s\n", r.File, r.App, r.Version, r.Expires.UTC().Format(slipstream.TimeLayout))
	for _, role := range []struct {
		name string
		slipstream.Role
	}{{"root", r.Roles.Root}, {"release", r.Roles.Release}, {"state", r.Roles.State}} {
		fmt.Fprintf(&b, "  %-8s %d of %d must sign\n", role.name, role.Threshold, len(role.Keys))
		for _, id := range role.Keys {
			fmt.Fprintf(&b, "           %s  %s\n", id, r.Keys[id].Public)
		}
	}
	fmt.Fprintf(&b, "  signed   %s\n", signedText(r.Signed, r.Needed, r.Complete))
	if p := r.Previous; p != nil {
		fmt.Fprintf(&b, "  signed by the keys of version %d   %s\n", p.Version, signedText(p.Signed, p.Needed, p.Complete))
	}
	fmt.Fprint(w, b.String())
}

func signedText(signed []string, needed int, complete bool) string {
	if complete {
		return fmt.Sprintf("complete: %d of %d needed (%s)", len(signed), needed, strings.Join(signed, ", "))
	}
	text := fmt.Sprintf("NOT complete: %d of %d needed", len(signed), needed)
	if len(signed) > 0 {
		text += " (" + strings.Join(signed, ", ") + ")"
	}
	return text
}
