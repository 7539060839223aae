package publish

import (
	"strings"
	"testing"
)

// TestIgnoreRules is the table of what gitignore(5) says, and of the default rules.
func TestIgnoreRules(t *testing.T) {
	for _, c := range []struct {
		rules  string
		out    string // ignored
		in     string // published
		folder string // ignored when it is a folder
	}{
		{rules: "", out: ".git/config a/.git/x .DS_Store a/b/.DS_Store Thumbs.db .slipstreamignore slipstream.json __MACOSX/x .svn/x", in: ".gitkeep a .github/x sub/slipstream.json"},
		{rules: "# comment\n\n   \n", in: "#x a"},
		{rules: `\#x`, out: "#x a/#x", in: "x"},
		{rules: `\!x`, out: "!x", in: "x"},
		{rules: "foo", out: "foo a/foo foo/x a/foo/b/c", in: "food afoo"},
		{rules: "/foo", out: "foo foo/x", in: "a/foo"},
		{rules: "a/foo", out: "a/foo a/foo/x", in: "foo b/a/foo"},
		{rules: "foo/", out: "foo/x a/foo/x", in: "foo a/foo", folder: "foo"},
		{rules: "*.map", out: "x.map a/b/x.map .map", in: "map x.map.js"},
		{rules: "a/*.js", out: "a/x.js", in: "a/b/x.js x.js"},
		{rules: "?.js", out: "a.js x/b.js", in: "ab.js .js"},
		{rules: "[ab].js", out: "a.js b.js", in: "c.js"},
		{rules: "[!ab].js", out: "c.js", in: "a.js"},
		{rules: "**/foo", out: "foo a/foo a/b/foo", in: "food"},
		{rules: "a/**/b", out: "a/b a/x/b a/x/y/b", in: "b x/a/b"},
		{rules: "a/**", out: "a/x a/b/c", in: "a b/a/x"},
		{rules: "/**/x.js", out: "x.js a/x.js a/b/x.js", in: "y.js"},
		{rules: "*.js\n!keep.js", out: "a.js", in: "keep.js a/keep.js"},
		{rules: "!keep.js\n*.js", out: "keep.js"},
		{rules: "dir/\n!dir/keep.js", out: "dir/keep.js dir/x"},
		{rules: "dir/*\n!dir/keep.js", out: "dir/x", in: "dir/keep.js"},
		{rules: "!.git", in: ".git/config"},
		{rules: "!slipstream.json", in: "slipstream.json"},
		{rules: "foo  ", out: "foo"},
		{rules: "foo\\ ", out: "foo\u0020", in: "foo"},
		{rules: "foo\r\nbar\r\n", out: "foo bar", in: "baz"},
		{rules: "\ufefffoo", out: "foo"},
		{rules: "/", in: "a"},
		{rules: "!", in: "a"},
		{rules: "**", out: "a a/b"},
		{rules: "x/**/**/y", out: "x/y x/a/b/y"},
	} {
		t.Run(strings.ReplaceAll(c.rules, "\n", "|"), func(t *testing.T) {
			ig, err := ParseIgnore(c.rules)
			if err != nil {
				t.Fatal(err)
			}
			split := strings.Fields
			if strings.HasSuffix(c.out, " ") {
				split = func(s string) []string { return []string{s} }
			}
			for _, p := range split(c.out) {
				if !ig.MatchTree(p) {
					t.Errorf("%q is published", p)
				}
			}
			for _, p := range strings.Fields(c.in) {
				if ig.MatchTree(p) {
					t.Errorf("%q is ignored", p)
				}
			}
			if c.folder != "" && !ig.Match(c.folder, true) {
				t.Errorf("folder %q is entered", c.folder)
			}
		})
	}
}

func TestBadIgnoreRuleNamesItsLine(t *testing.T) {
	_, err := ParseIgnore("ok\n[a\n")
	if err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("got %v", err)
	}
}

func FuzzIgnore(f *testing.F) {
	f.Add("*.js\n!a/**/b\n", "a/x/b")
	f.Add("**/**/x/**/[a-z]*", strings.Repeat("a/", 100))
	f.Fuzz(func(t *testing.T, rules, p string) {
		ig, err := ParseIgnore(rules)
		if err != nil {
			return
		}
		ig.MatchTree(p)
	})
}
