//go:build !device

package main

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/blob"
	"github.com/slipstream-ota/slipstream/internal/atomicfile"
	"github.com/slipstream-ota/slipstream/rollout"
	"github.com/slipstream-ota/slipstream/store"
)

// backedUp is what backup and restore print with --json.
type backedUp struct {
	File  string `json:"file"`
	Data  string `json:"data"`
	Blobs int    `json:"blobs"`
	Bytes int64  `json:"bytes"`
}

func newBackupCommand(t *tool) *cobra.Command {
	var f serveFlags
	var withBlobs bool
	c := &cobra.Command{
		Use: "backup FILE", Short: "Write a backup of the embedded store, while it runs", Args: exactly(1, "one file"),
		Long: `Backup writes a tar file with a consistent copy of the SQLite database and the server secret; with --with-blobs the
bytes too. The server may run meanwhile. The file holds the secret that seals the state keys: keep it as you keep those.
A PostgreSQL database is backed up by PostgreSQL's own tools; back up the secret file with it.`,
		RunE: func(c *cobra.Command, args []string) error {
			cfg, err := t.serveConfig(f)
			if err != nil {
				return err
			}
			out, err := backup(c.Context(), cfg, args[0], withBlobs)
			if err != nil {
				return fmt.Errorf("back up: %w", err)
			}
			return t.print(out, func(w io.Writer) {
				if !withBlobs {
					fmt.Fprintf(w, "%s holds the database and the secret of %s, not the bytes of releases: copy those too, or say --with-blobs\n", out.File, out.Data)
					return
				}
				fmt.Fprintf(w, "%s holds the database and the secret of %s and %d blobs (%s)\n", out.File, out.Data, out.Blobs, formatBytes(out.Bytes))
			})
		},
	}
	t.dataFlag(c, &f.data)
	c.Flags().StringVar(&f.secret, "secret", "", "file of the server secret (default: secret in the data folder)")
	c.Flags().StringVar(&f.blobs, "blobs", "", "blob store (default: a folder in the data folder)")
	c.Flags().StringVar(&f.database, "database", "", "sqlite:PATH (default: a SQLite file in the data folder)")
	c.Flags().BoolVar(&withBlobs, "with-blobs", false, "copy the bytes of all releases too")
	return c
}

func backup(ctx context.Context, cfg serveConfig, path string, withBlobs bool) (out backedUp, err error) {
	out = backedUp{File: path, Data: cfg.data}
	if cfg.sqlitePath() == "" {
		return out, slipstream.Hint(errors.New("this database is not the embedded one"), "use pg_dump, and keep a copy of the secret file")
	}
	if _, err := os.Lstat(path); err == nil {
		return out, slipstream.Hint(fmt.Errorf("%s exists already: %w", path, slipstream.ErrConflict), "give a name that is free, such as one with the date")
	}
	st, err := cfg.openStore(ctx, false)
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	work, err := os.MkdirTemp(filepath.Dir(path), ".backup-tmp-")
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	copied := filepath.Join(work, databaseFile)
	backuper, ok := st.(store.Backuper)
	if !ok {
		return out, errors.New("this database cannot copy itself")
	}
	// The bytes are listed after the database was copied: what it names was there before.
	if err := backuper.Backup(ctx, copied); err != nil {
		return out, err
	}
	whole := filepath.Join(work, "backup.tar")
	if err := writeTar(ctx, cfg, whole, copied, withBlobs, &out); err != nil {
		return out, err
	}
	if err := os.Link(whole, path); err != nil { // never over a file that came meanwhile
		return out, err
	}
	return out, atomicfile.SyncDir(filepath.Dir(path))
}

func writeTar(ctx context.Context, cfg serveConfig, path, database string, withBlobs bool, out *backedUp) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Sync(), f.Close()) }()
	tw := tar.NewWriter(f)
	for name, from := range map[string]string{databaseFile: database, secretFile: cfg.secret} {
		if err := addFile(tw, name, from); err != nil {
			return err
		}
	}
	if withBlobs {
		blobs, err := cfg.openBlobs(ctx)
		if err != nil {
			return err
		}
		if err := addBlobs(ctx, tw, blobs, out); err != nil {
			return err
		}
	}
	return tw.Close()
}

func addFile(tw *tar.Writer, name, path string) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := tw.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: info.Size(), ModTime: info.ModTime()}); err != nil {
		return err
	}
	_, err = io.Copy(tw, f)
	return err
}

func addBlobs(ctx context.Context, tw *tar.Writer, blobs blob.Store, out *backedUp) error {
	var list []blob.Info
	if err := blobs.List(ctx, func(i blob.Info) error { list = append(list, i); return nil }); err != nil {
		return err
	}
	for _, i := range list {
		o, err := blobs.Open(ctx, i.Digest)
		if notFound(err) {
			continue // collected meanwhile, so nothing names it
		}
		if err != nil {
			return err
		}
		err = tw.WriteHeader(&tar.Header{Name: blobsFolder + "/" + string(i.Digest), Mode: 0o600, Size: o.Size(), ModTime: i.Modified})
		if err == nil {
			_, err = io.Copy(tw, o)
		}
		if err := errors.Join(err, o.Close()); err != nil {
			return fmt.Errorf("copy blob %s: %w", i.Digest.Short(), err)
		}
		out.Blobs++
		out.Bytes += i.Size
	}
	return nil
}

func newRestoreCommand(t *tool) *cobra.Command {
	var f serveFlags
	c := &cobra.Command{
		Use: "restore FILE", Short: "Make a data folder from a backup", Args: exactly(1, "one file"),
		Long: `Restore fills an empty data folder from what backup wrote. The first start of the server gives every state a new epoch,
so that devices which saw later ones follow again. Releases that were published after the backup are to be published
again; when the backup has no bytes, point --blobs at the store that has them.`,
		RunE: func(c *cobra.Command, args []string) error {
			cfg, err := t.serveConfig(f)
			if err != nil {
				return err
			}
			out, err := restore(c.Context(), cfg, args[0])
			if err != nil {
				return fmt.Errorf("restore: %w", err)
			}
			return t.print(out, func(w io.Writer) {
				if out.Blobs == 0 {
					fmt.Fprintf(w, "%s is restored, without the bytes of releases: bring them back into %s, or name their store by --blobs\n", out.Data, filepath.Join(out.Data, blobsFolder))
				} else {
					fmt.Fprintf(w, "%s is restored with %d blobs (%s)\n", out.Data, out.Blobs, formatBytes(out.Bytes))
				}
				fmt.Fprintf(w, "start it by `slipstream serve --data %s`\n", out.Data)
			})
		},
	}
	t.dataFlag(c, &f.data)
	c.Flags().StringVar(&f.blobs, "blobs", "", "blob store for the bytes (default: a folder in the data folder)")
	return c
}

func restore(ctx context.Context, cfg serveConfig, path string) (out backedUp, err error) {
	out = backedUp{File: path, Data: cfg.data}
	if cfg.sqlitePath() == "" {
		return out, errors.New("a backup of the embedded store can only be restored into one")
	}
	entries, err := os.ReadDir(cfg.data)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return out, err
	}
	if len(entries) > 0 {
		return out, slipstream.Hint(fmt.Errorf("the data folder %s is not empty: %w", cfg.data, slipstream.ErrConflict), "restore into a new folder: --data DIR")
	}
	f, err := os.Open(path)
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := os.MkdirAll(cfg.data, 0o700); err != nil {
		return out, err
	}
	defer func() {
		if err != nil { // half a data folder must not be started, nor be in the way of the next try
			err = errors.Join(err, empty(cfg.data))
		}
	}()
	blobs, err := cfg.openBlobs(ctx)
	if err != nil {
		return out, err
	}
	seen, err := readTar(ctx, cfg, f, blobs, &out)
	if err != nil {
		return out, err
	}
	if !seen[databaseFile] || !seen[secretFile] {
		return out, notBackup(errors.New("it holds no database or no secret"))
	}
	st, err := cfg.openStore(ctx, true)
	if err != nil {
		return out, err
	}
	return out, errors.Join(rollout.MarkRestored(ctx, st), st.Close())
}

func notBackup(err error) error {
	return slipstream.Hint(fmt.Errorf("this is no whole backup: %w", err), "give a file that `slipstream backup` wrote; one that was cut short is of no use")
}

// empty removes what lies in a folder that was empty before.
func empty(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return err
}

// readTar takes only what a backup holds; every blob is checked against its name.
func readTar(ctx context.Context, cfg serveConfig, r io.Reader, blobs blob.Store, out *backedUp) (map[string]bool, error) {
	seen := map[string]bool{}
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return seen, nil
		}
		if err != nil {
			return nil, notBackup(err)
		}
		digest, isBlob := strings.CutPrefix(h.Name, blobsFolder+"/")
		switch {
		case h.Name == databaseFile || h.Name == secretFile:
			err = restoreFile(filepath.Join(cfg.data, h.Name), tr)
		case isBlob && slipstream.Digest(digest).Valid():
			err = blobs.Put(ctx, slipstream.Digest(digest), h.Size, tr)
			out.Blobs++
			out.Bytes += h.Size
		default:
			err = notBackup(errors.New("what does not belong into a backup is in it"))
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", h.Name, err)
		}
		seen[h.Name] = true
	}
}

func restoreFile(path string, r io.Reader) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Sync(), f.Close())
}
