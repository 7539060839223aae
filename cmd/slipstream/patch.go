package main

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/internal/atomicfile"
	"github.com/slipstream-ota/slipstream/protocol/ocrunner/device"
	"github.com/slipstream-ota/slipstream/sign"
)

func newPatchCommand(t *tool) *cobra.Command {
	c := &cobra.Command{
		Use: "patch", Short: "Act as an app with a runtime patcher does, and encrypt patches for one",
		Long: `Patch asks a patch service (ours, or any other that follows the same document) as the app on a device does, and downloads and
checks what it offers. Against our server the check is the publisher's signature; against another one it is the MD5.`,
		Args: noSubcommand,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newPatchCheck(t), newPatchFetch(t), newPatchKey(t), newPatchCipher(t, "encrypt", "Encrypt a patch with a key that the app holds", device.Encrypt),
		newPatchCipher(t, "decrypt", "Decrypt a patch as the app does", device.Decrypt))
	return c
}

// patchFlags are what a device knows.
type patchFlags struct {
	device              device.Device
	current, root, key  string
	attributes          []string
	app, output, sealed string
}

func (f *patchFlags) define(c *cobra.Command) {
	fs := c.Flags()
	fs.StringVar(&f.device.Version, "version", "", "version of the app")
	fs.StringVar(&f.current, "current", "", "patch that the app runs now, as it was downloaded")
	fs.StringVar(&f.device.ID, "device-id", "", "what tells this device from others, for shares")
	fs.StringVar(&f.device.Platform, "platform", "", "platform, for conditions and releases of one platform (the service takes ios for none)")
	fs.StringArrayVar(&f.attributes, "attribute", nil, "key=value, for conditions (repeatable)")
}

// patchAnswer is what check and fetch print with --json.
type patchAnswer struct {
	device.Answer
	File      string            `json:"file,omitempty"`
	Sealed    string            `json:"sealed,omitempty"`
	Release   slipstream.Digest `json:"release,omitempty"` // by the publisher's signature
	Increment bool              `json:"increment,omitempty"`
	Bytes     int64             `json:"bytes,omitempty"`   // that came over the network
	Resumed   int64             `json:"resumed,omitempty"` // that an earlier run had kept
}

// open makes the device of the flags.
func (f *patchFlags) open(address string) (*device.Device, error) {
	if u, err := url.Parse(address); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, usageError{slipstream.Hint(fmt.Errorf("%q is no address of a service", address), "it looks like https://updates.example.com/ocrunner/shop/production: what the app has before /api/patch/version")}
	}
	d := f.device
	d.URL = strings.TrimSuffix(address, "/api/patch/version")
	if d.Version == "" {
		return nil, usageError{slipstream.Hint(errors.New("which version of the app?"), "say --version 1.1.1")}
	}
	for _, pair := range f.attributes {
		k, v, ok := strings.Cut(pair, "=")
		if !ok || k == "" {
			return nil, usageError{fmt.Errorf("attribute %q is not of the form key=value", pair)}
		}
		if d.Attributes == nil {
			d.Attributes = map[string]string{}
		}
		d.Attributes[k] = v
	}
	if f.current != "" {
		var err error
		if d.Patch, err = readSmall(f.current, device.MaxPatch); err != nil {
			return nil, fmt.Errorf("read the current patch: %w", err)
		}
	}
	return &d, nil
}

func newPatchCheck(t *tool) *cobra.Command {
	var f patchFlags
	c := &cobra.Command{
		Use: "check URL", Short: "Ask whether there is a patch", Args: exactly(1, "the address of a patch service"),
		Example: `  slipstream patch check https://updates.example.com/ocrunner/shop/production --version 1.1.1`,
		RunE: func(c *cobra.Command, args []string) error {
			d, err := f.open(args[0])
			if err != nil {
				return err
			}
			a, err := d.Check(c.Context())
			if err != nil {
				return err
			}
			return t.print(patchAnswer{Answer: a}, func(w io.Writer) {
				if !a.Update {
					fmt.Fprintln(w, first(a.Message, "No update"))
					return
				}
				fmt.Fprintf(w, "A patch for version %s is there\n", a.Version)
				for _, line := range [][2]string{{"message", a.Message}, {"priority", a.Priority}, {"md5", a.MD5}} {
					if line[1] != "" {
						fmt.Fprintf(w, "  %s %s\n", line[0], line[1])
					}
				}
			})
		},
	}
	f.define(c)
	return c
}

func newPatchFetch(t *tool) *cobra.Command {
	var f patchFlags
	c := &cobra.Command{
		Use: "fetch URL", Short: "Ask, download, check and decrypt", Args: exactly(1, "the address of a patch service"),
		Long: `Fetch asks for a patch, downloads it (by an increment to the current one where the service has one), goes on where a download
broke off, also in an earlier run, checks the result and writes it to --out. What came of a download that did not end stays beside it, as OUT.partial, and the
next run goes on there with a new link. The only line on standard output is the file's path; nothing when
there is no patch.

With --root or --app only a patch that the publisher signed is taken; without both the MD5 must do, and a note says so.
With --patch-key the patch is decrypted; --sealed keeps the file as it came, which is what --current takes the next time.`,
		Example: `  slipstream patch fetch https://updates.example.com/ocrunner/shop/production --version 1.1.1 --app shop --root root.json --out patch`,
		RunE: func(c *cobra.Command, args []string) error {
			d, err := f.open(args[0])
			if err == nil {
				err = f.trust(t, d)
			}
			if err == nil && f.key != "" {
				d.Key, err = readPatchKey(f.key)
			}
			if err != nil {
				return err
			}
			d.Partial = f.output + ".partial"
			u, err := d.Fetch(c.Context())
			if err != nil {
				return err
			}
			if u == nil {
				return t.print(patchAnswer{}, func(io.Writer) { fmt.Fprintln(t.stderr, "No update") })
			}
			out := patchAnswer{Answer: u.Answer, File: f.output, Sealed: f.sealed, Release: u.Release, Increment: u.Increase, Bytes: u.Bytes, Resumed: u.Resumed}
			if err := atomicfile.Write(f.output, u.Plain, 0o644); err != nil {
				return fmt.Errorf("write patch: %w", err)
			}
			if f.sealed != "" {
				if err := atomicfile.Write(f.sealed, u.Patch, 0o644); err != nil {
					return fmt.Errorf("write patch as it came: %w", err)
				}
			}
			return t.print(out, func(w io.Writer) {
				fmt.Fprintf(t.stderr, "Patch for version %s, %s over the network\n", u.Answer.Version, formatBytes(u.Bytes))
				if u.Resumed > 0 {
					fmt.Fprintf(t.stderr, "%s of it were here from an earlier run\n", formatBytes(u.Resumed))
				}
				fmt.Fprintln(w, f.output)
			})
		},
	}
	f.define(c)
	fs := c.Flags()
	fs.StringVar(&f.output, "out", "patch", "file for the patch, ready to run")
	fs.StringVar(&f.sealed, "sealed", "", "file for the patch as it came")
	fs.StringVar(&f.root, "root", "", "root.json that the app ships: only signed patches are taken")
	fs.StringVar(&f.app, "app", "", "app that patches must be signed for")
	fs.StringVar(&f.key, "patch-key", "", "file of the key that the app holds")
	return c
}

// trust loads the root that the app ships: of --root, else the one that this machine's folder has of --app.
func (f *patchFlags) trust(t *tool, d *device.Device) error {
	if f.root == "" && f.app == "" {
		fmt.Fprintln(t.stderr, "Without --root the MD5 alone is checked, not who made the patch")
		return nil
	}
	if f.app == "" {
		return usageError{slipstream.Hint(errors.New("which app must the patch be signed for?"), "say --app NAME")}
	}
	if err := slipstream.CheckName("app", f.app); err != nil {
		return usageError{err}
	}
	path := first(f.root, t.env.Folder().RootFile(f.app))
	raw, err := readSmall(path, slipstream.MaxRootBytes)
	if errors.Is(err, os.ErrNotExist) {
		return slipstream.Hint(fmt.Errorf("root %s: %w", path, slipstream.ErrNotFound), "name the root.json that the app ships by --root")
	}
	if err != nil {
		return fmt.Errorf("read root: %w", err)
	}
	d.App = f.app
	if d.Trust, err = sign.OpenRoot(raw); err != nil {
		return fmt.Errorf("root %s: %w", path, err)
	}
	return nil
}

// patchKeyInfo is what patch key prints with --json: never the key.
type patchKeyInfo struct {
	File string `json:"file"`
}

func newPatchKey(t *tool) *cobra.Command {
	return &cobra.Command{
		Use: "key FILE", Short: "Make a key for encrypted patches", Args: exactly(1, "the file of a new key"),
		Long: `Key writes 32 random bytes as 64 hex digits. The app holds the same key: whoever takes an app apart has it. It hides patches
from the network and from storage; what proves who made them is the signature.`,
		RunE: func(_ *cobra.Command, args []string) error {
			if _, err := os.Lstat(args[0]); !errors.Is(err, os.ErrNotExist) {
				return slipstream.Hint(errors.Join(fmt.Errorf("key %s: %w", args[0], slipstream.ErrConflict), err), "keys are never overwritten; move it away or choose another file")
			}
			key := make([]byte, device.KeySize)
			if _, err := rand.Read(key); err != nil {
				return fmt.Errorf("make key: %w", err)
			}
			if err := atomicfile.Write(args[0], []byte(hex.EncodeToString(key)+"\n"), 0o600); err != nil {
				return fmt.Errorf("write key: %w", err)
			}
			return t.print(patchKeyInfo{args[0]}, func(w io.Writer) { fmt.Fprintf(w, "Wrote a key for patches to %s\n", args[0]) })
		},
	}
}

func readPatchKey(path string) ([]byte, error) {
	text, err := readSmall(path, 4<<10)
	if errors.Is(err, os.ErrNotExist) {
		return nil, slipstream.Hint(fmt.Errorf("key %s: %w", path, slipstream.ErrNotFound), "make one by `slipstream patch key %s`", path)
	}
	if err != nil {
		return nil, fmt.Errorf("read key: %w", err)
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(key) != device.KeySize {
		return nil, slipstream.Hint(slipstream.Invalidf("%s holds no key for patches", path), "it is one line of %d hex digits: `slipstream patch key` makes one", 2*device.KeySize)
	}
	return key, nil
}

func cipherFile(key []byte, from, to string, apply func(key, data []byte) ([]byte, error)) error {
	data, err := readSmall(from, device.MaxPatch)
	if err != nil {
		return fmt.Errorf("read patch: %w", err)
	}
	out, err := apply(key, data)
	if err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	if err := atomicfile.Write(to, out, 0o644); err != nil {
		return fmt.Errorf("write patch: %w", err)
	}
	return nil
}

// patchFile is what encrypt and decrypt print with --json.
type patchFile struct {
	File string `json:"file"`
}

func newPatchCipher(t *tool, name, short string, apply func(key, data []byte) ([]byte, error)) *cobra.Command {
	var keyFile string
	c := &cobra.Command{
		Use: name + " IN OUT", Short: short, Args: exactly(2, "a file to read and one to write"),
		Long:    short + `: AES-256-GCM, a nonce of 12 bytes, the ciphertext, a tag of 16 bytes. The same patch and key make the same file.`,
		Example: `  slipstream patch ` + name + ` binarypatch binarypatch.out --patch-key patch.key`,
		RunE: func(_ *cobra.Command, args []string) error {
			if keyFile == "" {
				return usageError{slipstream.Hint(errors.New("which key?"), "say --patch-key FILE; `slipstream patch key FILE` makes one")}
			}
			key, err := readPatchKey(keyFile)
			if err != nil {
				return err
			}
			if err := cipherFile(key, args[0], args[1], apply); err != nil {
				return err
			}
			return t.print(patchFile{args[1]}, func(w io.Writer) { fmt.Fprintln(w, args[1]) })
		},
	}
	c.Flags().StringVar(&keyFile, "patch-key", "", "file of the key that the app holds")
	return c
}
