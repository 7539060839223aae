package seal

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

func TestOpenGivesBackOnlyWhatWasSealed(t *testing.T) {
	s, err := New(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	other, err := New(bytes.Repeat([]byte{8}, 32))
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := s.Seal("state key shop", []byte("private"))
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := s.Open("state key shop", sealed); err != nil || string(plain) != "private" {
		t.Fatalf("Open = %q, %v", plain, err)
	}
	if _, err := other.Open("state key shop", sealed); !errors.Is(err, ErrSecret) {
		t.Errorf("another secret: %v", err)
	}
	if _, err := s.Open("state key cart", sealed); !errors.Is(err, ErrSecret) {
		t.Errorf("another purpose: %v", err)
	}
	for i := range sealed {
		broken := bytes.Clone(sealed)
		broken[i] ^= 1
		if _, err := s.Open("state key shop", broken); !errors.Is(err, ErrSecret) {
			t.Fatalf("bit flipped in byte %d: %v", i, err)
		}
		if _, err := s.Open("state key shop", sealed[:i]); !errors.Is(err, ErrSecret) {
			t.Fatalf("cut to %d bytes: %v", i, err)
		}
	}
	if bytes.Contains(sealed, []byte("private")) {
		t.Error("the sealed value shows the plain one")
	}
}

func TestASecretIsMadeOnceAndPrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data", "secret")
	secrets := make([][]byte, 8)
	var wg sync.WaitGroup
	for i := range secrets {
		wg.Go(func() {
			s, err := LoadSecret(path)
			if err != nil {
				t.Error(err)
			}
			secrets[i] = s
		})
	}
	wg.Wait()
	for _, s := range secrets {
		if !bytes.Equal(s, secrets[0]) || len(s) != 32 {
			t.Fatalf("processes disagree: %x, %x", s, secrets[0])
		}
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestABrokenSecretFileIsNotReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte("short\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadSecret(path); err == nil {
		t.Fatal("accepted")
	}
	if b, _ := os.ReadFile(path); string(b) != "short\n" {
		t.Errorf("file is now %q", b)
	}
}
