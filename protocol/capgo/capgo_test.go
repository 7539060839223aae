package capgo

import (
	"crypto/sha256"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"strings"
	"testing"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/protocol/protocoltest"
)

// TestOptions: what cannot be meant is refused with a sentence.
func TestOptions(t *testing.T) {
	t.Parallel()
	for options, want := range map[string]string{
		``:                              "",
		`{"appId":"com.example.app"}`:   "",
		`{"appId":"com example"}`:       "appId",
		`{"channels":{"Main":"main"}}`:  "",
		`{"channels":{"Main":"Main"}}`:  "channel name",
		`{"channels":{"":"main"}}`:      "channels has a name",
		`{"selfAssign":["Beta"]}`:       "channel name",
		`{"publicKey":"secret"}`:        "no PEM",
		`{"app_id":"com.example.app"}`:  "there are appId, package",
		`{"package":"","channel":"qa"}`: "",
	} {
		err := (Protocol{}).Check(json.RawMessage(options))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", options, err, want)
		}
	}
}

// TestWhatFits: a shape that clients cannot take is refused before it is published.
func TestWhatFits(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ version, path, want string }{
		{"1.0.0", "assets/a.js", ""},
		{"1.0.0", "assets/my file.js", "a name with a space"},
		{"1.0.0", "assets/a\u00a0b.js", "a name with a space"},
		{"1.0.0", "a#b.js", "a name with a space"},
		{"builtin", "a.js", "which these clients call something else"},
		{"unknown", "a.js", "which these clients call something else"},
	} {
		m := &slipstream.Manifest{Version: c.version, Files: []slipstream.File{{Path: c.path}, {Path: "index.html"}}}
		err := (Protocol{}).Fits(m)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if err := (Protocol{}).Fits(&slipstream.Manifest{Version: "1.0.0", Files: []slipstream.File{{Path: "www/index.html"}}}); err == nil {
		t.Error("a release without a start page is taken")
	}
}

// TestTheBundleIsTheTree: what a client unpacks is what was published, and its checksum is that of the zip.
func TestTheBundleIsTheTree(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	files := map[string]string{"index.html": "<html>é</html>", "assets/ü.js": strings.Repeat("x", 1000), "empty.txt": ""}
	w.release("1.0.0", files)
	a := w.check(nil)
	raw := w.download(a.URL)
	if got := protocoltest.Unzip(t, raw); !maps.Equal(got, files) {
		t.Errorf("the bundle has %v", got)
	}
	if sum := slipstream.DigestOf(sha256.Sum256(raw)); string(sum) != a.Checksum || !strings.HasSuffix(a.URL, string(sum)+".zip") {
		t.Errorf("checksum %s of %s at %s", a.Checksum, sum, a.URL)
	}
}

const verdicts = 5 // of the file, before its reasons

// TestEveryReasonHasWords: whatever the decision says, a client is told in its own vocabulary.
func TestEveryReasonHasWords(t *testing.T) {
	t.Parallel()
	kinds := map[string]bool{kindUpToDate: true, kindBlocked: true, kindFailed: true}
	f, err := parser.ParseFile(token.NewFileSet(), "../../reason.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	n, decisions := 0, 0
	ast.Inspect(f, func(node ast.Node) bool {
		if spec, ok := node.(*ast.ValueSpec); ok && len(spec.Names) == 1 && spec.Names[0].Name == "ReasonStaleState" {
			decisions = n // those before are a decision's
		}
		lit, ok := node.(*ast.BasicLit)
		if !ok || lit.Kind != token.STRING {
			return true
		}
		n++
		for _, onBuiltin := range []bool{true, false} {
			a := said(slipstream.Reason(strings.Trim(lit.Value, `"`)), &device{platform: "ios"}, onBuiltin)
			if a.Error == "" || !kinds[a.Kind] || a.Message == "" || decisions == 0 && n > verdicts && !strings.Contains(a.Message, " ") {
				t.Errorf("%s: %+v", lit.Value, a)
			}
		}
		return true
	})
	if n < 50 || decisions < 15 {
		t.Errorf("%d reasons", n)
	}
}
