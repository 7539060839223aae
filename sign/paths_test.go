package sign

import (
	"encoding/base64"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/slipstream-ota/slipstream"
)

type pathVectors struct {
	Paths []pathCase `json:"paths"`
	Folds []foldCase `json:"folds"`
	Sets  []setCase  `json:"sets"` // all files of one release
}

type pathCase struct {
	Name   string `json:"name"`
	Path   input  `json:"path"`
	Expect string `json:"expect"`
}

type foldCase struct {
	Path   string `json:"path"`
	Folded string `json:"folded"`
}

type setCase struct {
	Name   string   `json:"name"`
	Paths  []string `json:"paths"`
	Expect string   `json:"expect"`
}

func pathVectorsOf() pathVectors {
	const bad = string(slipstream.ReasonMalformed)
	var v pathVectors
	good := func(paths ...string) {
		for _, p := range paths {
			v.Paths = append(v.Paths, pathCase{"good: " + p, inputOf([]byte(p)), ok})
		}
	}
	reject := func(name, path string) {
		v.Paths = append(v.Paths, pathCase{name, inputOf([]byte(path)), bad})
	}
	good("index.html", "a", "a/b/c.js", ".hidden", ".well-known/x", "..a", "a..b", "a/...b", " a", "a b", "a b/c", "日本語/画像.png", "é", "😀.txt", "-rf", "~", "#", "?", "*",
		"con1", "console", "conin", "com", "com10", "com1x", "lpt", "nula", "aux-file", "xcon", "a.con", "com⁴", "%2e%2e/x", "İ", "ß", "node_modules/@scope/pkg/index.js")
	v.Paths = append(v.Paths, pathCase{"512 bytes", inputOf([]byte(strings.Repeat("a", 512))), ok})

	reject("empty", "")
	reject("513 bytes", strings.Repeat("a", 513))
	reject("513 bytes of fewer characters", strings.Repeat("é", 256)+"a")
	reject("absolute", "/a")
	reject("slash at the end", "a/")
	reject("empty part", "a//b")
	reject("slash alone", "/")
	reject("dot", ".")
	reject("dot part", "a/./b")
	reject("dot part first", "./a")
	reject("dot-dot", "..")
	reject("dot-dot first", "../a")
	reject("dot-dot inside", "a/../b")
	reject("dot-dot last", "a/..")
	reject("three dots end in a dot", "...")
	reject("backslash", `a\b`)
	reject("backslash dot-dot", `..\a`)
	reject("drive", "c:a")
	reject("stream", "a:stream")
	reject("NUL", "a\x00b")
	reject("tab", "a\tb")
	reject("line break", "a\nb")
	reject("delete", "a\x7fb")
	reject("C1 control", "a\u0085b")
	reject("part ends in a dot", "a./b")
	reject("last part ends in a dot", "a.")
	reject("part ends in a space", "a /b")
	reject("last part ends in a space", "a ")
	reject("space alone", " ")
	reject("not in normal form C", "e\u0301")
	reject("not in normal form C: compatibility Angstrom", "\u212b")
	reject("not in normal form C: Hangul parts", "\u1100\u1161")
	reject("not UTF-8", "a\xff")
	reject("surrogate as raw bytes", "a\xed\xa0\x80")
	for _, name := range []string{"con", "CON", "Con", "prn", "aux", "nul", "com0", "com1", "COM9", "lpt0", "lpt1", "LPT9", "com¹", "lpt³", "conin$", "CONOUT$",
		"con.txt", "nul.tar.gz", "aux.", "con .txt", "COM1.js"} {
		reject("reserved by Windows: "+name, name)
		reject("reserved by Windows, as a folder: "+name, "a/"+name+"/b")
	}

	for _, pair := range [][2]string{{"ABC.js", "abc.js"}, {"Straße", "straße"}, {"ÀÉÎ", "àéî"}, {"ΣΑΣ", "σασ"}, {"ς", "σ"}, {"ſ", "s"}, {"\u212a", "k"}, {"ı", "i"},
		{"İ", "İ"}, {"Ǆ", "ǆ"}, {"ǅ", "ǆ"}, {"ŉ", "ŉ"}, {"ﬁ", "ﬁ"}, {"ᾼ", "ᾳ"}, {"ẞ", "ß"}, {"Ω", "ω"}, {"µ", "μ"}, {"𐐀", "𐐨"}, {"Я", "я"}, {"Ա", "ա"}, {"日本", "日本"}, {"Ꭰ", "ꭰ"}} {
		v.Folds = append(v.Folds, foldCase{pair[0], pair[1]})
	}

	set := func(name, want string, paths ...string) { v.Sets = append(v.Sets, setCase{name, paths, want}) }
	set("no file", ok)
	set("sorted by bytes", ok, "B/a", "Z", "a-b", "a/c", "ab", "é")
	set("a file whose name begins with another's", ok, "a", "a-b", "a.b", "ab/c")
	set("not sorted", bad, "b", "a")
	set("sorted by UTF-16 but not by bytes", bad, "\U0001f600", "\uffe0")
	set("sorted by bytes but not by UTF-16", ok, "\uffe0", "\U0001f600")
	set("twice the same", bad, "a", "a")
	set("the same but for case", bad, "Readme", "readme")
	set("the same but for case of a folder", bad, "A/x", "a/x")
	set("the same but for case of letters beyond ASCII", bad, "É", "é")
	set("the same but for the Kelvin sign", bad, "k", "\u212a")
	set("a file is another's folder", bad, "a", "a/b")
	set("a file is another's folder two levels up", bad, "a", "a/b/c")
	set("a file is another's folder but for case", bad, "A", "a/b")
	set("folders that differ in case", ok, "A/x", "a/y")
	set("one bad path", bad, "a", "b:")
	return v
}

func TestPaths(t *testing.T) {
	t.Parallel()
	v := vectors(t, "paths.json", pathVectorsOf())
	for _, c := range v.Paths {
		t.Run(c.Name, func(t *testing.T) {
			if err := CheckPath(string(c.Path.bytes(t))); (err == nil) != (c.Expect == ok) {
				t.Errorf("got %v, want %s", err, c.Expect)
			}
		})
	}
	for _, c := range v.Folds {
		if got := FoldPath(c.Path); got != c.Folded {
			t.Errorf("fold %q: got %q, want %q", c.Path, got, c.Folded)
		}
		if again := FoldPath(c.Folded); again != c.Folded {
			t.Errorf("fold %q again: got %q", c.Folded, again)
		}
	}
	for _, c := range v.Sets {
		t.Run(c.Name, func(t *testing.T) {
			m := goodManifest()
			m.Entry, m.Files = "", []slipstream.File{}
			for _, p := range c.Paths {
				m.Files = append(m.Files, slipstream.File{Path: p, SHA256: digest(p)})
			}
			expect(t, CheckManifest(m), c.Expect)
		})
	}
}

func TestCheckPathsNamesEveryOffender(t *testing.T) {
	t.Parallel()
	var files []slipstream.File
	for _, p := range []string{"ok", "../up", "a", "a/b", "README", "readme", "nul"} {
		files = append(files, slipstream.File{Path: p})
	}
	errs := CheckPaths(files)
	if len(errs) != 4 {
		t.Errorf("%d offenders: %v", len(errs), errs)
	}
	if errs := CheckPaths(make([]slipstream.File, slipstream.MaxFiles+1)); slipstream.HintOf(errs[0]) == "" {
		t.Errorf("no advice for too many files: %v", errs[0])
	}
}

// FuzzCheckPath: an accepted path stays inside its folder however a system reads it, and folding is stable.
func FuzzCheckPath(f *testing.F) {
	for _, c := range pathVectorsOf().Paths {
		f.Add(c.Path.Text)
		if c.Path.Base64 != "" {
			b, err := base64.StdEncoding.DecodeString(c.Path.Base64)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(string(b))
		}
	}
	f.Fuzz(func(t *testing.T, p string) {
		if fold := FoldPath(p); FoldPath(fold) != fold {
			t.Fatalf("folding %q twice gives something else", p)
		}
		if CheckPath(p) != nil {
			return
		}
		if !utf8.ValidString(p) || len(p) > slipstream.MaxPathBytes || strings.ContainsAny(p, "\\:\x00") || strings.HasPrefix(p, "/") {
			t.Fatalf("%q is accepted", p)
		}
		for _, part := range strings.Split(p, "/") {
			if trimmed := strings.TrimRight(part, ". "); trimmed == "" || trimmed != part {
				t.Fatalf("%q is accepted", p)
			}
		}
	})
}
