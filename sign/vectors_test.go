package sign

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"unicode/utf8"

	"github.com/slipstream-ota/slipstream"
)

var update = flag.Bool("update", false, "write the golden vectors of testdata/vectors")

// ok is what a case expects whose input is accepted; otherwise it is a reason.
const ok = "ok"

// input is bytes in a vector file: text, or base64 where they are not UTF-8. Pad, when not 0, is the length that the
// reader fills them up to with spaces.
type input struct {
	Text   string `json:"text,omitempty"`
	Base64 string `json:"base64,omitempty"`
	Pad    int    `json:"pad,omitempty"`
}

func inputOf(b []byte) input {
	if utf8.Valid(b) {
		return input{Text: string(b)}
	}
	return input{Base64: base64.StdEncoding.EncodeToString(b)}
}

func (in input) bytes(t testing.TB) []byte {
	t.Helper()
	b := []byte(in.Text)
	if in.Base64 != "" {
		var err error
		if b, err = base64.StdEncoding.DecodeString(in.Base64); err != nil {
			t.Fatalf("vector: %v", err)
		}
	}
	return padded(b, in.Pad)
}

// vectors checks that the file of golden vectors holds what this code generates, and gives the cases back as any other
// reader of the file sees them.
func vectors[T any](t *testing.T, name string, generated T) T {
	t.Helper()
	path := filepath.Join("..", "testdata", "vectors", name)
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	if err := enc.Encode(generated); err != nil {
		t.Fatalf("encode vectors: %v", err)
	}
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	onDisk, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("golden vectors: %v (go test ./sign -update writes them)", err)
	}
	if !bytes.Equal(onDisk, b.Bytes()) {
		t.Errorf("%s is not what this code generates: go test ./sign -update writes it anew; then look at the difference", path)
	}
	var read T
	if err := json.Unmarshal(onDisk, &read); err != nil {
		t.Fatalf("read vectors: %v", err)
	}
	return read
}

// expect compares an outcome with a case's expectation.
func expect(t *testing.T, err error, want string) {
	t.Helper()
	got := ok
	if err != nil {
		got = string(slipstream.ReasonOf(err, "error without a reason"))
	}
	if got != want {
		t.Errorf("got %s, want %s (%v)", got, want, err)
	}
}
