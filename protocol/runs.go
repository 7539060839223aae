package protocol

import (
	"context"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/store"
)

// Runs asks the store what a device ran when it was last heard.
func Runs(st store.Store) func(ctx context.Context, app, pkg, device string) (slipstream.Digest, error) {
	return func(ctx context.Context, app, pkg, device string) (slipstream.Digest, error) {
		d, err := st.Reports().Fleet().Device(ctx, app, device)
		if err != nil {
			return "", err
		}
		for _, row := range d.Rows {
			if row.Package == pkg {
				return row.Release, nil
			}
		}
		return "", nil
	}
}
