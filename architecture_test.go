package slipstream_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/slipstream-ota/slipstream"

// edges says which of our packages each package may import. The order is the way of the data: words, then the pure
// cores, then the seams, then what works on both, then the surfaces, then the command. What is not listed may be
// imported by cmd alone.
var edges = map[string][]string{
	"":              {},
	"sign":          {""},
	"decide":        {""},
	"publish/delta": {"", "publish/delta/hermes", "publish/delta/patch", "publish/delta/zframe"},
	"client/trial":  {""},
	"halt":          {""},
	"halt/compare":  {""},
	"halt/points":   {"", "halt"},

	"publish/delta/bsdiff": {"", "publish/delta/suffix"},
	"publish/delta/dcz":    {""},
	"publish/delta/tree":   {"", "publish/delta/patch", "publish/delta/hermes"},
	"publish/delta/hermes": {""},

	"publish/delta/suffix": {""},
	"publish/delta/rich":   {},
	"publish/delta/zframe": {},
	"publish/delta/patch":  {"", "publish/delta/suffix", "publish/delta/rich", "publish/delta/zframe"},

	"store": {""},
	"blob":  {""},

	"store/sqlstore":  {"", "store"},
	"store/sqlite":    {"", "store", "store/sqlstore", "internal/atomicfile"},
	"store/postgres":  {"", "store", "store/sqlstore"},
	"store/storetest": {"", "store"},
	"blob/file":       {"", "blob", "internal/atomicfile"},
	"blob/s3":         {"", "blob"},
	"blob/mem":        {"", "blob"},
	"blob/blobtest":   {"", "blob"},

	"internal/atomicfile": {},
	"internal/config":     {"", "internal/atomicfile"},
	"internal/httpx":      {""},
	"internal/child":      {},
	"internal/pgcluster":  {},
	"internal/pgtest":     {"internal/pgcluster"},
	"internal/s3test":     {},
	"internal/seal":       {"", "sign"},
	"internal/tarball":    {},

	"rollout":        {"", "sign", "decide", "store", "blob", "internal/seal"},
	"alert":          {"", "store", "rollout"},
	"alert/webhook":  {"", "alert"},
	"alert/shout":    {"", "alert", "alert/webhook"},
	"report":         {"", "store"},
	"deliver/live":   {"", "internal/httpx"},
	"deliver":        {"", "deliver/live", "sign", "decide", "publish/delta/dcz", "store", "blob", "report", "protocol", "internal/httpx"},
	"publish":        {"", "sign", "decide", "publish/delta", "store", "blob", "internal/tarball"},
	"publish/build":  {"", "publish", "publish/delta", "store", "blob", "rollout"},
	"publish/source": {""},

	"protocol":                   {"", "decide", "store", "blob"},
	"protocol/archive":           {"", "blob"},
	"protocol/capgo":             {"", "sign", "decide", "store", "blob", "protocol", "protocol/archive", "internal/httpx"},
	"protocol/codepush":          {"", "sign", "decide", "store", "blob", "protocol", "protocol/archive", "protocol/codepush/semver", "internal/httpx"},
	"protocol/codepush/manage":   {"", "sign", "auth", "store", "blob", "rollout", "protocol", "protocol/codepush", "protocol/codepush/semver", "internal/httpx"},
	"protocol/codepush/semver":   {""},
	"protocol/codepush/transfer": {"", "internal/atomicfile"},
	"protocol/easyclick":         {"", "decide", "store", "blob", "protocol", "internal/httpx"},
	"protocol/easyclick/device":  {""},
	"protocol/ocrunner":          {"", "decide", "publish/delta/bsdiff", "store", "blob", "protocol"},
	"protocol/ocrunner/device":   {"", "sign", "publish/delta/bsdiff", "internal/atomicfile"},
	"protocol/protocoltest":      {"", "sign", "store", "store/sqlite", "blob", "blob/mem", "rollout", "report", "deliver", "protocol"},

	"halt/watch": {"", "halt", "rollout", "store"},

	"auth":     {"", "store", "internal/httpx"},
	"auth/sso": {"", "auth"},

	"auth/sso/ssotest": {},
	"api":              {"", "sign", "decide", "halt/compare", "publish/delta", "store", "blob", "rollout", "report", "publish", "protocol", "halt", "halt/watch", "alert", "auth", "auth/sso", "internal/httpx"},

	"console": {"", "internal/httpx"},

	"client":      {"", "sign", "decide", "publish/delta", "client/trial", "client/live"},
	"client/live": {},

	"internal/crashfs":  {"", "client"},
	"internal/simfleet": {"", "sign", "store", "client"},
	"internal/powercut": {},
	"lab":               nil, // proofs may look at everything below cmd
	"lab/driver":        {"", "sign", "client", "internal/crashfs"},
	"lab/outage":        {"", "sign", "store", "store/sqlite", "blob", "blob/file", "rollout", "report", "deliver", "publish", "publish/build", "auth", "api", "internal/httpx"},
	"lab/siege":         {"", "sign", "decide", "publish/delta", "lab/driver"},

	"testdata/shop":       {},
	"deploy":              {},
	"scripts/testsummary": {},
	"scripts/benchreport": {},
	"scripts/containers":  {"", "publish/delta"},
}

// outside says what the pure cores and the device library may import from other modules.
var outside = map[string][]string{
	"":              {},
	"sign":          {"golang.org/x/text/unicode/norm", "golang.org/x/crypto/"},
	"decide":        {},
	"publish/delta": {"github.com/klauspost/compress/"},
	"client/trial":  {},
	"halt":          {},
	"halt/compare":  {},
	"halt/points":   {},

	"publish/delta/suffix": {},
	"publish/delta/rich":   {},
	"publish/delta/zframe": {"github.com/klauspost/compress/"},
	"publish/delta/patch":  {"github.com/klauspost/compress/", "github.com/andybalholm/brotli"},
	"client":               {},
	"client/live":          {},
	"store":                {},
	"blob":                 {},
}

func TestImportsFollowTheWayOfTheData(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "./...", "./testdata/shop").Output()
	if err != nil {
		t.Fatalf("list packages: %v", err)
	}
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		pkg := relative(words[0])
		if strings.HasPrefix(pkg, "cmd/") || strings.HasPrefix(pkg, "examples/") {
			continue
		}
		allowed, known := edges[pkg]
		if !known {
			t.Errorf("package %s has no line in the table of allowed imports: give it one", pkg)
			continue
		}
		for _, imported := range words[1:] {
			switch {
			case imported == module || strings.HasPrefix(imported, module+"/"):
				if everything := allowed == nil && !strings.HasPrefix(relative(imported), "cmd/"); !everything && !slices.Contains(allowed, relative(imported)) {
					t.Errorf("%s may not import %s", pkg, relative(imported))
				}
			case strings.Contains(strings.SplitN(imported, "/", 2)[0], "."):
				if limits, pure := outside[pkg]; pure && !slices.ContainsFunc(limits, func(p string) bool { return strings.HasPrefix(imported, p) }) {
					t.Errorf("%s may not import %s: it keeps to the standard library", pkg, imported)
				}
			}
		}
	}
}

// inDevices is all that the device build may be made of beside the standard library: no store, no server, no metrics.
var inDevices = []string{
	"", "sign", "decide", "client", "client/trial", "client/live", "internal/atomicfile", "internal/config", "internal/tarball", "publish/delta", "publish/delta/*",
	"protocol/easyclick/device", "protocol/ocrunner/device", "cmd/slipstream",
	"github.com/klauspost/compress/*", "github.com/andybalholm/brotli/*", "github.com/spf13/cobra", "github.com/spf13/pflag", "golang.org/x/*",
}

func TestTheDeviceBuildIsMadeOfWhatADeviceNeeds(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "list", "-deps", "-tags", "device", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", "./cmd/slipstream").Output()
	if err != nil {
		t.Fatalf("list what the device build is made of: %v", err)
	}
	packages := strings.Fields(string(out))
	if !slices.Contains(packages, module+"/client") {
		t.Fatalf("the device build has no client: %v", packages)
	}
	for _, pkg := range packages {
		if !slices.ContainsFunc(inDevices, func(p string) bool {
			whole, below := strings.CutSuffix(p, "/*")
			return relative(pkg) == whole || below && strings.HasPrefix(relative(pkg), whole+"/")
		}) {
			t.Errorf("the device build may not have %s: give what needs it the constraint `!device`", relative(pkg))
		}
	}
}

func relative(path string) string {
	return strings.TrimPrefix(strings.TrimPrefix(path, module), "/")
}

const (
	maxFileLines = 620
	maxFuncLines = 90
	maxMethods   = 8
	maxPkgFiles  = 20
)

var forbiddenPackages = []string{"utils", "util", "helpers", "helper", "common", "types", "manager", "misc", "base", "shared"}

func TestFilesStayReadable(t *testing.T) {
	t.Parallel()
	perPackage := map[string]int{}
	eachGoFile(t, func(path string, fset *token.FileSet, file *ast.File) {
		test := strings.HasSuffix(path, "_test.go")
		dir := filepath.Dir(path)
		if !test {
			perPackage[dir]++
			if n := fset.File(file.Pos()).LineCount(); n > maxFileLines {
				t.Errorf("%s has %d lines: give it a second room", path, n)
			}
		}
		if slices.Contains(forbiddenPackages, file.Name.Name) {
			t.Errorf("%s: a package named %s says nothing", path, file.Name.Name)
		}
		for _, decl := range file.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok || fn.Body == nil {
				continue
			}
			lines := fset.Position(fn.End()).Line - fset.Position(fn.Pos()).Line
			if !test && lines > maxFuncLines {
				t.Errorf("%s: %s has %d lines", path, fn.Name.Name, lines)
			}
			if fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s: no init(): wiring is visible in one place", path)
			}
		}
	})
	for dir, n := range perPackage {
		// A command, a proof, a resource of the management API: one file each, however many there are.
		if oneFileEach := strings.HasPrefix(dir, "cmd") || dir == "lab" || dir == "api"; n > maxPkgFiles && !oneFileEach {
			t.Errorf("%s has %d files: split it by the way of the data", dir, n)
		}
	}
}

func TestInterfacesStaySmall(t *testing.T) {
	t.Parallel()
	eachGoFile(t, func(path string, fset *token.FileSet, file *ast.File) {
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			if it, ok := spec.Type.(*ast.InterfaceType); ok && it.Methods.NumFields() > maxMethods {
				t.Errorf("%s: interface %s has %d methods, at most %d", path, spec.Name.Name, it.Methods.NumFields(), maxMethods)
			}
			return true
		})
	})
}

// Settings come from one place, errors end programs in one place, and the clock is handed in where decisions are pure.
func TestEffectsStayAtTheEdges(t *testing.T) {
	t.Parallel()
	forbidden := map[string]func(path string) bool{
		"os.Getenv":    func(string) bool { return true },
		"os.LookupEnv": func(string) bool { return true },
		"os.Environ":   func(p string) bool { return p != "cmd/slipstream/main.go" },
		"os.Exit": func(p string) bool {
			return p != "cmd/slipstream/main.go" && !strings.HasPrefix(p, "scripts/") && !strings.HasPrefix(p, "examples/")
		},
		"log.Fatal":  func(string) bool { return true },
		"log.Fatalf": func(string) bool { return true },
		"time.Now":   func(p string) bool { return pure(p) },
		"time.Since": func(p string) bool { return pure(p) },
		"rand.Read":  func(p string) bool { return pure(p) && !strings.HasPrefix(p, "sign/") }, // salts of encrypted keys
	}
	eachGoFile(t, func(path string, fset *token.FileSet, file *ast.File) {
		if strings.HasSuffix(path, "_test.go") {
			return
		}
		ast.Inspect(file, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			pkg, ok := sel.X.(*ast.Ident)
			if !ok || pkg.Obj != nil {
				return true
			}
			if bad, listed := forbidden[pkg.Name+"."+sel.Sel.Name]; listed && bad(filepath.ToSlash(path)) {
				t.Errorf("%s: %s.%s does not belong here", fset.Position(n.Pos()), pkg.Name, sel.Sel.Name)
			}
			return true
		})
	})
}

func pure(path string) bool {
	if strings.HasPrefix(path, "halt/watch/") {
		return false // the guard at work
	}
	for _, dir := range []string{"sign/", "decide/", "halt/", "publish/delta/", "client/trial/"} {
		if strings.HasPrefix(path, dir) {
			return true
		}
	}
	return !strings.Contains(path, "/")
}

func eachGoFile(t *testing.T, visit func(path string, fset *token.FileSet, file *ast.File)) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules" || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") {
			return nil
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		visit(path, fset, file)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
