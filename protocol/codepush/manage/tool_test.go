package manage_test

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream/protocol/protocoltest"
)

// tool is CodePush's own command, as somebody runs it who is logged in.
type tool struct {
	*testing.T
	dir, home string
}

// run gives what the command printed. It reports a failure in its text alone, whatever its exit status is.
func (c *tool) run(answer string, args ...string) (string, bool) {
	c.Helper()
	ctx, cancel := context.WithTimeout(c.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(c.dir, "node_modules", ".bin", "code-push"), args...)
	cmd.Dir, cmd.Stdin, cmd.WaitDelay = c.dir, strings.NewReader(answer), time.Second
	cmd.Env = append(os.Environ(), "HOME="+c.home, "LOCALAPPDATA="+c.home, "NODE_NO_WARNINGS=1", "NO_UPDATE_NOTIFIER=1")
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		c.Fatalf("code-push %v does not end:\n%s", args, out)
	}
	return string(out), err == nil && !strings.Contains(string(out), "[Error]") && !strings.Contains(string(out), "Usage: code-push")
}

// does runs what must succeed and print each of words.
func (c *tool) does(answer string, args []string, words ...string) string {
	c.Helper()
	out, ok := c.run(answer, args...)
	if !ok {
		c.Fatalf("code-push %v:\n%s", args, out)
	}
	for _, w := range words {
		if !strings.Contains(out, w) {
			c.Errorf("code-push %v does not print %q:\n%s", args, w, out)
		}
	}
	return out
}

// refuses runs what must fail and print word.
func (c *tool) refuses(args []string, word string) {
	c.Helper()
	if out, ok := c.run("y\n", args...); ok || !strings.Contains(out, word) {
		c.Errorf("code-push %v should fail by %q:\n%s", args, word, out)
	}
}

func words(line string) []string { return strings.Fields(line) }

// TestTheRealTool drives the command-line tool of npm against a server.
func TestTheRealTool(t *testing.T) {
	t.Parallel()
	dir := protocoltest.NPM(t, "code-push-cli", filepath.Join("testdata", "cli"))
	w := newWorld(t)
	ann := &tool{t, dir, t.TempDir()}
	bundle := filepath.Join(dir, "CodePush")
	if err := os.Mkdir(bundle, 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(text string) {
		if err := os.WriteFile(filepath.Join(bundle, "main.jsbundle"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("1\n")
	ann.refuses(words("app ls"), "not currently logged in")
	ann.refuses([]string{"login", w.web.URL + "/codepush", "--accessKey", "slp_wrong"}, "")
	ann.does("", []string{"login", w.web.URL + "/codepush", "--accessKey", w.key})
	ann.does("", words("whoami"), "ann")
	ann.does("", words("app add Mine ios react-native"), "Production", "Staging")
	ann.refuses(words("app add Mine ios react-native"), "exists")
	w.must(200, "PATCH", "/apps/Mine/deployments/Production", `{"key":"SHIPPED-KEY-0123"}`)
	ann.does("", words("release Mine CodePush ^1.0.0 -d Staging --description first"), "Successfully released")
	theToolReleases(t, w, ann, write)
	theToolCounts(t, w, ann)
	theToolCleansUp(t, w, ann)
	theToolKnowsPeople(t, w, ann)
	ann.does("", words("logout"))
	ann.refuses(words("app ls"), "not currently logged in")
}

func theToolReleases(t *testing.T, w *world, ann *tool, write func(string)) {
	t.Helper()
	ann.refuses(words("release Mine CodePush ^1.0.0 -d Staging"), "identical")
	ann.does("", words("release Mine CodePush ^1.0.0 -d Staging --noDuplicateReleaseError"), "identical") // a warning
	if h := w.history("Staging"); len(h) != 1 {
		t.Errorf("a duplicate became a release: %+v", h)
	}
	write("2\n")
	ann.does("", words("release Mine CodePush ^1.0.0 -d Staging -r 20"), "Successfully released")
	ann.does("", words("patch Mine Staging -r 100"), "Successfully updated")
	ann.does("y\n", words("rollback Mine Staging"), "Successfully performed a rollback")
	ann.does("", words("promote Mine Staging Production"), "Successfully promoted")
	if u := w.check("client_unique_id=x"); u.Label != "v1" || u.PackageHash != "6e36daa2f72fc646998d30ad505d454c23a83da673b9bd57e8a42f7b5010c56b" {
		t.Errorf("a device: %+v", u)
	}
	ann.does("", words("deployment ls Mine -k"), "SHIPPED-KEY-0123")
	ann.does("", words("deployment history Mine Staging --format json"), `"v3"`, "Rollback")
	ann.does("", words("deployment history Mine Staging"), "v1", "v2", "v3", "first")
}

// theToolCounts: `deployment ls` shows the counts of devices.
func theToolCounts(t *testing.T, w *world, ann *tool) {
	t.Helper()
	for range 2 {
		for _, report := range [][2]string{
			{"deploy", `{"deployment_key":"SHIPPED-KEY-0123","client_unique_id":"a","app_version":"1.2.0"}`},
			{"download", `{"deployment_key":"SHIPPED-KEY-0123","client_unique_id":"a","label":"v1"}`},
			{"deploy", `{"deployment_key":"SHIPPED-KEY-0123","client_unique_id":"a","app_version":"1.2.0","label":"v1","status":"DeploymentSucceeded","previous_label_or_app_version":"1.2.0"}`},
			{"deploy", `{"deployment_key":"SHIPPED-KEY-0123","client_unique_id":"b","app_version":"1.2.0","label":"v1","status":"DeploymentFailed"}`},
		} {
			res, err := http.Post(w.web.URL+"/v0.1/public/codepush/report_status/"+report[0], "application/json", strings.NewReader(report[1]))
			if err != nil || res.StatusCode != http.StatusOK {
				t.Fatalf("%v, %v", res, err)
			}
			res.Body.Close()
		}
	}
	var shown []struct {
		Name    string `json:"name"`
		Package *struct {
			Metrics struct{ Active, Downloaded, Failed, Installed, TotalActive int64 } `json:"metrics"`
		} `json:"package"`
	}
	out := ann.does("", words("deployment ls Mine --format json"))
	if err := json.Unmarshal([]byte(out), &shown); err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	for _, d := range shown {
		if d.Name != "Production" {
			continue
		}
		if m := d.Package.Metrics; m.Active != 1 || m.Installed != 1 || m.Failed != 1 || m.Downloaded != 1 || m.TotalActive != 2 {
			t.Errorf("counts of %s: %+v", d.Name, m)
		}
	}
	ann.does("", words("deployment ls Mine"), "Active: 50% (1 of 2)", "Rollbacks: 1")
}

// theToolCleansUp: deployments and apps go, after a question.
func theToolCleansUp(t *testing.T, w *world, ann *tool) {
	t.Helper()
	ann.does("", words("deployment add Mine Beta"), "Successfully added")
	ann.refuses(words("deployment add Mine Beta"), "exists")
	ann.does("", words("deployment rename Mine Beta Preview"))
	ann.does("y\n", words("deployment clear Mine Production"), "Successfully cleared")
	if h := w.history("Production"); len(h) != 0 {
		t.Errorf("after clearing: %+v", h)
	}
	if u := w.check("client_unique_id=x"); u.IsAvailable {
		t.Errorf("a device after clearing: %+v", u)
	}
	ann.does("n\n", words("deployment rm Mine Preview"))
	w.must(200, "GET", "/apps/Mine/deployments/Preview", "")
	ann.does("y\n", words("deployment rm Mine Preview"), "Successfully removed")
	w.must(404, "GET", "/apps/Mine/deployments/Preview", "")
	ann.does("", words("app rename Mine Yours"))
	ann.does("", words("app ls"), "Yours")
	ann.does("", words("app add Gone android react-native"))
	ann.does("y\n", words("app rm Gone"), "Successfully removed")
	if out := ann.does("", words("app ls")); strings.Contains(out, "Gone") {
		t.Errorf("a removed app is listed:\n%s", out)
	}
	ann.refuses(words("app rm Gone"), "not found")
}

// theToolKnowsPeople: keys and collaborators are added, listed and removed, and a collaborator does what one may.
func theToolKnowsPeople(t *testing.T, w *world, ann *tool) {
	t.Helper()
	ann.does("", words("access-key add builder"), "Successfully created")
	ann.does("", words("access-key ls"), "builder", "ann")
	ann.refuses(words("access-key add builder"), "exists")
	ann.does("y\n", words("access-key rm builder"), "Successfully removed")
	if out := ann.does("", words("access-key ls")); strings.Contains(out, "builder") {
		t.Errorf("a removed key is listed:\n%s", out)
	}
	ann.does("", words("collaborator add Yours bob@example.com"), "bob@example.com")
	ann.does("", words("collaborator ls Yours"), "ann (Owner)", "bob@example.com")
	key := regexp.MustCompile(`slp_[0-9a-f]+`).FindString(ann.does("", words("access-key add bob@example.com"), "Successfully created"))
	bob := &tool{t, ann.dir, t.TempDir()}
	bob.does("", []string{"login", w.web.URL + "/codepush", "--accessKey", key})
	bob.does("", words("whoami"), "bob@example.com")
	bob.does("", words("app ls"), "Yours")
	bob.does("", words("release Yours CodePush ^1.0.0 -d Staging"), "Successfully released")
	bob.refuses(words("app rm Yours"), "may not manage apps")
	bob.refuses(words("deployment clear Yours Staging"), "may not manage apps")
	bob.refuses(words("collaborator add Yours eve@example.com"), "may not manage tokens")
	ann.does("y\n", words("collaborator rm Yours bob@example.com"), "Successfully removed")
	bob.refuses(words("app ls"), "")
}
