package protocol

import (
	"context"
	"fmt"

	"github.com/slipstream-ota/slipstream/store"
)

// Remember reads what an adapter serves, and writes the settings that this brought up, such as names that were given for
// the first time. read is called again, in the transaction that writes, when there are any: what another node wrote
// meanwhile then stands.
func Remember(ctx context.Context, st store.Store, read func(store.Tx) ([]store.Setting, error)) error {
	var found []store.Setting
	err := st.View(ctx, func(tx store.Tx) (err error) {
		found, err = read(tx)
		return err
	})
	if err != nil || len(found) == 0 {
		return err
	}
	err = st.Update(ctx, func(tx store.Tx) error {
		found, err := read(tx)
		if err != nil {
			return err
		}
		for _, s := range found {
			if err := tx.Settings().Set(ctx, s.Key, s.Value); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("remember what was read: %w", err)
	}
	return nil
}
