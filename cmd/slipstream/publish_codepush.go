//go:build !device

package main

import (
	"encoding/json"
	"fmt"
	"maps"

	"github.com/slipstream-ota/slipstream/protocol/codepush"
	"github.com/slipstream-ota/slipstream/publish"
)

// signCodepush adds the signature that CodePush clients with an embedded key ask for to what the manifest will carry.
// Without a key file there is none.
func signCodepush(req *publish.Request, tree *publish.Tree, keyFile string) error {
	if keyFile == "" {
		return nil
	}
	key, err := readSmall(keyFile, maxKeyFile)
	if err != nil {
		return fmt.Errorf("read CodePush key: %w", err)
	}
	token, err := codepush.Sign(tree.Files, key)
	if err != nil {
		return err
	}
	meta := maps.Clone(req.Meta)
	if meta == nil {
		meta = map[string]json.RawMessage{}
	}
	meta[codepush.Meta] = token
	req.Meta = meta
	return nil
}
