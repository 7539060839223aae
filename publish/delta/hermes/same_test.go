package hermes

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A compile with a base gives other bytes of the same program.
func TestTheSameProgramIsKnownInOtherBytes(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"", "-98", "-99"} {
		plain, based := file(t, "two"+version+".hbc"), file(t, "two-based"+version+".hbc")
		if bytes.Equal(plain, based) {
			t.Fatal("the two files are one")
		}
		if err := Same(plain, based); err != nil {
			t.Errorf("two%s.hbc: they are not the same: %v", version, err)
		}
		for name, other := range map[string][]byte{"another program": file(t, "one"+version+".hbc"), "another way of compiling": file(t, "debug.hbc"),
			"another version": file(t, "two-94.hbc"), "text": []byte("text")} {
			if err := Same(plain, other); err == nil {
				t.Errorf("two%s.hbc: %s is the same", version, name)
			}
		}
		if share, ok := ShortNames(plain); !ok || share > 0.5 {
			t.Errorf("two%s.hbc: %v of its names are short", version, share)
		}
		l, err := read(based)
		if err != nil {
			t.Fatal(err)
		}
		// Anything that the program does, or says, makes it another one.
		for name, s := range map[string]span{"instructions": {l.code.at, 4000}, "literals": {l.arrays.at, l.values.end() - l.arrays.at}, "texts": l.storage, "shapes": l.shapes} {
			missed, tried := 0, 0
			for at := s.at; at < s.end(); at += 7 {
				b := bytes.Clone(based)
				b[at] ^= 0x10
				tried++
				if Same(plain, b) == nil {
					missed++
				}
			}
			if missed*50 > tried { // bytes that fill up, and texts of names of files
				t.Errorf("two%s.hbc, %s: %d changes of %d go unseen", version, name, missed, tried)
			}
		}
	}
}

// compile gives what a compiler makes of a program, with a base when there is one.
func compile(t *testing.T, compiler, program string, base []byte) []byte {
	t.Helper()
	dir := t.TempDir()
	source, out := filepath.Join(dir, "program.js"), filepath.Join(dir, "program.hbc")
	args := []string{"-w", "-O", "-emit-binary", "-out", out}
	files := map[string][]byte{source: []byte(program)}
	if base != nil {
		args = append(args, "-base-bytecode="+filepath.Join(dir, "base.hbc"))
		files[filepath.Join(dir, "base.hbc")] = base
	}
	for name, content := range files {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if said, err := exec.CommandContext(t.Context(), compiler, append(args, source)...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", compiler, err, said)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// everything is a program of all that is compared.
const everything = `
function catching(a, b) { try { a(b); } catch (e) { return e.message; } finally { b.done(); } return 1.5 * b; }
function* yielding(a) { for (const x of a) yield x.first; }
function texts(a) { switch (a) { case "one": return 1; case "two": return 2; case "three": return 3; case "four": return 4; case "five": return 5;
	case "six": return 6; case "seven": return 7; case "eight": return 8; case "nine": return 9; case "ten": return 10; case "eleven": return 11; } return 0; }
function numbers(a) { switch (a) { case 1: return "a"; case 2: return "b"; case 3: return "c"; case 4: return "d"; case 5: return "e";
	case 6: return "f"; case 7: return "g"; case 8: return "h"; case 9: return "i"; case 10: return "j"; case 11: return "k"; } return /ab+c/g.test(a); }
function shapes() { return [{ red: 1, green: "leaf", blue: null }, { red: 2, green: "moss", blue: undefined }, [1, 2, "three", 4.5, null]]; }
function strict(a) { "use strict"; a.x = 1; delete a.y; return typeof a === "string" ? a : 12345678901234567890n; }
print(catching, yielding, texts, numbers, shapes, strict);
`

// The compilers of every version that can be had, on one program and on changes that a user would see.
func TestWhatCompilersMakeOfAProgramIsComparedRight(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"hermesc", "hermesc-98", "hermesc-99"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			compiler, err := exec.LookPath(name)
			if err != nil {
				t.Skipf("MISSING: %s, whose bytecode is compared here", name)
			}
			before := compile(t, compiler, "var numbered = ['before', 'ten', 'leaf', 'message'];\n"+strings.Replace(everything, "leaf", "tree", 1), nil)
			plain, based := compile(t, compiler, everything, nil), compile(t, compiler, everything, before)
			if bytes.Equal(plain, based) {
				t.Fatal("the base changes nothing")
			}
			if err := Same(plain, based); err != nil {
				t.Errorf("with a base it is another program: %v", err)
			}
			for from, to := range map[string]string{
				`e.message`: `e.stack`, `1.5 * b`: `1.25 * b`, `x.first`: `x.second`, `case "four": return 4`: `case "for": return 4`,
				`case "six": return 6; case "seven": return 7`: `case "six": return 7; case "seven": return 6`,
				`case 3: return "c"; case 4: return "d"`:       `case 3: return "d"; case 4: return "c"`, `/ab+c/g`: `/ab+c/i`, `"moss"`: `"mess"`,
				`red: 2, green`: `rot: 2, green`, `blue: undefined`: `blue: null`, `4.5, null`: `4.5, 0`, `a.x = 1`: `a.x = 2`, `delete a.y`: `delete a.z`,
				`=== "string"`: `!== "string"`, `567890n`: `567891n`, `try { a(b); }`: `a(b); try { }`, `catching(a, b)`: `catching(a, b, c)`, `function strict`: `function loose`,
			} {
				changed := strings.Replace(everything, from, to, 1)
				if changed == everything {
					t.Fatalf("%q is not in the program", from)
				}
				if Same(plain, compile(t, compiler, changed, before)) == nil {
					t.Errorf("%q instead of %q goes unseen", to, from)
				}
			}
		})
	}
}
