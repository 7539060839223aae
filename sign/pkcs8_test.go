package sign

import (
	"bytes"
	"crypto/ed25519"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func testKey() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, 32)) }

func TestKeyFiles(t *testing.T) {
	t.Parallel()
	plain, err := MarshalKey(testKey(), nil)
	if err != nil {
		t.Fatal(err)
	}
	locked, err := MarshalKey(testKey(), []byte("open sesame"))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(locked, []byte("BEGIN PRIVATE KEY")) {
		t.Fatal("a protected key is plain")
	}
	for _, c := range []struct {
		name       string
		file       []byte
		passphrase string
		want       error
	}{
		{"plain", plain, "", nil},
		{"plain, a passphrase is not used", plain, "x", nil},
		{"protected", locked, "open sesame", nil},
		{"protected, no passphrase", locked, "", ErrPassphraseNeeded},
		{"protected, wrong passphrase", locked, "open sesame ", ErrPassphraseWrong},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := ParseKey(c.file, []byte(c.passphrase))
			if !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			if err == nil && !got.Equal(testKey()) {
				t.Error("another key came back")
			}
		})
	}
}

func TestKeyFilesThatAreNone(t *testing.T) {
	t.Parallel()
	for name, file := range map[string]string{
		"empty":           "",
		"not PEM":         "hello",
		"a public key":    "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n",
		"not DER":         "-----BEGIN PRIVATE KEY-----\naGVsbG8=\n-----END PRIVATE KEY-----\n",
		"sealed, not DER": "-----BEGIN ENCRYPTED PRIVATE KEY-----\naGVsbG8=\n-----END ENCRYPTED PRIVATE KEY-----\n",
	} {
		if k, err := ParseKey([]byte(file), []byte("x")); err == nil {
			t.Errorf("%s: gave the key %v", name, k.Public())
		}
	}
}

// TestEncryptedKeyFilesOfOtherSchemes changes one part after another of what says how a key is encrypted.
func TestEncryptedKeyFilesOfOtherSchemes(t *testing.T) {
	t.Parallel()
	locked, err := MarshalKey(testKey(), []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(locked)
	der := func(id string) []byte {
		b, err := asn1.Marshal(oid(id))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, c := range []struct {
		name     string
		old, new []byte
		want     string
	}{
		{"PBES1 for PBES2", der(oidPBES2), der("1.2.840.113549.1.5.10"), "is not supported"},
		{"PBMAC1 for PBKDF2", der(oidPBKDF2), der("1.2.840.113549.1.5.14"), "is not supported"},
		{"SHA-1 for SHA-256", der(oidHMACSHA256), der("1.2.840.113549.2.7"), "is not supported"},
		{"AES-192 for AES-256", der(oidAES256CBC), der("2.16.840.1.101.3.4.1.22"), "is not supported"},
		{"a negative number of iterations", []byte{2, 3, 0x09, 0x27, 0xc0}, []byte{2, 3, 0xff, 0x27, 0xc0}, "iterations"},
		{"iterations that take for ever", []byte{2, 3, 0x09, 0x27, 0xc0}, []byte{2, 4, 0x7f, 0xff, 0xff, 0xff}, "decode encrypted key"},
	} {
		changed := bytes.Replace(block.Bytes, c.old, c.new, 1)
		if bytes.Equal(changed, block.Bytes) {
			t.Fatalf("%s: nothing was changed", c.name)
		}
		_, err := ParseKey(pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: changed}), []byte("x"))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	for n := range block.Bytes {
		if _, err := ParseKey(pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes[:n]}), []byte("x")); err == nil {
			t.Errorf("cut to %d bytes: accepted", n)
		}
	}
}

func openssl(t *testing.T, args ...string) []byte {
	t.Helper()
	path, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not installed")
	}
	var stderr strings.Builder
	c := exec.Command(path, args...)
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		t.Fatalf("openssl %s: %v: %s", strings.Join(args, " "), err, stderr.String())
	}
	return out
}

func TestOpenSSLReadsOurKeys(t *testing.T) {
	t.Parallel()
	openssl(t, "version")
	want, err := MarshalKey(testKey(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, passphrase := range []string{"", "open sesame"} {
		file, err := MarshalKey(testKey(), []byte(passphrase))
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "k.pem")
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		if got := openssl(t, "pkey", "-in", path, "-passin", "pass:"+passphrase); !bytes.Equal(got, want) {
			t.Errorf("passphrase %q: openssl read another key", passphrase)
		}
	}
}

func TestOurReaderReadsOpenSSLKeys(t *testing.T) {
	t.Parallel()
	for name, options := range map[string][]string{
		"plain":     nil,
		"protected": {"-aes-256-cbc", "-pass", "pass:open sesame"},
	} {
		file := openssl(t, append([]string{"genpkey", "-algorithm", "ed25519"}, options...)...)
		priv, err := ParseKey(file, []byte("open sesame"))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if _, err := ParsePublic(EncodePublic(NewSigner(priv).Public())); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	scrypt := openssl(t, "genpkey", "-algorithm", "ed25519")
	path := filepath.Join(t.TempDir(), "k.pem")
	if err := os.WriteFile(path, scrypt, 0o600); err != nil {
		t.Fatal(err)
	}
	file := openssl(t, "pkcs8", "-topk8", "-scrypt", "-in", path, "-passout", "pass:x")
	if _, err := ParseKey(file, []byte("x")); err == nil || !strings.Contains(err.Error(), "openssl pkcs8") {
		t.Errorf("scheme that is not supported: %v", err)
	}
	other := openssl(t, "genpkey", "-algorithm", "x25519")
	if _, err := ParseKey(other, nil); err == nil {
		t.Error("an X25519 key was taken")
	}
}

func FuzzParseKey(f *testing.F) {
	plain, err := MarshalKey(testKey(), nil)
	if err != nil {
		f.Fatal(err)
	}
	locked, err := MarshalKey(testKey(), []byte("x"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(plain)
	f.Add(locked)
	f.Fuzz(func(t *testing.T, file []byte) {
		priv, err := ParseKey(file, nil) // without a passphrase nothing slow is started
		if err == nil && len(priv) != ed25519.PrivateKeySize {
			t.Fatalf("a key of %d bytes", len(priv))
		}
	})
}
