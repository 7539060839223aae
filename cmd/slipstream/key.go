//go:build !device

package main

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/sign"
)

func newKeyCommand(t *tool) *cobra.Command {
	c := &cobra.Command{
		Use:   "key",
		Short: "Make keys, and make, sign and rotate the root that lists them",
		Long: `Private keys are PKCS#8 PEM files, readable by openssl, and never leave this machine. A root lists the public keys of an
app and what each may sign; it is signed by a threshold of its root keys.`,
		Args: noSubcommand,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newKeyGenerateCommand(t), newKeyShowCommand(t), newKeyRootCommand(t))
	return c
}

// keyInfo is what is told of a key: never anything private.
type keyInfo struct {
	KeyID  string `json:"keyid"`
	Public string `json:"public"`
	File   string `json:"file,omitempty"`
}

func (t *tool) printKey(pub ed25519.PublicKey, file string) error {
	info := keyInfo{KeyID: sign.KeyID(pub), Public: sign.EncodePublic(pub), File: file}
	return t.print(info, func(w io.Writer) {
		fmt.Fprintf(w, "keyid   %s\npublic  %s\n", info.KeyID, info.Public)
	})
}

func newKeyGenerateCommand(t *tool) *cobra.Command {
	var out string
	var plain bool
	c := &cobra.Command{
		Use:   "generate",
		Short: "Make a private key file",
		Long: `Generate makes an Ed25519 key and writes it as a PKCS#8 PEM file that only you can read, encrypted under a passphrase:
SLIPSTREAM_PASSPHRASE, or in a terminal the one you type. An existing file is never overwritten.`,
		Example: "  slipstream key generate --out release.key\n  openssl pkey -in release.key -pubout",
		Args:    exactly(0, "no argument"),
		RunE: func(*cobra.Command, []string) error {
			s, err := t.newKey(out, !plain)
			if err != nil {
				return err
			}
			return t.printKey(s.Public(), out)
		},
	}
	c.Flags().StringVar(&out, "out", "slipstream.key", "file to write")
	c.Flags().BoolVar(&plain, "no-passphrase", false, "do not encrypt the file")
	return c
}

func newKeyShowCommand(t *tool) *cobra.Command {
	return &cobra.Command{
		Use:   "show FILE",
		Short: "Print a key's id and public half",
		Long:  "Show reads a private key file, a public key in PEM, or the base64 of one, and prints the id and the public half.",
		Args:  exactly(1, "one key file"),
		RunE: func(_ *cobra.Command, args []string) error {
			pub, _, err := t.loadPublic(args[0])
			if err != nil {
				return err
			}
			return t.printKey(pub, args[0])
		},
	}
}

// loadPublic takes a public key in any form in which people hand one around: the base64 itself, or a file with the
// base64, a public PEM or a private key. The signer is nil when only the public half is there.
func (t *tool) loadPublic(arg string) (ed25519.PublicKey, sign.Signer, error) {
	if pub, err := sign.ParsePublic(arg); err == nil {
		return pub, nil, nil
	}
	data, err := readSmall(arg, maxKeyFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, slipstream.Hint(fmt.Errorf("key %s: %w", arg, slipstream.ErrNotFound), "give a key file or the base64 that `slipstream key show` prints")
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read key: %w", err)
	}
	if block, _ := pem.Decode(data); block == nil {
		pub, err := sign.ParsePublic(strings.TrimSpace(string(data)))
		if err != nil {
			return nil, nil, fmt.Errorf("key %s: neither PEM nor base64: %w", arg, err)
		}
		return pub, nil, nil
	} else if block.Type == "PUBLIC KEY" {
		pub, err := publicFromDER(block.Bytes)
		if err != nil {
			return nil, nil, fmt.Errorf("key %s: %w", arg, err)
		}
		return pub, nil, nil
	}
	s, err := t.loadKey(arg)
	if err != nil {
		return nil, nil, err
	}
	return s.Public(), s, nil
}

func publicFromDER(der []byte) (ed25519.PublicKey, error) {
	parsed, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, fmt.Errorf("decode public key: %w", err)
	}
	pub, ok := parsed.(ed25519.PublicKey)
	if !ok {
		return nil, fmt.Errorf("a key of type %T instead of Ed25519", parsed)
	}
	return sign.ParsePublic(sign.EncodePublic(pub))
}
