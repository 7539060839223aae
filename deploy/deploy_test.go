package deploy_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestDeployDockerfileBuildsAStaticNonRootImage(t *testing.T) {
	t.Parallel()
	text := read(t, "Dockerfile")
	stages := regexp.MustCompile(`(?m)^FROM (\S+)(?: AS (\S+))?$`).FindAllStringSubmatch(text, -1)
	if len(stages) != 2 || stages[1][1] != "scratch" {
		t.Fatalf("want a build stage and an empty last stage, have %v", stages)
	}
	for _, s := range stages[:1] {
		if !strings.Contains(s[1], ":") || strings.HasSuffix(s[1], ":latest") {
			t.Errorf("base image %s is not pinned to a version", s[1])
		}
	}
	last := text[strings.LastIndex(text, "\nFROM "):]
	for what, want := range map[string]string{
		"a user that is not root": `(?m)^USER [1-9]\d*:[1-9]\d*$`,
		"an exec-form entrypoint": `(?m)^ENTRYPOINT \["/slipstream"\]$`,
		"certificates for TLS":    `ca-certificates\.crt`,
		"a volume for its data":   `(?m)^VOLUME /data$`,
	} {
		if !regexp.MustCompile(want).MatchString(last) {
			t.Errorf("the last stage has no %s", what)
		}
	}
	if !strings.Contains(text, "CGO_ENABLED=0") {
		t.Error("the binary is not static")
	}
	if regexp.MustCompile(`(?m)^(ADD|RUN .*(curl|wget))`).MatchString(text) {
		t.Error("nothing may be fetched but modules")
	}
	help, err := exec.Command("go", "run", "../cmd/slipstream", "serve", "--help").CombinedOutput()
	if err != nil {
		t.Fatalf("serve --help: %v\n%s", err, help)
	}
	for _, flag := range regexp.MustCompile(`"(--[a-z-]+)"`).FindAllStringSubmatch(last, -1) {
		if !strings.Contains(string(help), flag[1]) {
			t.Errorf("the command knows no %s", flag[1])
		}
	}
}

func TestDeployUnitIsHardenedAndValid(t *testing.T) {
	t.Parallel()
	hardened := []string{"NoNewPrivileges=yes", "ProtectSystem=strict", "DynamicUser=yes", "CapabilityBoundingSet=\n", "UMask=0077"}
	for name, wanted := range map[string][]string{"slipstream.service": append(hardened, "SystemCallFilter=@system-service"), "slipstream-device.service": append(hardened, "KillMode=mixed")} {
		t.Run(name, func(t *testing.T) { checkUnit(t, name, wanted) })
	}
}

// The flags of the unit for devices are those that the device build knows.
func TestDeployUnitOfDevicesNamesFlagsThatThereAre(t *testing.T) {
	t.Parallel()
	help, err := exec.Command("go", "run", "-tags", "device", "../cmd/slipstream", "run", "--help").CombinedOutput()
	if err != nil {
		t.Fatalf("run --help: %v\n%s", err, help)
	}
	start := regexp.MustCompile(`(?m)^ExecStart=(.*) -- `).FindStringSubmatch(read(t, "slipstream-device.service"))
	if start == nil {
		t.Fatal("the unit runs no program")
	}
	for _, flag := range regexp.MustCompile(` (--[a-z-]+)`).FindAllStringSubmatch(start[1], -1) {
		if !strings.Contains(string(help), flag[1]+" ") {
			t.Errorf("the device build knows no %s", flag[1])
		}
	}
}

func checkUnit(t *testing.T, name string, wanted []string) {
	text := read(t, name)
	for _, want := range wanted {
		if !strings.Contains(text, want) {
			t.Errorf("the unit lacks %q", want)
		}
	}
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("MISSING: systemd-analyze (checks deploy/" + name + ")")
	}
	unit := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(unit, []byte(strings.ReplaceAll(text, "/usr/local/bin/slipstream", "/bin/true")), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(analyze, "verify", "--man=no", unit).CombinedOutput()
	if err != nil || strings.Contains(string(out), name+":") {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}
