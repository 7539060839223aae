package manage_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/slipstream-ota/slipstream/protocol/protocoltest"
)

// label is a line of a deployment's history.
type label struct {
	Label, AppVersion, Description, PackageHash      string
	ReleaseMethod, OriginalLabel, OriginalDeployment string
	BlobURL                                          string
	IsDisabled, IsMandatory                          bool
	Rollout                                          *int
}

func (w *world) history(deployment string) []label {
	w.Helper()
	var out struct{ History []label }
	if err := json.Unmarshal([]byte(w.must(200, "GET", "/apps/Mine/deployments/"+deployment+"/history", "")), &out); err != nil {
		w.Fatal(err)
	}
	return out.History
}

// ship releases a bundle of one line, and must succeed.
func (w *world) ship(deployment, info, text string) {
	w.Helper()
	if status, said := w.release(deployment, info, zipped(w, "CodePush/main.jsbundle", text)); status != http.StatusCreated {
		w.Fatalf("release %q: %d %s", text, status, said)
	}
}

const production = "/apps/Mine/deployments/Production/"

// TestUnfinishedRollouts stand in the way of what comes after them, and are over with it.
func TestUnfinishedRollouts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.mine()
	w.must(201, "POST", "/apps/Mine/deployments", `{"name":"Staging"}`)
	w.ship("Staging", `{"appVersion":"1.2.0"}`, "from staging")
	w.ship("Production", `{"appVersion":"1.2.0"}`, "one")
	w.ship("Production", `{"appVersion":"1.2.0","rollout":20}`, "two")
	if status, _ := w.release("Production", `{"appVersion":"1.2.0"}`, zipped(t, "CodePush/main.jsbundle", "three")); status != 409 {
		t.Errorf("a release over an unfinished one: %d", status)
	}
	w.must(409, "POST", "/apps/Mine/deployments/Staging/promote/Production", "")
	w.must(409, "PATCH", production+"release", `{"packageInfo":{"rollout":20}}`)
	w.must(409, "PATCH", production+"release", `{"packageInfo":{"rollout":10}}`)
	w.must(200, "PATCH", production+"release", `{"packageInfo":{"isDisabled":true}}`)
	w.must(201, "POST", "/apps/Mine/deployments/Staging/promote/Production", `{"packageInfo":{"rollout":50}}`)
	h := w.history("Production")
	if h[1].Rollout != nil || h[2].Rollout == nil || *h[2].Rollout != 50 {
		t.Errorf("the rollout before is over with the next release: %+v", h)
	}
	w.must(201, "POST", production+"rollback", "") // also from an unfinished one
	if h = w.history("Production"); h[3].Label != "v4" || h[3].OriginalLabel != "v1" || h[2].Rollout != nil || h[3].Rollout != nil {
		t.Errorf("after the rollback: %+v", h)
	}
	w.must(409, "PATCH", production+"release", `{"packageInfo":{"rollout":50}}`) // it is complete
}

// TestWhereReleasesComeFrom: promotes and rollbacks tell their origin, take what is said of them, and never a rollout.
func TestWhereReleasesComeFrom(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.mine()
	w.must(201, "POST", "/apps/Mine/deployments", `{"name":"Staging"}`)
	w.ship("Staging", `{"appVersion":"1.2.0","description":"first","isMandatory":true}`, "one")
	w.ship("Staging", `{"appVersion":"1.2.0","description":"second","rollout":40}`, "two")
	const promote = "/apps/Mine/deployments/Staging/promote/Production"
	w.must(201, "POST", promote, `{"packageInfo":{"label":"v1"}}`)
	w.must(201, "POST", promote, `{"packageInfo":{"description":"said anew","isMandatory":true,"appVersion":"^1.2.0"}}`)
	staging, h := w.history("Staging"), w.history("Production")
	want := []label{
		{Label: "v1", AppVersion: "1.2.0", Description: "first", IsMandatory: true, PackageHash: staging[0].PackageHash, ReleaseMethod: "Promote", OriginalLabel: "v1", OriginalDeployment: "Staging", BlobURL: staging[0].BlobURL},
		{Label: "v2", AppVersion: "^1.2.0", Description: "said anew", IsMandatory: true, PackageHash: staging[1].PackageHash, ReleaseMethod: "Promote", OriginalLabel: "v2", OriginalDeployment: "Staging", BlobURL: staging[1].BlobURL},
	}
	for i := range want {
		if h[i] != want[i] {
			t.Errorf("promoted %+v, want %+v", h[i], want[i])
		}
	}
	w.must(409, "POST", promote, `{"packageInfo":{"appVersion":"1.2.5"}}`) // the same contents once more
	w.must(409, "POST", production+"rollback/v2", "")                      // it is the newest
	w.must(409, "POST", production+"rollback/v1", "")                      // of another app version
	w.must(404, "POST", production+"rollback/v7", "")
	w.must(404, "POST", "/apps/Mine/deployments/Nothing/promote/Production", "")
	w.must(404, "POST", promote, `{"packageInfo":{"label":"v7"}}`)
	w.must(201, "POST", "/apps/Mine/deployments/Staging/rollback/v1", "")
	back := w.history("Staging")[2]
	if back != (label{Label: "v3", AppVersion: "1.2.0", Description: "first", IsMandatory: true, PackageHash: staging[0].PackageHash, ReleaseMethod: "Rollback", OriginalLabel: "v1", BlobURL: staging[0].BlobURL}) {
		t.Errorf("rolled back to %+v", back)
	}
}

// TestDisabledReleases are passed over by clients, by what is mandatory, and by a rollback that names none.
func TestDisabledReleases(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.mine()
	w.ship("Production", `{"appVersion":"1.2.0","isMandatory":true}`, "one")
	w.ship("Production", `{"appVersion":"1.2.0"}`, "two")
	w.ship("Production", `{"appVersion":"1.2.0","isMandatory":true}`, "three")
	w.ship("Production", `{"appVersion":"1.2.0"}`, "four")
	w.must(200, "PATCH", production+"release", `{"packageInfo":{"label":"v3","isDisabled":true}}`)
	if u := w.check("label=v2"); u.Label != "v4" || u.IsMandatory {
		t.Errorf("a disabled mandatory release makes the next one mandatory: %+v", u)
	}
	w.must(200, "PATCH", production+"release", `{"packageInfo":{"label":"v4","isDisabled":true}}`)
	if u := w.check("label=v4"); u.Label != "v2" || u.IsMandatory {
		t.Errorf("a client goes back from a disabled release, and passes over nothing mandatory on that way: %+v", u)
	}
	if u := w.check(""); u.Label != "v2" || !u.IsMandatory {
		t.Errorf("a new client passes over the first, which was mandatory: %+v", u)
	}
	w.must(201, "POST", production+"rollback", "")
	if h := w.history("Production"); h[4].OriginalLabel != "v2" {
		t.Errorf("back to %s, which somebody disabled", h[4].OriginalLabel)
	}
	w.must(201, "POST", production+"rollback/v3", "") // by name it comes back
	if u := w.check("label=v5"); u.Label != "v6" {
		t.Errorf("a release that was named: %+v", u)
	}
	for _, n := range []string{"v1", "v2", "v4", "v5", "v6"} {
		if status, text := w.call("PATCH", production+"release", "application/json", `{"packageInfo":{"label":"`+n+`","isDisabled":true}}`); status != 200 && status != 204 {
			t.Fatalf("%s: %d %s", n, status, text)
		}
	}
	if u := w.check("label=v6"); u.IsAvailable {
		t.Errorf("all are disabled: %+v", u)
	}
}

// TestTheSameContents are refused for the same versions of the app, whatever their range is written like.
func TestTheSameContents(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.mine()
	w.ship("Production", `{"appVersion":"~1.2.0"}`, "one")
	w.ship("Production", `{"appVersion":"2.0.0"}`, "two")
	for _, c := range []struct {
		version, text string
		status        int
	}{
		{"1.2.7", "one", 409}, // the newest release for it is the first
		{"v2.0.0", "two", 409},
		{"=2.0.0 ", "two", 409},
		{"1.2", "one", 201}, // a range is looked at next to the newest alone
		{"1.2.x", "one", 409},
		{"^1.2.0", "one", 201},
		{"1.2.7", "two", 201},
	} {
		if status, text := w.release("Production", `{"appVersion":"`+c.version+`"}`, zipped(t, "CodePush/main.jsbundle", c.text)); status != c.status {
			t.Errorf("%s for %s: %d %s, want %d", c.text, c.version, status, text, c.status)
		}
	}
}

// TestALongHistory: every label is known still, and a mandatory release far back counts.
func TestALongHistory(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.mine()
	const n = 60
	for i := 1; i <= n; i++ {
		w.ship("Production", fmt.Sprintf(`{"appVersion":"1.2.0","isMandatory":%v}`, i == 3), fmt.Sprint(i))
	}
	h := w.history("Production")
	if len(h) != n || h[0].Label != "v1" || h[n-1].Label != fmt.Sprintf("v%d", n) {
		t.Fatalf("%d labels, from %s to %s", len(h), h[0].Label, h[len(h)-1].Label)
	}
	for query, mandatory := range map[string]bool{"label=v1": true, "label=v2": true, "label=v3": false, "package_hash=" + h[1].PackageHash: true, "package_hash=" + h[2].PackageHash: false, "": true} {
		if u := w.check(query); u.Label != fmt.Sprintf("v%d", n) || u.IsMandatory != mandatory {
			t.Errorf("%q: %+v, want mandatory %v", query, u, mandatory)
		}
	}
}

// TestParallelReleases to two deployments keep their contents apart, and to one each get a label of their own.
func TestParallelReleases(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.mine()
	w.must(201, "POST", "/apps/Mine/deployments", `{"name":"Staging"}`)
	const n = 6
	var at sync.WaitGroup
	for i := range n {
		for _, deployment := range []string{"Production", "Staging"} {
			at.Go(func() {
				if status, text := w.release(deployment, `{"appVersion":"1.2.0"}`, zipped(t, "CodePush/main.jsbundle", fmt.Sprint(deployment, i), "CodePush/large", strings.Repeat(deployment, 9000))); status != 201 {
					t.Errorf("%s %d: %d %s", deployment, i, status, text)
				}
			})
		}
	}
	at.Wait()
	w.check("") // what is offered is read anew
	for _, deployment := range []string{"Production", "Staging"} {
		labels, contents := map[string]bool{}, map[string]bool{}
		for _, l := range w.history(deployment) {
			res, err := http.Get(l.BlobURL)
			if err != nil {
				t.Fatal(err)
			}
			raw, err := io.ReadAll(res.Body)
			res.Body.Close()
			if err != nil || res.StatusCode != 200 {
				t.Fatalf("%s: %d %v", l.BlobURL, res.StatusCode, err)
			}
			files := protocoltest.Unzip(t, raw)
			if !strings.HasPrefix(files["CodePush/main.jsbundle"], deployment) || !strings.HasPrefix(files["CodePush/large"], deployment) {
				t.Errorf("%s %s holds %q", deployment, l.Label, files["CodePush/main.jsbundle"])
			}
			labels[l.Label], contents[files["CodePush/main.jsbundle"]] = true, true
		}
		if len(labels) != n || len(contents) != n {
			t.Errorf("%s: labels %v with contents %v, want %d of either", deployment, labels, contents, n)
		}
	}
}
