//go:build !device

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/internal/config"
	"github.com/slipstream-ota/slipstream/publish"
	"github.com/slipstream-ota/slipstream/sign"
)

// rootFlag defines --root on a command that signs what depends on a server's word.
func (t *tool) rootFlag(c *cobra.Command, root *string) {
	c.Flags().StringVar(root, "root", "", "your own root.json, which the server's roots must follow (default: SLIPSTREAM_ROOT, or the app's in your folder)")
}

// keyring is what proves roots and earlier releases on this machine: the publisher's own root, of --root, SLIPSTREAM_ROOT
// or the folder, and the keys that sign now. Without a root it proves nothing, and publish says so.
func (t *tool) keyring(app, said string, signers []sign.Signer) (publish.Keyring, error) {
	path := first(said, t.env.Get("root", ""))
	raw, err := readSmall(first(path, t.env.Folder().RootFile(app)), slipstream.MaxRootBytes)
	if errors.Is(err, os.ErrNotExist) {
		if path == "" {
			return publish.Keyring{}, nil
		}
		err = slipstream.ErrNotFound
	}
	if err != nil {
		return publish.Keyring{}, fmt.Errorf("read own root %s: %w", path, err)
	}
	k, err := publish.NewKeyring(raw)
	for _, s := range signers {
		k = k.With(s.Public())
	}
	return k, err
}

// seqs remembers what was signed on this machine, if it has a folder for the app.
func (t *tool) seqs(app string) publish.SeqMemory {
	folder := t.env.Folder()
	if info, err := os.Stat(filepath.Dir(folder.RootFile(app))); err != nil || !info.IsDir() {
		return nil
	}
	return seqFiles{folder}
}

// seqFiles keeps the highest seq of a package in apps/<app>/seq-<package>.json.
type seqFiles struct{ folder config.Folder }

// signedSeq is what such a file holds.
type signedSeq struct {
	Seq int64 `json:"seq"`
}

func (s seqFiles) path(app, pkg string) string {
	return filepath.Join(filepath.Dir(s.folder.RootFile(app)), "seq-"+pkg+".json")
}

// Highest implements publish.SeqMemory.
func (s seqFiles) Highest(app, pkg string) (int64, error) {
	path := s.path(app, pkg)
	raw, err := readSmall(path, 1<<10)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	var kept signedSeq
	if err == nil {
		err = json.Unmarshal(raw, &kept)
	}
	if err == nil && (kept.Seq < 0 || kept.Seq > slipstream.MaxSafeInteger) {
		err = fmt.Errorf("seq %d is out of range", kept.Seq)
	}
	if err != nil {
		return 0, slipstream.Hint(fmt.Errorf("read %s: %w", path, err), "it holds the highest seq that was signed here; remove it, and say --min-seq if devices have confirmed more than the server knows")
	}
	return kept.Seq, nil
}

// Remember implements publish.SeqMemory.
func (s seqFiles) Remember(app, pkg string, seq int64) error {
	have, err := s.Highest(app, pkg)
	if err != nil || have >= seq {
		return err
	}
	raw, err := json.Marshal(signedSeq{seq})
	if err != nil {
		return err
	}
	if err := s.folder.Write(s.path(app, pkg), append(raw, '\n'), 0o600); err != nil {
		return fmt.Errorf("remember seq: %w", err)
	}
	return nil
}

// printSigned shows what a signature is put under, as far as devices are bound by it.
func printSigned(w io.Writer, m *slipstream.Manifest, digest slipstream.Digest) {
	fmt.Fprintf(w, "%s %s %s\n", m.App, m.Package, m.Version)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(tw, "  digest\t%s\n  seq\t%d\n  platform\t%s\n  runtime\t%s\n  created\t%s\n", digest, m.Seq, m.Platform, m.Runtime, m.Created.Format(slipstream.TimeLayout))
	if m.Entry != "" {
		fmt.Fprintf(tw, "  entry\t%q\n", m.Entry)
	}
	for pkg, q := range m.Requires {
		fmt.Fprintf(tw, "  requires\t%s %v, seq >= %d\n", pkg, q.Digests, q.MinSeq)
	}
	for _, d := range m.Fallback {
		fmt.Fprintf(tw, "  falls back\t%s\n", d)
	}
	tw.Flush()
	fmt.Fprintf(w, "  %d files, %s\n", len(m.Files), formatBytes(m.Size()))
	tw = tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, f := range m.Files {
		exec := ""
		if f.Exec {
			exec = "x"
		}
		fmt.Fprintf(tw, "    %s\t%d\t%s\t%s\n", f.SHA256, f.Size, exec, f.Path)
	}
	tw.Flush()
}
