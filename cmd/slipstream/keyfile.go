//go:build !device

package main

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/term"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/internal/atomicfile"
	"github.com/slipstream-ota/slipstream/sign"
)

// maxKeyFile bounds the bytes read from a key file.
const maxKeyFile = 64 << 10

// loadKey reads a private key file. The passphrase of a protected one is the setting "passphrase", else it is asked for
// in a terminal.
func (t *tool) loadKey(path string) (sign.Signer, error) {
	data, err := readSmall(path, maxKeyFile)
	if errors.Is(err, os.ErrNotExist) {
		return nil, slipstream.Hint(fmt.Errorf("key %s: %w", path, slipstream.ErrNotFound), "make one by `slipstream key generate --out %s`", path)
	}
	if err != nil {
		return nil, fmt.Errorf("read key: %w", err)
	}
	priv, err := sign.ParseKey(data, []byte(t.env.Get("passphrase", "")))
	if (errors.Is(err, sign.ErrPassphraseNeeded) || errors.Is(err, sign.ErrPassphraseWrong)) && terminal(t.stdin) {
		var entered []byte
		if entered, err = t.ask("Passphrase of " + path); err != nil {
			return nil, err
		}
		priv, err = sign.ParseKey(data, entered)
	}
	if errors.Is(err, sign.ErrPassphraseNeeded) || errors.Is(err, sign.ErrPassphraseWrong) {
		err = slipstream.Hint(err, "set SLIPSTREAM_PASSPHRASE, or run this in a terminal and type it")
	}
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", path, err)
	}
	return sign.NewSigner(priv), nil
}

// newKey makes a private key file, mode 0600, and the folders above it. An existing file is never touched:
// slipstream.ErrConflict. With protect it is encrypted under a passphrase: the setting "passphrase", else one asked for
// twice in a terminal; where there is neither, the key stays plain and a warning says so.
func (t *tool) newKey(path string, protect bool) (sign.Signer, error) {
	_, err := os.Lstat(path)
	if err == nil {
		return nil, slipstream.Hint(fmt.Errorf("key %s exists already: %w", path, slipstream.ErrConflict), "keys are never overwritten; move it away or choose another file")
	}
	if !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("look for key: %w", err)
	}
	var passphrase []byte
	if protect {
		if passphrase, err = t.newPassphrase(path); err != nil {
			return nil, err
		}
	}
	priv, err := sign.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	data, err := sign.MarshalKey(priv, passphrase)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make folder for key: %w", err)
	}
	if err := atomicfile.Write(path, data, 0o600); err != nil {
		return nil, fmt.Errorf("write key: %w", err)
	}
	return sign.NewSigner(priv), nil
}

// newPassphrase is nil when the key has to stay plain.
func (t *tool) newPassphrase(path string) ([]byte, error) {
	if set := t.env.Get("passphrase", ""); set != "" {
		return []byte(set), nil
	}
	if !terminal(t.stdin) {
		fmt.Fprintf(t.stderr, "Warning: no passphrase: the key %s is not encrypted. Set SLIPSTREAM_PASSPHRASE to protect new keys.\n", path)
		return nil, nil
	}
	first, err := t.ask("New passphrase for " + path)
	if err != nil {
		return nil, err
	}
	if len(first) == 0 {
		return nil, slipstream.Hint(errors.New("the passphrase is empty"), "`slipstream key generate --no-passphrase` makes an unprotected key")
	}
	second, err := t.ask("The same again")
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(first, second) {
		return nil, errors.New("the two passphrases differ")
	}
	return first, nil
}

// ask reads a secret from the terminal on standard input without showing it.
func (t *tool) ask(prompt string) ([]byte, error) {
	f, ok := t.stdin.(*os.File)
	if !ok {
		return nil, errors.New("standard input is not a terminal")
	}
	fmt.Fprintf(t.stderr, "%s: ", prompt)
	secret, err := term.ReadPassword(int(f.Fd()))
	fmt.Fprintln(t.stderr)
	if err != nil {
		return nil, fmt.Errorf("read passphrase: %w", err)
	}
	return secret, nil
}
