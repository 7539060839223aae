//go:build !device

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/internal/atomicfile"
	"github.com/slipstream-ota/slipstream/protocol/archive"
	"github.com/slipstream-ota/slipstream/protocol/capgo"
	"github.com/slipstream-ota/slipstream/publish"
)

// Names of the files that a pair of keys is kept in, which Capgo's own tool has too.
const (
	capgoPrivate = ".capgo_key_v2"
	capgoPublic  = ".capgo_key_v2.pub"
)

func newCapgoCommand(t *tool) *cobra.Command {
	c := &cobra.Command{Use: "capgo", Short: "Look after the keys of apps with Capgo's updater"}
	key := &cobra.Command{Use: "key", Short: "Make the pair of keys that bundles are signed by"}
	key.AddCommand(newCapgoKeyCreate(t))
	c.AddCommand(key)
	return c
}

// capgoKey is what is told of a new pair: nothing private.
type capgoKey struct {
	Private string `json:"private"` // file
	Public  string `json:"public"`  // file
	ID      string `json:"keyId"`
	PEM     string `json:"publicKey"`
}

func newCapgoKeyCreate(t *tool) *cobra.Command {
	var folder string
	c := &cobra.Command{
		Use: "create", Short: "Make a pair: the private half signs, the public half ships inside the app", Args: cobra.NoArgs,
		Long: `Create makes an RSA key in the form of Capgo's own tool: ` + capgoPrivate + `, which only you can read, and ` + capgoPublic + `. The public
half belongs into plugins.CapacitorUpdater.publicKey of capacitor.config. Keep the private half out of version control. Existing files
are never overwritten.`,
		RunE: func(*cobra.Command, []string) error {
			out := capgoKey{Private: filepath.Join(folder, capgoPrivate), Public: filepath.Join(folder, capgoPublic)}
			for _, file := range []string{out.Private, out.Public} {
				if _, err := os.Lstat(file); !errors.Is(err, os.ErrNotExist) {
					return slipstream.Hint(fmt.Errorf("key %s exists already: %w", file, errors.Join(err, slipstream.ErrConflict)), "keys are never overwritten; move it away, or choose another folder by --out")
				}
			}
			private, public, id, err := capgo.NewKey()
			if err != nil {
				return err
			}
			if err := errors.Join(atomicfile.Write(out.Private, private, 0o600), atomicfile.Write(out.Public, public, 0o644)); err != nil {
				return fmt.Errorf("write key: %w", err)
			}
			out.ID, out.PEM = id, string(public)
			return t.print(out, func(w io.Writer) {
				fmt.Fprintf(w, "private %s\npublic  %s\nkey id  %s\n", out.Private, out.Public, out.ID)
			})
		},
	}
	c.Flags().StringVar(&folder, "out", ".", "folder to write the two files to")
	return c
}

// signCapgo adds the signature that Capgo clients with an embedded key ask for to what the manifest will carry. Without a key
// file there is none.
func signCapgo(req *publish.Request, tree *publish.Tree, keyFile string) error {
	if keyFile == "" {
		return nil
	}
	key, err := readSmall(keyFile, maxKeyFile)
	if err != nil {
		return fmt.Errorf("read Capgo key: %w", err)
	}
	signature, err := capgo.Sign(tree.Files, func(f slipstream.File, w io.Writer) (err error) {
		r, err := tree.Content(f.Path, 0)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, r.Close()) }()
		return archive.Checked(w, r, f)
	}, key)
	if err != nil {
		return err
	}
	meta := maps.Clone(req.Meta)
	if meta == nil {
		meta = map[string]json.RawMessage{}
	}
	meta[capgo.Meta] = signature
	req.Meta = meta
	return nil
}

// capgoOptions are options of the protocol that flags of their own give.
type capgoOptions struct{ appID, publicKey string }

// into adds what was said to the options of a protocol.
func (o *capgoOptions) into(protocol string, raw json.RawMessage) (json.RawMessage, error) {
	if o.appID == "" && o.publicKey == "" {
		return raw, nil
	}
	if protocol != capgo.Name {
		return nil, usageError{fmt.Errorf("--app-id and --public-key are for the protocol %s", capgo.Name)}
	}
	options := map[string]any{}
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &options); err != nil {
			return nil, usageError{fmt.Errorf("options: %w", err)}
		}
	}
	if o.appID != "" {
		options["appId"] = o.appID
	}
	if o.publicKey != "" {
		pem, err := readSmall(o.publicKey, maxKeyFile)
		if err != nil {
			return nil, fmt.Errorf("read public key: %w", err)
		}
		options["publicKey"] = string(pem)
	}
	return json.Marshal(options)
}
