package publish

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/slipstream-ota/slipstream"
)

// Warning is something that commonly goes wrong later. It does not stop a publish.
type Warning struct {
	Code string `json:"code"`
	Text string `json:"text"`
}

// Codes of warnings.
const (
	WarnEntry       = "entry"        // the host needs to be told which file to start
	WarnBundle      = "bundle"       // the file that the host looks for is not there
	WarnConfirm     = "confirm"      // nothing in it tells the host that it works
	WarnHuge        = "huge_file"    // a file that every device would download
	WarnSourceMap   = "source_map"   // shows the sources to everybody
	WarnNodeModules = "node_modules" // thousands of files that a bundler would drop
	WarnSecret      = "secret"       // looks like a key or a password file
	WarnData        = "data"         // a way back that loses the user's data
	WarnServer      = "server"       // told by the server
)

// Kinds of app, for warnings only.
const (
	KindNode        = "node"
	KindWeb         = "web"
	KindReactNative = "react-native"
	KindMiniProgram = "mini-program"
	KindEasyClick   = "easyclick"
	KindOCRunner    = "ocrunner"
	KindFiles       = "files" // anything else: no advice
)

// Kinds gives all kinds of app.
func Kinds() []string {
	return []string{KindNode, KindWeb, KindReactNative, KindMiniProgram, KindEasyClick, KindOCRunner, KindFiles}
}

const (
	hugeFile = 50 << 20
	// maxScan bounds how much of a release is searched for a confirm call, in bytes.
	maxScan = 256 << 20
	// maxNamed is how many files one warning names.
	maxNamed = 3
)

// kindOf takes the first that is known of what the publisher says, what the server says, and what the files look like.
func kindOf(said, server string, files []slipstream.File) string {
	if said != "" {
		return said
	}
	if server != "" {
		return server
	}
	switch {
	case anyFile(files, ".iec"):
		return KindEasyClick
	case len(reactNativeBundles(files)) > 0:
		return KindReactNative
	case has(files, "app.json") && has(files, "app.js"), has(files, "game.json") && has(files, "game.js"):
		return KindMiniProgram
	case has(files, "package.json"), has(files, "server.js"):
		return KindNode
	case has(files, "index.html"):
		return KindWeb
	}
	return KindFiles
}

func check(ctx context.Context, p *Plan, hostConfirms bool) ([]Warning, error) {
	files := p.Manifest.Files
	w := checkFiles(files)
	w = append(w, checkKind(p.Kind, p.Manifest)...)
	w = append(w, checkData(p.Manifest.Data, p.Back)...)
	if !hostConfirms && confirmNeeded(p.Kind) {
		found, err := findConfirm(ctx, p.tree, files)
		if err != nil {
			return nil, err
		}
		if !found {
			w = append(w, Warning{WarnConfirm, fmt.Sprintf("no script calls the host's confirm (markSuccess, notifyAppReady): devices take every start of this release for a failed one and go back. If the host confirms by itself, say so once: slipstream app set %s --confirm host", p.Manifest.App)})
		}
	}
	return w, nil
}

func checkFiles(files []slipstream.File) []Warning {
	var w []Warning
	add := func(code string, match func(slipstream.File) bool, text string) {
		var named []string
		n := 0
		for _, f := range files {
			if match(f) {
				if n++; n <= maxNamed {
					named = append(named, f.Path)
				}
			}
		}
		if n > maxNamed {
			named = append(named, fmt.Sprintf("%d more", n-maxNamed))
		}
		if n > 0 {
			w = append(w, Warning{code, strings.Join(named, ", ") + ": " + text})
		}
	}
	add(WarnHuge, func(f slipstream.File) bool { return f.Size > hugeFile }, "larger than 50 MB, and every device downloads it")
	add(WarnSourceMap, func(f slipstream.File) bool { return path.Ext(f.Path) == ".map" }, "source maps show your sources to everybody; ignore them with *.map in "+IgnoreFile)
	add(WarnNodeModules, func(f slipstream.File) bool { return slices.Contains(strings.Split(f.Path, "/"), "node_modules") },
		"node_modules is published as it is; a bundled program is smaller")
	add(WarnSecret, looksSecret, "looks like a secret; what is published can be downloaded by everybody")
	return w
}

func looksSecret(f slipstream.File) bool {
	base := path.Base(f.Path)
	switch base {
	case ".npmrc", ".netrc", ".htpasswd", "id_rsa", "id_ed25519", "root.key", "release.key":
		return true
	}
	ext := path.Ext(base)
	return base == ".env" || strings.HasPrefix(base, ".env.") || ext == ".p12" || ext == ".pfx" || ext == ".jks" || ext == ".keystore"
}

// checkKind warns of what the host of that kind of app will miss.
func checkKind(kind string, m *slipstream.Manifest) []Warning {
	entry := func(what string, candidates []string) []Warning {
		if m.Entry != "" {
			return nil
		}
		if len(candidates) == 0 {
			return []Warning{{WarnBundle, "there is no " + what + " in it"}}
		}
		return []Warning{{WarnEntry, fmt.Sprintf("no entry is set: hosts of this kind start %s, say --entry %s", what, candidates[0])}}
	}
	switch kind {
	case KindReactNative:
		return entry("a bundle (*.bundle, *.jsbundle, *.hbc)", reactNativeBundles(m.Files))
	case KindEasyClick:
		return entry("an .iec file", withExt(m.Files, ".iec"))
	case KindOCRunner:
		if m.Entry == "" {
			return entry("a patch file", topFiles(m.Files))
		}
	case KindMiniProgram:
		if !has(m.Files, "app.json") && !has(m.Files, "game.json") {
			return []Warning{{WarnBundle, "there is no app.json (or game.json) at the top: is this the folder that the build wrote?"}}
		}
	case KindWeb:
		if !has(m.Files, "index.html") && m.Entry == "" {
			return []Warning{{WarnBundle, "there is no index.html at the top: is this the folder that the build wrote?"}}
		}
	case KindNode:
		if m.Entry == "" && !slices.ContainsFunc(m.Files, func(f slipstream.File) bool { return isScript(f.Path) }) {
			return []Warning{{WarnBundle, "there is no script (*.js, *.mjs, *.cjs) in it: was the build run?"}}
		}
	}
	return nil
}

// checkData warns of ways back to releases that cannot read what this one writes.
func checkData(d *slipstream.DataFormats, back []ReleaseInfo) []Warning {
	if d == nil || d.Writes == "" {
		return nil
	}
	var blind []string
	for _, r := range back {
		if r.Data == nil || !slices.Contains(r.Data.Reads, d.Writes) {
			blind = append(blind, r.Version)
		}
	}
	if len(blind) == 0 {
		return nil
	}
	return []Warning{{WarnData, fmt.Sprintf("it writes data format %q, which %s cannot read: after a rollback there, users miss what they did since", d.Writes, strings.Join(blind, ", "))}}
}

// confirmNeeded: other kinds are confirmed by the launcher or by their own protocol.
func confirmNeeded(kind string) bool {
	return kind == KindReactNative || kind == KindWeb || kind == KindMiniProgram
}

// findConfirm searches the scripts for the name of any call that confirms, of our client or of those that we serve.
func findConfirm(ctx context.Context, tree *Tree, files []slipstream.File) (bool, error) {
	words := [][]byte{[]byte("slipstream"), []byte("SLIPSTREAM"), []byte("Slipstream"), []byte("notifyAppReady"), []byte("notifyApplicationReady"), []byte("markSuccess")}
	left := int64(maxScan)
	for _, f := range files {
		if !isScript(f.Path) && path.Ext(f.Path) != ".html" && !isBundle(f.Path) {
			continue
		}
		if left -= f.Size; left < 0 {
			return true, nil // too large to know: no warning
		}
		r, err := tree.Content(f.Path, 0)
		if err != nil {
			return false, err
		}
		found, err := contains(ctx, r, words)
		if err := errors.Join(err, r.Close()); err != nil {
			return false, fmt.Errorf("search %s: %w", f.Path, err)
		}
		if found {
			return true, nil
		}
	}
	return false, nil
}

// contains searches a stream; what was read before is kept long enough for a word that two reads cut.
func contains(ctx context.Context, r io.Reader, words [][]byte) (bool, error) {
	const overlap = 64
	buf := make([]byte, 64<<10)
	have := 0
	for {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		n, err := r.Read(buf[have:])
		have += n
		for _, w := range words {
			if bytes.Contains(buf[:have], w) {
				return true, nil
			}
		}
		if err == io.EOF {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if have > overlap {
			have = copy(buf, buf[have-overlap:have])
		}
	}
}

func has(files []slipstream.File, p string) bool {
	_, ok := slices.BinarySearchFunc(files, p, func(f slipstream.File, p string) int { return strings.Compare(f.Path, p) })
	return ok
}

func anyFile(files []slipstream.File, ext string) bool { return len(withExt(files, ext)) > 0 }

func withExt(files []slipstream.File, ext string) []string {
	var out []string
	for _, f := range files {
		if path.Ext(f.Path) == ext {
			out = append(out, f.Path)
		}
	}
	return out
}

func topFiles(files []slipstream.File) []string {
	var out []string
	for _, f := range files {
		if !strings.Contains(f.Path, "/") {
			out = append(out, f.Path)
		}
	}
	return out
}

func isScript(p string) bool {
	ext := path.Ext(p)
	return ext == ".js" || ext == ".mjs" || ext == ".cjs"
}

func isBundle(p string) bool {
	ext := path.Ext(p)
	return ext == ".bundle" || ext == ".jsbundle" || ext == ".hbc"
}

func reactNativeBundles(files []slipstream.File) []string {
	var out []string
	for _, f := range files {
		if isBundle(f.Path) {
			out = append(out, f.Path)
		}
	}
	return out
}
