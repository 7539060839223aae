package simfleet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/client"
	"github.com/slipstream-ota/slipstream/sign"
)

// Ship fetches a release from a server, as what ships with the app of devices, and verifies it by the root.
func Ship(ctx context.Context, server string, root []byte, release slipstream.Digest) (client.Embedded, error) {
	var e client.Embedded
	trust, err := sign.OpenRoot(root)
	if err != nil {
		return e, fmt.Errorf("open root: %w", err)
	}
	if e.Manifest, err = fetch(ctx, server+"/v1/manifests/"+string(release), slipstream.MaxManifestBytes); err != nil {
		return e, err
	}
	m, digest, err := trust.Manifest(e.Manifest)
	if err != nil || digest != release {
		return e, errors.Join(fmt.Errorf("manifest of %s: the server has another one, or none that verifies", release.Short()), err)
	}
	files := shipped{}
	for _, f := range m.Files {
		if files[f.Path], err = fetch(ctx, server+"/v1/blobs/"+string(f.SHA256), f.Size); err != nil {
			return e, fmt.Errorf("file %s of %s: %w", f.Path, m.Version, err)
		}
	}
	e.Files = files
	return e, nil
}

func fetch(ctx context.Context, url string, limit int64) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("fetch: %w", err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, limit+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("fetch %s: %w", url, err)
	case res.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("fetch %s: status %d", url, res.StatusCode)
	case int64(len(raw)) > limit:
		return nil, slipstream.Refuse(slipstream.ReasonTooLarge, url, "more than %d bytes", limit)
	}
	return raw, nil
}
