package publish

import (
	"fmt"
	"path"
	"strings"
)

// IgnoreFile is the name of the file, at the top of a tree, that says what is not published.
const IgnoreFile = ".slipstreamignore"

// defaultIgnore comes before the rules of the ignore file, which can take any of it back with '!'.
const defaultIgnore = ".git\n.svn\n.hg\n.DS_Store\nThumbs.db\ndesktop.ini\n__MACOSX/\n/" + IgnoreFile + "\n/" + SettingsFile + "\n"

// SettingsFile may stand at the top of a tree and give the flags of publish their defaults.
const SettingsFile = "slipstream.json"

// Ignore is a list of rules as gitignore(5) has them, read from one file at the top of the tree: '#' comments, '!'
// takes back, a slash at the beginning or in the middle anchors to the top, one at the end means folders only, '*', '?'
// and '[a-z]' stay within one part of a path, '**' crosses parts. The last rule that matches decides. A file inside an
// ignored folder cannot be taken back.
type Ignore struct{ rules []ignoreRule }

type ignoreRule struct {
	parts  []string
	negate bool
	dir    bool
}

// ParseIgnore reads the rules in text after the default ones. The error names the line.
func ParseIgnore(text string) (*Ignore, error) {
	var ig Ignore
	for _, source := range []string{defaultIgnore, strings.TrimPrefix(text, "\ufeff")} {
		for i, line := range strings.Split(source, "\n") {
			rule, ok := parseRule(strings.TrimSuffix(line, "\r"))
			if !ok {
				continue
			}
			for _, part := range rule.parts {
				if _, err := path.Match(part, ""); err != nil {
					return nil, fmt.Errorf("%s line %d: %q: %w", IgnoreFile, i+1, line, err)
				}
			}
			ig.rules = append(ig.rules, rule)
		}
	}
	return &ig, nil
}

func parseRule(line string) (ignoreRule, bool) {
	var r ignoreRule
	if strings.HasPrefix(line, "#") {
		return r, false
	}
	// Blanks at the end do not count unless the first of them is escaped.
	for strings.HasSuffix(line, " ") && !strings.HasSuffix(line, `\ `) {
		line = strings.TrimSuffix(line, " ")
	}
	if rest, ok := strings.CutPrefix(line, "!"); ok {
		r.negate, line = true, rest
	}
	if rest, ok := strings.CutSuffix(line, "/"); ok {
		r.dir, line = true, rest
	}
	if line == "" {
		return r, false
	}
	anchored := strings.Contains(line, "/")
	line = strings.TrimPrefix(line, "/")
	line = strings.ReplaceAll(line, "[!", "[^")
	if !anchored {
		r.parts = []string{"**"}
	}
	for _, part := range strings.Split(line, "/") {
		if part == "**" && len(r.parts) > 0 && r.parts[len(r.parts)-1] == "**" {
			continue
		}
		r.parts = append(r.parts, part)
	}
	return r, true
}

// Match reports whether the path itself is ignored. Whoever walks asks for every folder first and does not enter one
// that is.
func (ig *Ignore) Match(p string, dir bool) bool {
	parts := strings.Split(p, "/")
	for i := len(ig.rules) - 1; i >= 0; i-- {
		r := &ig.rules[i]
		if (!r.dir || dir) && matchParts(r.parts, parts) {
			return !r.negate
		}
	}
	return false
}

// MatchTree is Match for a path whose folders were not asked for one by one, as in a zip.
func (ig *Ignore) MatchTree(p string) bool {
	for i := 0; i < len(p); i++ {
		if p[i] == '/' && ig.Match(p[:i], true) {
			return true
		}
	}
	return ig.Match(p, false)
}

// matchParts matches part by part. Its time is at most patterns times parts: a '**' that cannot be met further left
// is never tried again, as for '*' in a plain glob.
func matchParts(pattern, parts []string) bool {
	p, s := 0, 0
	star, mark := -1, 0
	for s < len(parts) {
		switch {
		case p < len(pattern) && pattern[p] == "**":
			// A '**' at the end stands for at least one part: "a/**" is all inside a, not a itself.
			if p == len(pattern)-1 {
				return true
			}
			star, mark = p, s
			p++
		case p < len(pattern) && matchPart(pattern[p], parts[s]):
			p++
			s++
		case star >= 0:
			mark++
			p, s = star+1, mark
		default:
			return false
		}
	}
	return p == len(pattern)
}

func matchPart(pattern, part string) bool {
	ok, err := path.Match(pattern, part)
	return ok && err == nil
}
