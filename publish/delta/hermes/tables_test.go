package hermes

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write golden files anew")

// knownVersions are all that versionOf knows.
func knownVersions() []uint32 {
	var out []uint32
	for n := range uint32(1000) {
		if versionOf(n) != nil {
			out = append(out, n)
		}
	}
	return out
}

// scriptTable writes a version for the client in JavaScript: an entry for each opcode, its length and the operands that
// the rewriting cares for, each its kind, where it is in the instruction and its width. Numbers are one digit of base 36.
func scriptTable(v *version) string {
	digit := func(n int) string { return strconv.FormatInt(int64(n), 36) }
	out := make([]string, 256)
	for code, length := range v.length {
		if length == 0 {
			continue
		}
		out[code] = digit(int(length))
		for _, o := range v.numbered[code] {
			out[code] += string(o.kind) + digit(o.at) + digit(int(o.width))
		}
	}
	return strings.TrimRight(strings.Join(out, ","), ",")
}

// The client in JavaScript undoes what this package does: it must know the same instructions.
func TestTablesOfTheClientInJavaScript(t *testing.T) {
	var b strings.Builder
	b.WriteString("// Made from the tables in publish/delta/hermes: go test ./publish/delta/hermes -run Tables -update\n\n")
	b.WriteString("/** Versions whose files are laid out anew: a smaller function header, and a table of shapes. */\nexport const recent: readonly number[] = [")
	var recent, aliases []string
	seen := map[string]uint32{}
	var tables strings.Builder
	for _, n := range knownVersions() {
		v := versionOf(n)
		if v.recent {
			recent = append(recent, strconv.Itoa(int(n)))
		}
		table := scriptTable(v)
		for _, field := range strings.Split(table, ",") {
			if len(field) > 0 && len(field)%3 != 1 {
				t.Fatalf("version %d: %q needs a number of two digits", n, field)
			}
		}
		if first, ok := seen[table]; ok {
			aliases = append(aliases, fmt.Sprintf("%d: %d", n, first))
			continue
		}
		seen[table] = n
		fmt.Fprintf(&tables, "  %d: %q,\n", n, table)
	}
	b.WriteString(strings.Join(recent, ", ") + "];\n\n/** Versions that have the instructions of another one. */\n")
	b.WriteString("export const alike: Readonly<Record<number, number>> = { " + strings.Join(aliases, ", ") + " };\n\n")
	b.WriteString("/**\n * For each opcode, between commas, its length and the operands that matter: kind, place, width, in digits of base 36. An\n * opcode that is not known has nothing.\n */\n")
	b.WriteString("export const instructions: Readonly<Record<number, string>> = {\n" + tables.String() + "};\n")
	name := filepath.Join("..", "..", "..", "sdk", "js", "packages", "client", "src", "delta", "bytecode", "tables.ts")
	if *update {
		if err := os.WriteFile(name, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, []byte(b.String())) {
		t.Errorf("%s is not what the tables say: go test ./publish/delta/hermes -run Tables -update writes it anew: %v", name, err)
	}
}
