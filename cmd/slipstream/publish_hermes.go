//go:build !device

package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/publish"
	"github.com/slipstream-ota/slipstream/publish/delta/hermes"
	"github.com/slipstream-ota/slipstream/sign"
)

// hermesFlags say how a JavaScript bundle is compiled to Hermes bytecode before it is published.
type hermesFlags struct {
	base, bundle, compiler, sourceMap string
	args                              []string
}

// Values of --hermes-base that are no release.
const (
	hermesAuto  = "auto" // the release that the channel offers
	hermesPlain = "none" // compile, but against nothing
)

// minifyApart is by how much the shares of short names may differ before two bundles are taken for one that is minified
// and one that is not.
const minifyApart = 0.3

func (h *hermesFlags) define(c *cobra.Command) {
	fs := c.Flags()
	fs.StringVar(&h.base, "hermes-base", "", "compile the bundle to Hermes bytecode against this release, so that the update is small: auto (what the channel offers), a version or digest, a file, or none")
	fs.StringVar(&h.bundle, "hermes-bundle", "", "the JavaScript bundle in PATH (default: the only *.bundle or *.jsbundle)")
	fs.StringVar(&h.compiler, "hermesc", "", "the project's Hermes compiler (default: that of node_modules/react-native)")
	fs.StringArrayVar(&h.args, "hermes-arg", []string{"-O", "-w", "-output-source-map"}, "argument of the compiler (repeatable)")
	fs.StringVar(&h.sourceMap, "hermes-source-map", "", "keep the compiler's source map in this file")
}

// hermesResult is what was compiled.
type hermesResult struct {
	tree     string // folder to publish in place of PATH
	lines    []string
	warnings []string
}

// compileHermes makes a copy of the tree at path in which the bundle is bytecode. Without --hermes-base the tree is
// published as it is. close removes the copy.
func (t *tool) compileHermes(ctx context.Context, h *hermesFlags, req publish.Request, path string) (tree string, closeCopy func() error, err error) {
	if h.base == "" {
		return path, func() error { return nil }, nil
	}
	work, err := os.MkdirTemp("", "slipstream-hermes-*")
	if err != nil {
		return "", nil, fmt.Errorf("make a temporary folder: %w", err)
	}
	closeCopy = func() error { return os.RemoveAll(work) }
	r, err := t.hermesTree(ctx, h, req, path, work)
	if err != nil {
		return "", nil, errors.Join(err, closeCopy())
	}
	if !t.json {
		for _, line := range r.lines {
			fmt.Fprintln(t.stderr, line)
		}
	}
	for _, text := range r.warnings {
		fmt.Fprintf(t.stderr, "Warning: %s\n", text)
	}
	return r.tree, closeCopy, nil
}

func (t *tool) hermesTree(ctx context.Context, h *hermesFlags, req publish.Request, path, work string) (*hermesResult, error) {
	bundle, err := h.findBundle(path)
	if err != nil {
		return nil, err
	}
	compiler, err := h.findCompiler(path)
	if err != nil {
		return nil, err
	}
	r := &hermesResult{tree: filepath.Join(work, "tree")}
	if err := os.CopyFS(r.tree, os.DirFS(path)); err != nil {
		return nil, fmt.Errorf("copy the tree: %w", err)
	}
	source := filepath.Join(path, filepath.FromSlash(bundle))
	plain, err := h.compile(ctx, compiler, source, filepath.Join(work, "plain"), "")
	if err != nil {
		return nil, err
	}
	final, compiled := plain, "plain"
	base, name, err := t.hermesBase(ctx, h, req, bundle)
	switch {
	case err != nil:
		return nil, err
	case base == nil:
		r.lines = append(r.lines, fmt.Sprintf("Compiled %s; %s", bundle, name))
	default:
		if final, err = h.against(ctx, compiler, source, work, plain, base, name, bundle, r); err != nil {
			return nil, err
		}
		if !bytes.Equal(final, plain) {
			compiled = "based"
		}
	}
	if h.sourceMap != "" {
		if err := keepFile(filepath.Join(work, compiled+".map"), h.sourceMap); err != nil {
			return nil, fmt.Errorf("keep the source map: %w", err)
		}
	}
	target := filepath.Join(r.tree, filepath.FromSlash(bundle))
	if err := errors.Join(os.Remove(target), os.WriteFile(target, final, 0o644)); err != nil {
		return nil, fmt.Errorf("put the bytecode into the tree: %w", err)
	}
	return r, nil
}

// against compiles with base and gives the result when it is the same program as plain, else plain.
func (h *hermesFlags) against(ctx context.Context, compiler, source, work string, plain, base []byte, name, bundle string, r *hermesResult) ([]byte, error) {
	baseFile := filepath.Join(work, "base")
	if err := os.WriteFile(baseFile, base, 0o600); err != nil {
		return nil, fmt.Errorf("keep the base: %w", err)
	}
	if a, ok := hermes.ShortNames(plain); ok {
		if b, ok := hermes.ShortNames(base); ok && math.Abs(a-b) > minifyApart {
			r.warnings = append(r.warnings, fmt.Sprintf("%s is %s and %s is %s: the update will be many times larger than with the same setting",
				bundle, minified(a > b), name, minified(b > a)))
		}
	}
	based, err := h.compile(ctx, compiler, source, filepath.Join(work, "based"), baseFile)
	if err == nil {
		err = hermes.Same(plain, based)
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		r.warnings = append(r.warnings, fmt.Sprintf("%s is compiled without %s as base: %v", bundle, name, err))
		return plain, nil
	}
	r.lines = append(r.lines, fmt.Sprintf("Compiled %s against %s: the same program as without", bundle, name))
	return based, nil
}

func minified(yes bool) string {
	if yes {
		return "minified"
	}
	return "not minified"
}

// findBundle gives the bundle's path inside the tree.
func (h *hermesFlags) findBundle(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("look at what to publish: %w", err)
	}
	if !info.IsDir() {
		return "", usageError{slipstream.Hint(fmt.Errorf("--hermes-base: %s is no folder", path), "give the folder that the bundler wrote")}
	}
	found := h.bundle
	if found == "" {
		err := filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(p, ".bundle") && !strings.HasSuffix(p, ".jsbundle") {
				return err
			}
			name, err := filepath.Rel(path, p)
			if err == nil && found != "" {
				err = usageError{slipstream.Hint(fmt.Errorf("--hermes-base: %s and %s may be the bundle", found, name), "say which one by --hermes-bundle")}
			}
			found = filepath.ToSlash(name)
			return err
		})
		if err != nil {
			return "", err
		}
	}
	if found == "" || !filepath.IsLocal(filepath.FromSlash(found)) {
		return "", usageError{slipstream.Hint(fmt.Errorf("--hermes-base: there is no bundle in %s", path), "say where it is by --hermes-bundle")}
	}
	head, err := readHead(filepath.Join(path, filepath.FromSlash(found)), 8)
	if err != nil {
		return "", err
	}
	if bytes.Equal(head, []byte{0xc6, 0x1f, 0xbc, 0x03, 0xc1, 0x03, 0x19, 0x1f}) {
		return "", slipstream.Hint(fmt.Errorf("%s is bytecode already", found), "publish the JavaScript bundle: it is compiled here, against the base")
	}
	return found, nil
}

func readHead(path string, n int) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open bundle: %w", err)
	}
	head := make([]byte, n)
	k, err := io.ReadFull(f, head)
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return head[:k], errors.Join(err, f.Close())
}

// findCompiler gives the compiler that is said, or that of the React Native project around path or around the working
// directory.
func (h *hermesFlags) findCompiler(path string) (string, error) {
	if h.compiler != "" {
		return exec.LookPath(h.compiler)
	}
	name := map[string]string{"linux": "linux64-bin/hermesc", "darwin": "osx-bin/hermesc", "windows": "win64-bin/hermesc.exe"}[runtime.GOOS]
	for _, from := range []string{path, "."} {
		dir, err := filepath.Abs(from)
		if err != nil {
			return "", fmt.Errorf("resolve %s: %w", from, err)
		}
		for ; ; dir = filepath.Dir(dir) {
			candidate := filepath.Join(dir, "node_modules", "react-native", "sdks", "hermesc", filepath.FromSlash(name))
			if info, err := os.Stat(candidate); err == nil && info.Mode().IsRegular() {
				return candidate, nil
			}
			if dir == filepath.Dir(dir) {
				break
			}
		}
	}
	return "", slipstream.Hint(errors.New("no Hermes compiler is found"), "say where the project's own is by --hermesc: its version must be that of the app's engine")
}

// compile runs the compiler. base may be empty.
func (h *hermesFlags) compile(ctx context.Context, compiler, source, out, base string) ([]byte, error) {
	args := append([]string{"-emit-binary", "-out", out}, h.args...)
	if base != "" {
		args = append(args, "-base-bytecode="+base)
	}
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, compiler, append(args, source)...)
	cmd.Stderr, cmd.Stdout = &said, &said
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("compile %s: %w: %s", filepath.Base(source), err, firstLine(said.String()))
	}
	b, err := os.ReadFile(out)
	if err != nil {
		return nil, fmt.Errorf("read bytecode: %w", err)
	}
	return b, nil
}

func keepFile(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o644)
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}

// hermesBase gives the bytecode to compile against and its name for people, or nil and why there is none.
func (t *tool) hermesBase(ctx context.Context, h *hermesFlags, req publish.Request, bundle string) ([]byte, string, error) {
	if h.base == hermesPlain {
		return nil, "without a base, as is asked for", nil
	}
	if info, err := os.Stat(h.base); err == nil && info.Mode().IsRegular() {
		b, err := os.ReadFile(h.base)
		return b, h.base, err
	}
	server, err := t.client()
	if err != nil {
		return nil, "", err
	}
	ref := h.base
	if ref == hermesAuto {
		standing, err := server.Standing(ctx, req.Target)
		if err != nil {
			return nil, "", fmt.Errorf("ask what the channel offers: %w", err)
		}
		if standing.Current == nil {
			return nil, "the channel offers nothing yet that it could be compiled against", nil
		}
		ref = string(standing.Current.Digest)
	}
	release, err := server.Release(ctx, req.App, ref)
	if err != nil {
		return nil, "", fmt.Errorf("look for the base release: %w", err)
	}
	e, err := sign.ParseEnvelope(release.Envelope, sign.TypeManifest, slipstream.MaxManifestBytes+1)
	if err != nil {
		return nil, "", err
	}
	var m slipstream.Manifest
	if err := sign.Decode(e.Payload, &m); err != nil {
		return nil, "", err
	}
	for _, f := range m.Files {
		if f.Path != bundle {
			continue
		}
		b, err := fetchBlob(ctx, server.URL(), f)
		if err != nil {
			return nil, "", fmt.Errorf("fetch the base: %w", err)
		}
		if _, ok := hermes.Known(b); !ok {
			return nil, fmt.Sprintf("%s of %s is no bytecode that is known", bundle, m.Version), nil
		}
		return b, "release " + m.Version, nil
	}
	return nil, fmt.Sprintf("release %s has no %s", m.Version, bundle), nil
}

// fetchBlob downloads a file of a release and compares it with what its manifest says.
func fetchBlob(ctx context.Context, server string, f slipstream.File) (_ []byte, err error) {
	if f.Size > hermes.MaxFile {
		return nil, fmt.Errorf("%s has %s, too much for a base", f.Path, formatBytes(f.Size))
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	body, err := openBlob(ctx, server, f)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	b, err := io.ReadAll(io.LimitReader(body, f.Size+1))
	if err != nil {
		return nil, err
	}
	if d := slipstream.DigestOf(sha256.Sum256(b)); d != f.SHA256 {
		return nil, slipstream.Refuse(slipstream.ReasonFileMismatch, "file "+f.Path, "hash is %s, the manifest says %s", d.Short(), f.SHA256.Short())
	}
	return b, nil
}

// openBlob begins to download a file of a release. What comes is not checked yet.
func openBlob(ctx context.Context, server string, f slipstream.File) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(server, "/")+"/v1/blobs/"+string(f.SHA256), nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		return nil, errors.Join(fmt.Errorf("%s: %s", f.Path, res.Status), res.Body.Close())
	}
	return res.Body, nil
}
