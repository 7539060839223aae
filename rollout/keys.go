package rollout

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/internal/seal"
	"github.com/slipstream-ota/slipstream/sign"
	"github.com/slipstream-ota/slipstream/store"
)

const (
	settingCheck = "secret.check" // a known text sealed under the server secret
	purposeCheck = "check"
	checkText    = "slipstream"
)

// Keys makes, seals and opens the state keys of apps: Ed25519 keys that live in the store, encrypted under the
// server's secret, so that a copy of the database alone signs nothing.
type Keys struct{ sealer *seal.Sealer }

// OpenKeys checks that secret is the one which the store's state keys were sealed under. The first secret that a store
// sees is the one.
func OpenKeys(ctx context.Context, st store.Store, secret []byte) (*Keys, error) {
	sealer, err := seal.New(secret)
	if err != nil {
		return nil, err
	}
	err = st.Update(ctx, func(tx store.Tx) error {
		sealed, err := tx.Settings().Get(ctx, settingCheck)
		if errors.Is(err, slipstream.ErrNotFound) || err == nil && len(sealed) == 0 {
			if sealed, err = sealer.Seal(purposeCheck, []byte(checkText)); err != nil {
				return err
			}
			return tx.Settings().Set(ctx, settingCheck, sealed)
		}
		if err != nil {
			return err
		}
		plain, err := sealer.Open(purposeCheck, sealed)
		if err != nil || !bytes.Equal(plain, []byte(checkText)) {
			return slipstream.Hint(errors.New("the server secret is not the one that this database was used with"),
				"give the right file by --secret; every node of one database needs the same secret")
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("check server secret: %w", err)
	}
	return &Keys{sealer: sealer}, nil
}

func purposeOf(app string) string { return "state key of " + app }

// Generate makes a new state key of app. Created is left to the caller.
func (k *Keys) Generate(app string) (store.StateKey, error) {
	priv, err := sign.GenerateKey(rand.Reader)
	if err != nil {
		return store.StateKey{}, fmt.Errorf("make state key: %w", err)
	}
	sealed, err := k.sealer.Seal(purposeOf(app), priv.Seed())
	if err != nil {
		return store.StateKey{}, fmt.Errorf("seal state key: %w", err)
	}
	pub := sign.NewSigner(priv).Public()
	return store.StateKey{App: app, KeyID: sign.KeyID(pub), Public: sign.EncodePublic(pub), Sealed: sealed}, nil
}

// OpenKey gives the signer of a sealed state key.
func (k *Keys) OpenKey(_ context.Context, key store.StateKey) (sign.Signer, error) {
	seed, err := k.sealer.Open(purposeOf(key.App), key.Sealed)
	if err != nil {
		return nil, fmt.Errorf("open state key %s of %s: %w", key.KeyID, key.App, err)
	}
	if len(seed) != ed25519.SeedSize {
		return nil, fmt.Errorf("state key %s of %s has %d bytes", key.KeyID, key.App, len(seed))
	}
	return sign.NewSigner(ed25519.NewKeyFromSeed(seed)), nil
}
