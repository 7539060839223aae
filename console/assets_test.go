package console

import (
	"encoding/json"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// modules are our own ES modules by path.
func modules(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := fs.WalkDir(embedded, "assets", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(name) != ".js" {
			return err
		}
		raw, err := fs.ReadFile(embedded, name)
		out[strings.TrimPrefix(name, "assets/")] = string(raw)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// language joins the catalogues of a language: i18n/en.js and those of parts of the console beside it, i18n/en.PART.js.
func language(t *testing.T, all map[string]string, code string) map[string]any {
	t.Helper()
	out := map[string]any{}
	for name, source := range all {
		if !strings.HasPrefix(name, "i18n/"+code+".") {
			continue
		}
		for key, text := range catalogue(t, source) {
			if out[key] != nil {
				t.Errorf("%s stands in several catalogues of %s", key, code)
			}
			out[key] = text
		}
	}
	return out
}

// A catalogue is a JSON object that is exported; a text with forms by number is an object of them.
func catalogue(t *testing.T, source string) map[string]any {
	t.Helper()
	body, ok := strings.CutPrefix(strings.TrimSpace(source), "export default ")
	if !ok {
		t.Fatal("a catalogue begins with: export default {")
	}
	keys := map[string]any{}
	if err := json.Unmarshal([]byte(strings.TrimSuffix(body, ";")), &keys); err != nil {
		t.Fatalf("a catalogue is JSON: %v", err)
	}
	// JSON lets the last of two equal names win, without a word.
	seen := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^  "([^"]+)":`).FindAllStringSubmatch(body, -1) {
		if seen[m[1]] {
			t.Errorf("%s stands in a catalogue twice", m[1])
		}
		seen[m[1]] = true
	}
	return keys
}

var (
	keyLiteral = regexp.MustCompile(`"([a-z][A-Za-z]*(?:\.[A-Za-z0-9_-]+)+)"`)
	keyCall    = regexp.MustCompile(`\bt\("([^"]+)"`)
	keyPrefix  = regexp.MustCompile("`([a-z][A-Za-z]*\\.(?:[A-Za-z0-9_-]+\\.)*)\\$\\{")
	values     = regexp.MustCompile(`\{(\w+)\}`)
)

func TestBothLanguagesSayTheSame(t *testing.T) {
	t.Parallel()
	all := modules(t)
	en, zh := language(t, all, "en"), language(t, all, "zh")
	for key := range zh {
		if en[key] == nil {
			t.Errorf("%s is in zh alone", key)
		}
	}
	used, prefixes := map[string]bool{}, []string{}
	for name, source := range all {
		if strings.HasPrefix(name, "i18n/") {
			continue
		}
		for _, m := range keyCall.FindAllStringSubmatch(source, -1) {
			if en[m[1]] == nil {
				t.Errorf("%s: there is no text %s", name, m[1])
			}
		}
		for _, m := range keyLiteral.FindAllStringSubmatch(source, -1) {
			used[m[1]] = true
		}
		for _, m := range keyPrefix.FindAllStringSubmatch(source, -1) {
			prefixes = append(prefixes, m[1])
		}
	}
	for _, key := range slices.Sorted(maps.Keys(en)) {
		if zh[key] == nil {
			t.Errorf("%s is in en alone", key)
			continue
		}
		if !used[key] && !slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(key, p) }) {
			t.Errorf("%s is used nowhere", key)
		}
		if a, b := named(en[key]), named(zh[key]); !slices.Equal(a, b) {
			t.Errorf("%s: en puts %v in, zh %v", key, a, b)
		}
		for language, text := range map[string]any{"en": en[key], "zh": zh[key]} {
			if forms, ok := text.(map[string]any); ok && forms["other"] == nil {
				t.Errorf("%s has no form for other numbers in %s", key, language)
			}
		}
	}
}

// named lists what a text puts in, sorted.
func named(text any) []string {
	if forms, ok := text.(map[string]any); ok {
		text = forms["other"]
	}
	found := map[string]bool{}
	if s, ok := text.(string); ok {
		for _, m := range values.FindAllStringSubmatch(s, -1) {
			found[m[1]] = true
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// What would let strangers' text become markup, or break the policy, is in none of our modules.
func TestNoModuleMakesMarkupOfText(t *testing.T) {
	t.Parallel()
	for name, source := range modules(t) {
		for _, bad := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "dangerouslySet", "eval(", "new Function", "DOMParser", `style="`, "setAttribute(\"style\"", "javascript:"} {
			if strings.Contains(source, bad) {
				t.Errorf("%s holds %s", name, bad)
			}
		}
		if n := strings.Count(source, "\n"); n >= 600 {
			t.Errorf("%s has %d lines", name, n)
		}
	}
}

// The vendored module is the one of the package that vendor/README.md pins, byte for byte.
func TestVendoredModulesAreThePackagesOwn(t *testing.T) {
	t.Parallel()
	npm, err := exec.LookPath("npm")
	if err != nil {
		t.Skip("MISSING: npm")
	}
	dir := t.TempDir()
	pack := exec.CommandContext(t.Context(), npm, "pack", "--silent", "htm@3.1.1")
	pack.Dir = dir
	if out, err := pack.CombinedOutput(); err != nil {
		t.Skipf("MISSING: a registry that gives htm@3.1.1: %s", out)
	}
	out, err := exec.CommandContext(t.Context(), "tar", "-xzOf", filepath.Join(dir, "htm-3.1.1.tgz"), "package/preact/standalone.mjs").Output()
	if err != nil {
		t.Skipf("MISSING: tar: %v", err)
	}
	ours, err := os.ReadFile("assets/vendor/htm-preact.mjs")
	if err != nil {
		t.Fatal(err)
	}
	if string(ours) != string(out) {
		t.Errorf("assets/vendor/htm-preact.mjs is not preact/standalone.mjs of htm@3.1.1")
	}
}

// A right that is misspelt would hide what it is for from everybody.
func TestEveryRightThatIsAskedForExists(t *testing.T) {
	t.Parallel()
	asked := regexp.MustCompile(`\b(?:may\(|needs: )"([^"]*)"`)
	found := 0
	for name, source := range modules(t) {
		for _, m := range asked.FindAllStringSubmatch(source, -1) {
			found++
			if !slices.Contains([]string{"read", "publish", "operate", "manage", "admit", "server"}, m[1]) {
				t.Errorf("%s asks for the right %q, which there is not", name, m[1])
			}
		}
	}
	if found == 0 {
		t.Error("no page asks for a right")
	}
}
