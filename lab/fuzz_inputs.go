package lab

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// input is what a fuzz target is called with, as Go keeps it in testdata/fuzz: a line for each argument, such as
// []byte("…") or byte('\x00').
type input []string

const inputHeader = "go test fuzz v1"

// readInputs reads the committed inputs of a target; a folder that is not there has none.
func readInputs(dir string) ([]input, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read committed inputs: %w", err)
	}
	var out []input
	for _, e := range entries {
		raw, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("read a committed input: %w", err)
		}
		lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
		if len(lines) < 2 || lines[0] != inputHeader {
			return nil, fmt.Errorf("%s in %s is no input of a fuzz target", e.Name(), dir)
		}
		out = append(out, lines[1:])
	}
	return out, nil
}

func (in input) write(path string) error {
	text := inputHeader + "\n" + strings.Join(in, "\n") + "\n"
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		return fmt.Errorf("write an input: %w", err)
	}
	return nil
}

// text gives the bytes of an argument that is a text, and what stands before them.
func text(argument string) (kind string, value []byte, ok bool) {
	kind, quoted, ok := strings.Cut(argument, "(")
	if !ok || kind != "[]byte" && kind != "string" {
		return "", nil, false
	}
	s, err := strconv.Unquote(strings.TrimSuffix(quoted, ")"))
	return kind, []byte(s), err == nil
}

// changedInput takes one of the inputs and changes one of its arguments in one to four places.
func changedInput(all []input, random *rand.Rand) input {
	out := slices.Clone(all[random.IntN(len(all))])
	at := random.IntN(len(out))
	kind, value, ok := text(out[at])
	switch {
	case ok:
		_, other, _ := text(all[random.IntN(len(all))][at])
		for range 1 + random.IntN(4) {
			value = changedBytesOf(value, other, random)
		}
		out[at] = fmt.Sprintf("%s(%q)", kind, value)
	case strings.HasPrefix(out[at], "byte("):
		out[at] = fmt.Sprintf(`byte('\x%02x')`, random.IntN(256))
	}
	return out
}

// words are what parsers stumble over.
func words() []string {
	return []string{"null", "{", "}", "[", "]", `"`, ":", ",", "..", "/", `\`, "\x00", "\xff", "\xef\xbb\xbf", `\ud800`, "9007199254740993", "-0", "1e9", "18446744073709551615", "*", "||", "^", " ", "\n"}
}

// changedBytesOf changes one place: a bit, a byte, a piece that goes, comes twice or comes from elsewhere, or the end.
func changedBytesOf(value, other []byte, random *rand.Rand) []byte {
	at := random.IntN(len(value) + 1)
	end := min(at+1+random.IntN(16), len(value))
	switch random.IntN(7) {
	case 0:
		if at == len(value) {
			return append(value, byte(random.IntN(256)))
		}
		out := bytes.Clone(value)
		out[at] ^= 1 << random.IntN(8)
		return out
	case 1:
		return slices.Concat(value[:at], value[end:])
	case 2:
		return slices.Concat(value[:end], value[at:])
	case 3:
		return value[:at]
	case 4:
		from := random.IntN(len(other) + 1)
		return slices.Concat(value[:at], other[from:])
	case 5:
		piece := value[at:end]
		return slices.Concat(value[:at], bytes.Repeat(piece, 1+random.IntN(64)), value[at:])
	default:
		w := words()
		return slices.Concat(value[:at], []byte(w[random.IntN(len(w))]), value[at:])
	}
}
