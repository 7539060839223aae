// Package seal keeps private keys under the server's secret: AES-256-GCM with a key that HKDF-SHA256 (RFC 5869) derives
// per sealed value, so that no nonce is ever used twice with one key.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/slipstream-ota/slipstream"
)

const (
	secretBytes = 32
	saltBytes   = 16
	version     = 1
)

// ErrSecret says that a sealed value was not sealed under this secret, or was changed.
var ErrSecret = errors.New("value was not sealed under this secret")

// Sealer seals and opens values. It is safe for many goroutines.
type Sealer struct{ secret []byte }

// New takes the server's secret, at least 32 bytes.
func New(secret []byte) (*Sealer, error) {
	if len(secret) < secretBytes {
		return nil, fmt.Errorf("server secret has %d bytes, needs %d", len(secret), secretBytes)
	}
	return &Sealer{secret: secret}, nil
}

// Seal encrypts plain for one purpose, which Open must name again: version, salt, nonce, ciphertext and tag.
func (s *Sealer) Seal(purpose string, plain []byte) ([]byte, error) {
	salt := make([]byte, saltBytes)
	if _, err := rand.Read(salt); err != nil {
		return nil, fmt.Errorf("read random salt: %w", err)
	}
	box, err := s.box(purpose, salt)
	if err != nil {
		return nil, err
	}
	return box.Seal(append([]byte{version}, salt...), nil, plain, []byte(purpose)), nil
}

// Open decrypts what Seal made for the same purpose.
func (s *Sealer) Open(purpose string, sealed []byte) ([]byte, error) {
	if len(sealed) < 1+saltBytes || sealed[0] != version {
		return nil, ErrSecret
	}
	box, err := s.box(purpose, sealed[1:1+saltBytes])
	if err != nil {
		return nil, err
	}
	plain, err := box.Open(nil, nil, sealed[1+saltBytes:], []byte(purpose))
	if err != nil {
		return nil, ErrSecret
	}
	return plain, nil
}

func (s *Sealer) box(purpose string, salt []byte) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, s.secret, salt, "slipstream seal "+purpose, secretBytes)
	if err != nil {
		return nil, fmt.Errorf("derive key: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("make cipher: %w", err)
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// LoadSecret reads the secret file, hex of 32 bytes, and makes it when it is not there. Of several processes that make
// it at once, one wins and all read the same.
func LoadSecret(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		if err := makeSecret(path); err != nil {
			return nil, err
		}
		b, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, fmt.Errorf("read server secret: %w", err)
	}
	secret, err := hex.DecodeString(strings.TrimSpace(string(b)))
	if err != nil || len(secret) != secretBytes {
		return nil, slipstream.Hint(fmt.Errorf("server secret %s is not %d hex digits", path, 2*secretBytes),
			"restore the file from a backup; a new secret cannot open the state keys that are stored")
	}
	return secret, nil
}

func makeSecret(path string) (err error) {
	secret := make([]byte, secretBytes)
	if _, err := rand.Read(secret); err != nil {
		return fmt.Errorf("make server secret: %w", err)
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make folder of server secret: %w", err)
	}
	f, err := os.CreateTemp(dir, ".secret.tmp-*") // mode 0600
	if err != nil {
		return fmt.Errorf("make server secret: %w", err)
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	_, err = f.WriteString(hex.EncodeToString(secret) + "\n")
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write server secret: %w", err)
	}
	// A link, unlike a rename, never replaces the secret that another process made meanwhile.
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("place server secret: %w", err)
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("open folder of server secret: %w", err)
	}
	// Not every file system can fsync a directory.
	_ = d.Sync()
	return d.Close()
}
