// Package transfer brings apps, deployments and releases from one CodePush server to another, over the management API
// that both speak, or by way of a folder.
//
// A folder holds codepush.json, an Export, and each package as packages/<package hash>, the bytes that clients download.
package transfer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/internal/atomicfile"
)

// Version of the folder's format.
const Version = 1

// MaxPackage bounds one package, in bytes.
const MaxPackage = 200 << 20

// Export is the document of a folder.
type Export struct {
	Version int   `json:"version"`
	Apps    []App `json:"apps"`
}

// App is an app with its deployments.
type App struct {
	Name        string       `json:"name"`
	Deployments []Deployment `json:"deployments"`
}

// Deployment is a deployment with its releases, oldest first.
type Deployment struct {
	Name    string    `json:"name"`
	Key     string    `json:"key"`
	History []Release `json:"history"`
}

// Release is one label. Rollout is in percent, nil for all devices; UploadTime in milliseconds since 1970.
type Release struct {
	Label              string            `json:"label"`
	AppVersion         string            `json:"appVersion"`
	Description        string            `json:"description"`
	IsDisabled         bool              `json:"isDisabled"`
	IsMandatory        bool              `json:"isMandatory"`
	Rollout            *int              `json:"rollout"`
	PackageHash        slipstream.Digest `json:"packageHash"`
	BlobURL            string            `json:"blobUrl,omitempty"`
	ReleaseMethod      string            `json:"releaseMethod,omitempty"`
	OriginalLabel      string            `json:"originalLabel,omitempty"`
	OriginalDeployment string            `json:"originalDeployment,omitempty"`
	UploadTime         int64             `json:"uploadTime,omitempty"`
}

// Source is where things come from: a Server or a Folder.
type Source interface {
	// Read gives all apps, or the one with a name.
	Read(ctx context.Context, app string) (Export, error)
	// Package opens the bytes of a release.
	Package(ctx context.Context, r Release) (io.ReadCloser, error)
}

var (
	_ Source = (*Server)(nil)
	_ Source = Folder("")
)

// Folder is an export on disk.
type Folder string

func (f Folder) packageFile(r Release) string {
	return filepath.Join(string(f), "packages", string(r.PackageHash))
}

// Read implements Source.
func (f Folder) Read(_ context.Context, app string) (Export, error) {
	var out Export
	raw, err := os.ReadFile(filepath.Join(string(f), "codepush.json"))
	if err != nil {
		return out, slipstream.Hint(fmt.Errorf("read export: %w", err), "an export is a folder with codepush.json in it, as --export makes it")
	}
	if err := json.Unmarshal(raw, &out); err != nil {
		return out, fmt.Errorf("read export: codepush.json: %w", err)
	}
	if out.Version != Version {
		return out, slipstream.Invalidf("the export has format %d, this program reads %d", out.Version, Version)
	}
	return out.only(app)
}

func (e Export) only(app string) (Export, error) {
	if app == "" {
		return e, nil
	}
	for _, a := range e.Apps {
		if a.Name == app {
			e.Apps = []App{a}
			return e, nil
		}
	}
	return e, fmt.Errorf("app %q: %w", app, slipstream.ErrNotFound)
}

// Package implements Source.
func (f Folder) Package(_ context.Context, r Release) (io.ReadCloser, error) {
	if !r.PackageHash.Valid() {
		return nil, slipstream.Invalidf("release %s: packageHash %.80q is no SHA-256", r.Label, r.PackageHash)
	}
	return os.Open(f.packageFile(r))
}

// Save writes what a source has into the folder, packages first. What is there already is not fetched again.
func (f Folder) Save(ctx context.Context, from Source, app string) (out Result, err error) {
	doc, err := from.Read(ctx, app)
	if err != nil {
		return out, err
	}
	if err := os.MkdirAll(filepath.Join(string(f), "packages"), 0o755); err != nil {
		return out, fmt.Errorf("make export: %w", err)
	}
	for _, a := range doc.Apps {
		out.Apps++
		for _, d := range a.Deployments {
			out.Deployments++
			for _, r := range d.History {
				if err := f.keep(ctx, from, r); err != nil {
					out.miss("%s %s %s: %v", a.Name, d.Name, r.Label, err)
					continue
				}
				out.Releases++
			}
		}
	}
	doc.Version = Version
	raw, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return out, err
	}
	return out, atomicfile.Write(filepath.Join(string(f), "codepush.json"), append(raw, '\n'), 0o600) // it holds the keys
}

func (f Folder) keep(ctx context.Context, from Source, r Release) error {
	if !r.PackageHash.Valid() {
		return slipstream.Invalidf("packageHash %.80q is no SHA-256", r.PackageHash)
	}
	if _, err := os.Stat(f.packageFile(r)); err == nil {
		return nil
	}
	raw, err := whole(ctx, from, r)
	if err != nil {
		return err
	}
	return atomicfile.Write(f.packageFile(r), raw, 0o644)
}

func whole(ctx context.Context, from Source, r Release) (_ []byte, err error) {
	body, err := from.Package(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("fetch package: %w", err)
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	raw, err := io.ReadAll(io.LimitReader(body, MaxPackage+1))
	if err == nil && len(raw) > MaxPackage {
		err = slipstream.Invalidf("the package is larger than %d bytes", MaxPackage)
	}
	return raw, err
}

// Result says what was brought over. Known were there before; Missed says, a line each, what could not be brought.
type Result struct {
	Apps        int      `json:"apps"`
	Deployments int      `json:"deployments"`
	Releases    int      `json:"releases"`
	Known       int      `json:"known"`
	Missed      []string `json:"missed"`
}

func (r *Result) miss(format string, args ...any) {
	r.Missed = append(r.Missed, fmt.Sprintf(format, args...))
}

// Import brings what a source has to a server of ours. Run again, it brings what is new. What fails is told in the result
// and the rest goes on; but labels only rise, so what comes after a release that failed waits for it, unless skip leaves
// it out for good.
func Import(ctx context.Context, from Source, to *Server, app string, skip bool) (out Result, err error) {
	doc, err := from.Read(ctx, app)
	if err != nil {
		return out, err
	}
	have, err := to.Read(ctx, "")
	if err != nil {
		return out, err
	}
	for _, a := range doc.Apps {
		there, found := App{}, false
		for _, h := range have.Apps {
			if h.Name == a.Name {
				there, found = h, true
			}
		}
		if !found {
			if err := to.addApp(ctx, a.Name); err != nil {
				out.miss("app %s: %v", a.Name, err)
				continue
			}
		}
		out.Apps++
		for _, d := range a.Deployments {
			if err := importDeployment(ctx, from, to, a.Name, d, there, skip, &out); err != nil {
				return out, err
			}
		}
	}
	return out, nil
}

func importDeployment(ctx context.Context, from Source, to *Server, app string, d Deployment, there App, skip bool, out *Result) error {
	var known *Deployment
	for i := range there.Deployments {
		if there.Deployments[i].Name == d.Name {
			known = &there.Deployments[i]
		}
	}
	var err error
	switch {
	case known == nil:
		err = to.addDeployment(ctx, app, d.Name, d.Key)
	case known.Key != d.Key:
		err = to.SetKey(ctx, app, d.Name, d.Key)
	}
	if err != nil {
		out.miss("%s %s: %v", app, d.Name, err)
		return ctx.Err()
	}
	out.Deployments++
	labels := map[string]slipstream.Digest{}
	if known != nil {
		for _, r := range known.History {
			labels[r.Label] = r.PackageHash
		}
	}
	for i, r := range d.History {
		if hash, is := labels[r.Label]; is && hash == r.PackageHash {
			out.Known++
			continue
		}
		if err := importRelease(ctx, from, to, app, d.Name, r); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			out.miss("%s %s %s: %v", app, d.Name, r.Label, err)
			if rest := len(d.History) - i - 1; rest > 0 && !skip {
				out.miss("%s %s: %d releases after %s, which wait for it", app, d.Name, rest, r.Label)
				return nil
			}
			continue
		}
		out.Releases++
	}
	return nil
}

func importRelease(ctx context.Context, from Source, to *Server, app, deployment string, r Release) error {
	raw, err := whole(ctx, from, r)
	if err != nil {
		return err
	}
	r.BlobURL = ""
	if r.ReleaseMethod != "Promote" && r.ReleaseMethod != "Rollback" {
		r.ReleaseMethod = "Upload"
	}
	if strings.TrimSpace(r.AppVersion) == "" {
		r.AppVersion = "*"
	}
	return to.upload(ctx, app, deployment, r, raw)
}
