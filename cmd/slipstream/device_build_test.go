//go:build !device

package main

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/slipstream-ota/slipstream/internal/config"
)

// deviceBuildVariable names the device build in scripts that run with it.
const deviceBuildVariable = "DEVICE_BUILD"

// buildDevice builds the command with the tag `device` and gives its path.
func buildDevice(t testing.TB) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "slipstream-device")
	if runtime.GOOS == "windows" {
		out += ".exe"
	}
	build := exec.Command("go", "build", "-tags", "device", "-trimpath", "-ldflags", "-s -w", "-o", out, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the device build: %v\n%s", err, text)
	}
	return out
}

func namesOf(table []listed) []string {
	var out []string
	for _, c := range table {
		out = append(out, c.name)
	}
	slices.Sort(out)
	return out
}

// The lists in commands.go are what a reader and the device build go by.
func TestTheListsOfCommandsAreWhatTheBuildsHave(t *testing.T) {
	t.Parallel()
	for what, pair := range map[string][2][]string{"full": {namesOf(fullCommands()), fullNames()}, "delta": {namesOf(fullDeltaCommands()), fullDeltaNames()}} {
		want := slices.Sorted(slices.Values(pair[1]))
		if !slices.Equal(pair[0], want) {
			t.Errorf("%s: made are %v, listed are %v", what, pair[0], want)
		}
	}
	env, err := config.Load(nil)
	if err != nil {
		t.Fatal(err)
	}
	root := newRootCommand(&tool{env: env})
	for _, c := range root.Commands() {
		if !slices.Contains(slices.Concat(namesOf(deviceCommands()), fullNames()), c.Name()) {
			t.Errorf("command %q is listed under another name", c.Name())
		}
	}
}

// inDeviceBuild says whether the device build has the command that args ask for.
func inDeviceBuild(args []string) bool {
	words := slices.DeleteFunc(slices.Clone(args), func(a string) bool { return strings.HasPrefix(a, "-") })
	if len(words) == 0 || !slices.Contains(namesOf(deviceCommands()), words[0]) {
		return false
	}
	return words[0] != "delta" || len(words) < 2 || !slices.Contains(fullDeltaNames(), words[1])
}

// runAs runs another program in place of this one, as a script sees it.
func runAs(program string) int {
	c := exec.Command(program, os.Args[1:]...)
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	err := c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		panic(err)
	}
	return c.ProcessState.ExitCode()
}

// Sessions in which the device's commands are run by the device build, and the server's and publisher's by the full one:
// those of the full build once more, and its own.
func TestDeviceBuildScripts(t *testing.T) {
	device := buildDevice(t)
	own, err := filepath.Glob("testdata/device/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"delta", "device_report", "easyclick", "patch", "rollout_cap", "verify_device", "verify_documents"} {
		own = append(own, "testdata/script/"+name+".txtar")
	}
	testscript.Run(t, scripts(testscript.Params{Files: own}, deviceBuildVariable+"="+device))
}

// Devices are of many kinds. Compiling for each would take minutes, so the types alone are checked, with the sizes of the
// target: our code whole, that of others up to its functions.
func TestDeviceBuildIsForOtherSystemsToo(t *testing.T) {
	t.Parallel()
	for _, target := range []string{"linux/arm", "windows/amd64", "darwin/arm64"} {
		for _, err := range typeCheck(t, target) {
			t.Errorf("%s: %v", target, err)
		}
	}
}

// typeCheck checks everything that the device build is made of, for target GOOS/GOARCH.
func typeCheck(t *testing.T, target string) (faults []error) {
	t.Helper()
	system, processor, _ := strings.Cut(target, "/")
	list := exec.Command("go", "list", "-deps", "-tags", "device", "-f", `{{.ImportPath}}|{{.Dir}}|{{join .GoFiles "|"}}`, ".")
	list.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+system, "GOARCH="+processor)
	out, err := list.Output()
	if err != nil {
		t.Fatalf("list what the build for %s is made of: %v", target, err)
	}
	known := imported{"unsafe": types.Unsafe}
	for line := range strings.Lines(string(out)) {
		parts := strings.Split(strings.TrimSpace(line), "|")
		path, dir := parts[0], parts[1]
		if path == "unsafe" {
			continue
		}
		ours := strings.HasPrefix(path, "github.com/slipstream-ota/")
		fset := token.NewFileSet()
		var files []*ast.File
		for _, name := range parts[2:] {
			file, err := parser.ParseFile(fset, filepath.Join(dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, file)
		}
		checked := types.Config{Importer: known, Sizes: types.SizesFor("gc", processor), IgnoreFuncBodies: !ours, FakeImportC: true, Error: func(err error) {
			if ours {
				faults = append(faults, err)
			}
		}}
		known[path], _ = checked.Check(path, fset, files, nil) // the faults are told one by one
	}
	return faults
}

// imported are the packages that were checked, by path.
type imported map[string]*types.Package

func (m imported) Import(path string) (*types.Package, error) {
	for _, name := range []string{path, "vendor/" + path} { // the standard library has copies of its own
		if p := m[name]; p != nil {
			return p, nil
		}
	}
	return nil, errors.New("not listed: " + path)
}
