package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/publish/delta"
	"github.com/slipstream-ota/slipstream/sign"
)

func newVerifyCommand(t *tool) *cobra.Command {
	v := &verifier{t: t, manifests: map[slipstream.Digest]*slipstream.Manifest{}, out: []finding{}}
	var rootFile string
	c := &cobra.Command{
		Use:   "verify PATH|URL…",
		Short: "Check documents, containers, patches, a device directory or a whole server against a root",
		Long: `Verify says line by line what it found and ends with exit code 3 when anything is refused. It takes
  - any signed document: root, manifest, state or decision,
  - a container, together with the manifest of its release (and of its base),
  - a patch by "delta diff", BSDIFF40 or dcz: its structure, and with --base what it makes of that; it needs no root,
  - a device directory: its root, states, manifests and the hash of every file,
  - the address of a server or bucket: the chain of roots, the states of the channels, every manifest they name, and with
    --deep the bytes of every container and file.
The root to check against is --root, else SLIPSTREAM_ROOT, else that of --app in your configuration folder. A root needs
no other root, but is then only as good as the place it came from.`,
		Example: `  slipstream verify state.json --root root.json
  slipstream verify app.patch --base app-1.4.0/
  slipstream verify ./device --root root.json
  slipstream verify https://updates.example.com --app shop --channel production --deep`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return exactly(1, "at least one file, folder or address")(c, args)
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			v.now = time.Now()
			if err := v.findRoot(rootFile); err != nil {
				return err
			}
			return v.run(c.Context(), args)
		},
	}
	c.Flags().StringVar(&rootFile, "root", "", "root to check against")
	c.Flags().StringVar(&v.base, "base", "", "file or folder that patches are for")
	c.Flags().StringVar(&v.app, "app", "", "name of the app")
	c.Flags().StringSliceVar(&v.channels, "channel", []string{slipstream.DefaultChannel}, "channels of a server to check")
	c.Flags().StringSliceVar(&v.platforms, "platform", []string{slipstream.PlatformAny}, "platforms of a server to check")
	c.Flags().BoolVar(&v.deep, "deep", false, "download and check every container and file of a server")
	return c
}

// Outcomes of one finding.
const (
	foundOK      = "ok"
	foundRefused = "refused"
	foundNote    = "note" // nothing wrong, but worth knowing
)

// finding is one line of the result.
type finding struct {
	Outcome string            `json:"outcome"`
	What    string            `json:"what"`
	Reason  slipstream.Reason `json:"reason,omitempty"`
	Detail  string            `json:"detail,omitempty"`
}

// verifier collects findings about the things of one command line. trust is the newest root of the chain that starts
// at the given one, or nil.
type verifier struct {
	t         *tool
	app       string
	base      string // of patches, "" = not at hand
	channels  []string
	platforms []string
	deep      bool
	now       time.Time
	trust     *sign.Trust
	manifests map[slipstream.Digest]*slipstream.Manifest // verified ones
	out       []finding
	http      *http.Client
}

func (v *verifier) add(f finding) {
	v.out = append(v.out, f)
	if v.t.json {
		return
	}
	word := f.Outcome
	if word == foundRefused {
		word = "REFUSED"
	}
	line := fmt.Sprintf("%-8s %s", word, f.What)
	if f.Reason != "" {
		line += ": " + string(f.Reason)
	}
	if f.Detail != "" {
		line += ": " + f.Detail
	}
	fmt.Fprintln(v.t.stdout, strings.ReplaceAll(line, "\n", "; "))
}

func (v *verifier) ok(what, format string, args ...any) {
	v.add(finding{Outcome: foundOK, What: what, Detail: fmt.Sprintf(format, args...)})
}

func (v *verifier) note(what, format string, args ...any) {
	v.add(finding{Outcome: foundNote, What: what, Detail: fmt.Sprintf(format, args...)})
}

func (v *verifier) refuse(what string, err error) {
	var r *slipstream.Refusal
	if errors.As(err, &r) && r.Err != nil {
		v.add(finding{foundRefused, what, r.Reason, r.Err.Error()})
		return
	}
	v.add(finding{foundRefused, what, slipstream.ReasonOf(err, slipstream.ReasonMalformed), err.Error()})
}

// findRoot opens the root to check against, if there is one.
func (v *verifier) findRoot(path string) error {
	path = first(path, v.t.env.Get("root", ""))
	if path == "" && v.app != "" {
		path = v.t.env.Folder().RootFile(v.app)
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			return nil
		}
	}
	if path == "" {
		return nil
	}
	var err error
	if v.trust, err = openRootFile(path); err != nil {
		return err
	}
	if v.app != "" && v.app != v.trust.Root().App {
		return slipstream.Refuse(slipstream.ReasonWrongApp, "root", "%s is of app %q, not %q", path, v.trust.Root().App, v.app)
	}
	return nil
}

func openRootFile(path string) (*sign.Trust, error) {
	raw, err := readSmall(path, slipstream.MaxRootBytes)
	if err != nil {
		return nil, fmt.Errorf("read root: %w", err)
	}
	trust, err := sign.OpenRoot(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return trust, nil
}

// needRoot says what to do when something cannot be judged without a root.
func (v *verifier) needRoot() error {
	if v.trust != nil {
		return nil
	}
	return slipstream.Hint(errors.New("there is no root to check against"), "name it: --root root.json, or --app A when its root is in %s", v.t.env.Folder().Path)
}

// run looks at every argument, documents before the containers that need them.
func (v *verifier) run(ctx context.Context, args []string) error {
	if v.base != "" && !slices.ContainsFunc(args, isPatch) {
		return usageError{errors.New("--base is for patches, and none is among the arguments")}
	}
	var containers []string
	for _, arg := range args {
		var err error
		info, statErr := os.Stat(arg)
		switch {
		case strings.HasPrefix(arg, "http://") || strings.HasPrefix(arg, "https://"):
			err = v.server(ctx, arg)
		case errors.Is(statErr, os.ErrNotExist):
			err = fmt.Errorf("%s: %w", arg, slipstream.ErrNotFound)
		case statErr != nil:
			err = fmt.Errorf("look at %s: %w", arg, statErr)
		case info.IsDir():
			err = v.device(ctx, arg)
		case isContainer(arg):
			containers = append(containers, arg)
		case isPatch(arg):
			err = v.patch(ctx, arg)
		default:
			err = v.file(arg)
		}
		if err != nil {
			return err
		}
	}
	for _, path := range containers {
		if err := v.container(ctx, path); err != nil {
			return err
		}
	}
	return v.finish()
}

// finish prints the whole with --json, and makes one error of all refusals.
func (v *verifier) finish() error {
	refused := 0
	for _, f := range v.out {
		if f.Outcome == foundRefused {
			refused++
		}
	}
	if v.t.json {
		if err := v.t.print(v.out, nil); err != nil {
			return err
		}
	}
	if refused == 0 {
		return nil
	}
	i := slices.IndexFunc(v.out, func(f finding) bool { return f.Outcome == foundRefused })
	return slipstream.Refuse(v.out[i].Reason, v.out[i].What, "%d of %d findings are refusals", refused, len(v.out))
}

func isContainer(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	head := make([]byte, 4)
	_, err = io.ReadFull(f, head)
	return err == nil && string(head) == "SLPC"
}

// file looks at one document.
func (v *verifier) file(path string) error {
	raw, err := readSmall(path, slipstream.MaxManifestBytes)
	if err != nil {
		return fmt.Errorf("read document: %w", err)
	}
	return v.document(path, raw)
}

// document finds out what raw is and checks it.
func (v *verifier) document(name string, raw []byte) error {
	payloadType, err := sign.TypeOf(raw, slipstream.MaxManifestBytes)
	if err != nil {
		v.refuse(name, err)
		return nil
	}
	if payloadType == sign.TypeRoot {
		v.root(name, raw)
		return nil
	}
	if err := v.needRoot(); err != nil {
		return err
	}
	switch payloadType {
	case sign.TypeManifest:
		v.manifest(name, raw)
	case sign.TypeState:
		if s := v.state(name, raw); s != nil {
			v.ok(describeState(s), "%d packages, expires %s", len(s.Packages), stamp(s.Expires))
		}
	case sign.TypeDecision:
		v.decision(name, raw)
	default:
		v.refuse(name, slipstream.Refuse(slipstream.ReasonMalformed, name, "unknown payload type %q", payloadType))
	}
	return nil
}

func stamp(t slipstream.Time) string { return t.UTC().Format(slipstream.TimeLayout) }

// root checks a root by the one at hand, and takes it for what follows when it is its successor.
func (v *verifier) root(name string, raw []byte) {
	draft, e, signers, err := sign.DraftRoot(raw)
	if err != nil {
		v.refuse(name, err)
		return
	}
	what := fmt.Sprintf("root of %s, version %d", draft.App, draft.Version)
	opened, err := sign.OpenRoot(raw)
	if err != nil {
		v.refuse(what, err)
		return
	}
	by := fmt.Sprintf("%d of %d needed signatures", len(signers.Signed), signers.Needed)
	switch given := v.trust; {
	case given == nil:
		v.note(what, "checked by its own keys alone: it is as good as the place it came from")
	case draft.App != given.Root().App:
		v.refuse(what, slipstream.Refuse(slipstream.ReasonWrongApp, what, "the given root is of app %q", given.Root().App))
		return
	case draft.Version == given.Root().Version:
		if same, err := sign.ParseEnvelope(given.Envelope(), sign.TypeRoot, slipstream.MaxRootBytes); err != nil || !bytes.Equal(same.Payload, e.Payload) {
			v.refuse(what, slipstream.Refuse(slipstream.ReasonRootVersion, what, "differs from the given root of that version"))
			return
		}
	case draft.Version < given.Root().Version:
		v.note(what, "older than the given root, version %d: checked by its own keys alone", given.Root().Version)
	default:
		next, err := given.Next(raw)
		if err != nil {
			v.refuse(what, err)
			return
		}
		previous := given.RootSigners(e)
		by += fmt.Sprintf(", and %d of %d of version %d", len(previous.Signed), previous.Needed, given.Root().Version)
		v.trust = next
	}
	if opened.Expired(v.now) {
		v.refuse(what, slipstream.Refuse(slipstream.ReasonExpiredRoot, what, "expired %s", stamp(draft.Expires)))
		return
	}
	v.ok(what, "%s, expires %s", by, stamp(draft.Expires))
}

// ofApp refuses a document of another app than the root's.
func (v *verifier) ofApp(what, app string) error {
	if app != v.trust.Root().App {
		return slipstream.Refuse(slipstream.ReasonWrongApp, what, "of app %q, the root is of %q", app, v.trust.Root().App)
	}
	return nil
}

func describeManifest(m *slipstream.Manifest, digest slipstream.Digest) string {
	return fmt.Sprintf("release %s of %s/%s, version %s, seq %d", digest.Short(), m.App, m.Package, m.Version, m.Seq)
}

// manifest checks a manifest, keeps it for containers, and gives it when it is good.
func (v *verifier) manifest(name string, raw []byte) (*slipstream.Manifest, slipstream.Digest) {
	m, digest, err := v.trust.Manifest(raw)
	if err != nil {
		v.refuse(name, err)
		return nil, ""
	}
	what := describeManifest(m, digest)
	if err := v.ofApp(what, m.App); err != nil {
		v.refuse(what, err)
		return nil, ""
	}
	v.manifests[digest] = m
	v.ok(what, "%d files, %d bytes, platform %s, runtime %s", len(m.Files), m.Size(), m.Platform, m.Runtime)
	return m, digest
}

func describeState(s *slipstream.State) string {
	return fmt.Sprintf("state of %s/%s for %s, epoch %d", s.App, s.Channel, s.Platform, s.Epoch)
}

// state checks a state by itself and against the clock, and gives it when it is good.
func (v *verifier) state(name string, raw []byte) *slipstream.State {
	s, err := v.trust.State(raw)
	if err == nil {
		s, err = v.trust.AcceptState(raw, sign.ExpectState{App: v.trust.Root().App, Channel: s.Channel, Platform: s.Platform, Now: v.now})
	}
	if err != nil {
		v.refuse(name, err)
		return nil
	}
	if s.RootVersion > v.trust.Root().Version {
		v.note(describeState(s), "the server knows root version %d, checked by version %d", s.RootVersion, v.trust.Root().Version)
	}
	return s
}

func (v *verifier) decision(name string, raw []byte) {
	d, err := v.trust.Decision(raw)
	if err != nil {
		v.refuse(name, err)
		return
	}
	what := fmt.Sprintf("decision of %s/%s, epoch %d", d.App, d.Channel, d.Epoch)
	if err := v.ofApp(what, d.App); err != nil {
		v.refuse(what, err)
		return
	}
	if !v.now.Before(d.Expires.Time) {
		v.note(what, "was the answer to a request of its time and is over since %s", stamp(d.Expires))
	}
	v.ok(what, "%d packages, issued %s", len(d.Packages), stamp(d.Issued))
}

// discard is a sink that keeps nothing: delta.Apply itself checks sizes and hashes.
type discard struct{ io.Writer }

func (discard) Close() error                                     { return nil }
func (discard) Create(slipstream.File) (io.WriteCloser, error)   { return discard{io.Discard}, nil }
func (discard) Keep(slipstream.File, slipstream.File) error      { return nil }
func (discard) Duplicate(slipstream.File, slipstream.File) error { return nil }

// patchContainer is the format version of containers that need the contents of their base.
const patchContainer = 2

// container finds the manifests at hand that a container file belongs to and applies it to nowhere.
func (v *verifier) container(ctx context.Context, path string) error {
	if err := v.needRoot(); err != nil {
		return err
	}
	if len(v.manifests) == 0 {
		return slipstream.Hint(fmt.Errorf("container %s: there is no verified manifest to check it by", path), "name the manifest too: slipstream verify %s MANIFEST", path)
	}
	what := "container " + path
	digests := slices.Sorted(maps.Keys(v.manifests))
	var last error
	for _, target := range digests {
		for _, base := range append([]slipstream.Digest{""}, digests...) {
			if base == target {
				continue
			}
			err := v.applyFile(ctx, path, v.manifests[base], v.manifests[target])
			if err == nil {
				from := "nothing"
				if base != "" {
					from = "release " + base.Short()
				}
				v.ok(what, "turns %s into %s", from, describeManifest(v.manifests[target], target))
				return nil
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			last = err
		}
	}
	v.refuse(what, last)
	return nil
}

func (v *verifier) applyFile(ctx context.Context, path string, old, target *slipstream.Manifest) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open container: %w", err)
	}
	defer f.Close()
	err = delta.Apply(ctx, f, old, target, discard{})
	var r *slipstream.Refusal
	if head := make([]byte, 5); errors.As(err, &r) {
		if _, failed := f.ReadAt(head, 0); failed == nil && head[4] == patchContainer {
			return slipstream.Hint(err, "a patch needs the files that it is for: let `slipstream verify URL --deep` fetch both from the server")
		}
	}
	return err
}
