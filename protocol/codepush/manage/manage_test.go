package manage_test

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream/auth"
	"github.com/slipstream-ota/slipstream/protocol"
	"github.com/slipstream-ota/slipstream/protocol/codepush"
	"github.com/slipstream-ota/slipstream/protocol/codepush/manage"
	"github.com/slipstream-ota/slipstream/protocol/codepush/transfer"
	"github.com/slipstream-ota/slipstream/protocol/protocoltest"
)

// world is a server with both sides of CodePush.
type world struct {
	*protocoltest.World
	web  *httptest.Server
	book *codepush.Book
	key  string // of an owner
	// lazy says that devices get what the book held at its last look, as between two looks of a server that runs.
	lazy atomic.Bool
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{World: protocoltest.New(t, codepush.Protocol{})}
	clock := func() time.Time { return w.Now }
	tokens := auth.New(auth.Config{Store: w.Store, Clock: clock})
	_, secret, err := tokens.Create(t.Context(), "test", auth.Spec{Name: "ann", Role: auth.Owner})
	if err != nil {
		t.Fatal(err)
	}
	w.key = secret
	base := func(*http.Request) string { return w.web.URL }
	w.book = codepush.NewBook(w.Store, w.Blobs, clock, nil)
	devices := codepush.New(codepush.Config{Book: w.book, Decider: w.Devices, Reporter: w.Devices, Running: protocol.Runs(w.Store), Bytes: w.Devices.Handler(), BaseURL: base, Clock: clock})
	desk := manage.New(manage.Config{Store: w.Store, Blobs: w.Blobs, Rollout: w.Rollout, Tokens: tokens, BaseURL: base, Clock: clock, Settle: w.book.Settle, MaxUpload: 1 << 20, MaxUnpacked: 2 << 20})
	w.web = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if desk.Owns(r.URL.Path) {
			desk.ServeHTTP(rw, r)
			return
		}
		if !w.lazy.Load() {
			if err := w.book.Refresh(r.Context()); err != nil {
				t.Error(err)
			}
		}
		devices.ServeHTTP(rw, r)
	}))
	t.Cleanup(w.web.Close)
	return w
}

// call sends a request with the owner's key and gives status and body.
func (w *world) call(method, path, kind, body string) (int, string) {
	w.Helper()
	return w.as(w.key, method, path, kind, body)
}

func (w *world) as(key, method, path, kind, body string) (int, string) {
	w.Helper()
	req, err := http.NewRequestWithContext(w.Context(), method, w.web.URL+"/codepush"+path, strings.NewReader(body))
	if err != nil {
		w.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		w.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		w.Fatal(err)
	}
	return res.StatusCode, string(raw)
}

func (w *world) must(want int, method, path, body string) string {
	w.Helper()
	status, text := w.call(method, path, "application/json", body)
	if status != want {
		w.Fatalf("%s %s: %d %s, want %d", method, path, status, text, want)
	}
	return text
}

// zipped packs files, in the order of pairs of name and content.
func zipped(t testing.TB, pairs ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	for i := 0; i < len(pairs); i += 2 {
		f, err := z.Create(pairs[i])
		if err == nil {
			_, err = io.WriteString(f, pairs[i+1])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func (w *world) release(deployment, info string, raw []byte) (int, string) {
	w.Helper()
	return w.releaseTo("Mine", deployment, info, raw)
}

func (w *world) releaseTo(app, deployment, info string, raw []byte) (int, string) {
	w.Helper()
	var body bytes.Buffer
	m := multipart.NewWriter(&body)
	f, err := m.CreateFormFile("package", "x.zip")
	if err != nil {
		w.Fatal(err)
	}
	_, _ = f.Write(raw)
	if err := m.WriteField("packageInfo", info); err != nil {
		w.Fatal(err)
	}
	m.Close()
	return w.call("POST", "/apps/"+app+"/deployments/"+deployment+"/release", m.FormDataContentType(), body.String())
}

// mine makes the app Mine with a key of the caller's choice.
func (w *world) mine() {
	w.must(201, "POST", "/apps/", `{"name":"Mine","manuallyProvisionDeployments":true}`)
	w.must(201, "POST", "/apps/Mine/deployments/", `{"name":"Production","key":"SHIPPED-KEY-0123"}`)
}

func (w *world) check(query string) (u struct {
	IsAvailable bool   `json:"is_available"`
	IsMandatory bool   `json:"is_mandatory"`
	Label       string `json:"label"`
	PackageHash string `json:"package_hash"`
	DownloadURL string `json:"download_url"`
	Size        int64  `json:"package_size"`
}) {
	w.Helper()
	res, err := http.Get(w.web.URL + "/v0.1/public/codepush/update_check?deployment_key=SHIPPED-KEY-0123&app_version=1.2.0&" + query)
	if err != nil {
		w.Fatal(err)
	}
	defer res.Body.Close()
	root := map[string]json.RawMessage{}
	if err := json.NewDecoder(res.Body).Decode(&root); err != nil {
		w.Fatal(err)
	}
	if err := json.Unmarshal(root["update_info"], &u); err != nil {
		w.Fatal(err)
	}
	return u
}

const v1 = "cf88b157f9351c02bddd20a46c28f17d53670d38d92f34b9763731c0aed32eeb"

func first(t testing.TB) []byte {
	return zipped(t, "CodePush/index.android.bundle", "console.log(1)\n", "CodePush/assets/a.txt", "a\n", "CodePush/assets/b.txt", "b\n")
}

// TestAReleaseReachesClients: the hash is the original's, disabling hides, a rollback is something new.
func TestAReleaseReachesClients(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.mine()
	if status, text := w.release("Production", `{"appVersion":"^1.0.0","isMandatory":true}`, first(t)); status != 201 || !strings.Contains(text, v1) {
		t.Fatalf("%d %s", status, text)
	}
	if u := w.check("client_unique_id=c"); !u.IsAvailable || u.Label != "v1" || u.PackageHash != v1 || !u.IsMandatory {
		t.Errorf("a new device: %+v", u)
	}
	if status, _ := w.release("Production", `{"appVersion":"^1.0.0"}`, first(t)); status != 409 {
		t.Errorf("the same again: %d", status)
	}
	if status, text := w.release("Production", `{"appVersion":"^1.0.0","rollout":30}`, zipped(t, "CodePush/index.android.bundle", "2")); status != 201 {
		t.Fatalf("%d %s", status, text)
	}
	if status, _ := w.release("Production", `{"appVersion":"^1.0.0"}`, zipped(t, "CodePush/index.android.bundle", "3")); status != 409 {
		t.Errorf("over an unfinished rollout: %d", status)
	}
	in := 0
	for i := range 100 {
		if w.check(fmt.Sprintf("client_unique_id=device-%d", i)).Label == "v2" {
			in++
		}
	}
	if in < 15 || in > 45 {
		t.Errorf("%d of 100 in 30 %%", in)
	}
	w.must(409, "PATCH", "/apps/Mine/deployments/Production/release", `{"packageInfo":{"rollout":20}}`)
	w.must(200, "PATCH", "/apps/Mine/deployments/Production/release", `{"packageInfo":{"rollout":100}}`)
	w.must(204, "PATCH", "/apps/Mine/deployments/Production/release", `{"packageInfo":{}}`)
	if u := w.check("client_unique_id=c&label=v1&package_hash=" + v1); u.Label != "v2" || u.IsMandatory {
		t.Errorf("the next: %+v", u)
	}
	w.must(200, "PATCH", "/apps/Mine/deployments/Production/release", `{"packageInfo":{"isDisabled":true}}`)
	if u := w.check("client_unique_id=c&label=v1&package_hash=" + v1); u.IsAvailable {
		t.Errorf("a disabled release: %+v", u)
	}
	w.must(201, "POST", "/apps/Mine/deployments/Production/rollback/", "")
	if u := w.check("client_unique_id=c&label=v2&package_hash=0123"); u.Label != "v3" || u.PackageHash != v1 {
		t.Errorf("the way back: %+v", u)
	}
	w.must(404, "POST", "/apps/Mine/deployments/Production/rollback/v9", "")
}

// TestCountsAreRight: telling it again changes nothing.
func TestCountsAreRight(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.mine()
	if status, text := w.release("Production", `{"appVersion":"^1.0.0"}`, first(t)); status != 201 {
		t.Fatalf("%d %s", status, text)
	}
	tell := func(what, body string) {
		res, err := http.Post(w.web.URL+"/v0.1/public/codepush/report_status/"+what, "application/json", strings.NewReader(body))
		if err != nil || res.StatusCode != 200 {
			t.Fatalf("%v %v", res, err)
		}
		res.Body.Close()
	}
	for range 3 {
		tell("deploy", `{"deployment_key":"SHIPPED-KEY-0123","client_unique_id":"a","app_version":"1.2.0"}`)
		tell("deploy", `{"deployment_key":"SHIPPED-KEY-0123","client_unique_id":"b","app_version":"1.2.0"}`)
		tell("download", `{"deployment_key":"SHIPPED-KEY-0123","client_unique_id":"a","label":"v1"}`)
		tell("deploy", `{"deployment_key":"SHIPPED-KEY-0123","client_unique_id":"a","app_version":"1.2.0","label":"v1","status":"DeploymentSucceeded","previous_label_or_app_version":"1.2.0"}`)
	}
	text := w.must(200, "GET", "/apps/Mine/deployments/Production/metrics", "")
	if want := `{"metrics":{"1.2.0":{"active":1,"downloaded":0,"failed":0,"installed":0},"v1":{"active":1,"downloaded":1,"failed":0,"installed":1}}}`; text != want {
		t.Errorf("%s, want %s", text, want)
	}
}

// TestHostileUploads are refused and leave no label.
func TestHostileUploads(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.mine()
	link := func() []byte {
		var out bytes.Buffer
		z := zip.NewWriter(&out)
		h := &zip.FileHeader{Name: "CodePush/link"}
		h.SetMode(os.ModeSymlink | 0o777)
		f, err := z.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(f, "/etc/passwd")
		z.Close()
		return out.Bytes()
	}()
	good := first(t)
	for name, c := range map[string]struct {
		raw    []byte
		info   string
		status int
	}{
		"out of the tree": {zipped(t, "../evil", "x"), `{"appVersion":"1.0.0"}`, 400},
		"backslashes":     {zipped(t, `CodePush\..\evil`, "x"), `{"appVersion":"1.0.0"}`, 400},
		"absolute":        {zipped(t, "/etc/x", "x"), `{"appVersion":"1.0.0"}`, 400},
		"twice":           {zipped(t, "CodePush/a", "x", "CodePush/A", "y"), `{"appVersion":"1.0.0"}`, 400},
		"a link":          {link, `{"appVersion":"1.0.0"}`, 400},
		"a bomb":          {zipped(t, "CodePush/a", strings.Repeat("0", 3<<20)), `{"appVersion":"1.0.0"}`, 400},
		"too large":       {bytes.Repeat([]byte{1}, 1<<20+1), `{"appVersion":"1.0.0"}`, 413},
		"cut":             {good[:len(good)-30], `{"appVersion":"1.0.0"}`, 400},
		"nothing in it":   {zipped(t, "CodePush/", ""), `{"appVersion":"1.0.0"}`, 400},
		"empty":           {nil, `{"appVersion":"1.0.0"}`, 400},
		"no version":      {good, `{}`, 400},
		"a bad range":     {good, `{"appVersion":"latest"}`, 400},
		"a bad share":     {good, `{"appVersion":"1.0.0","rollout":0}`, 400},
		"no JSON":         {good, `{`, 400},
		"another hash":    {good, `{"appVersion":"1.0.0","packageHash":"` + strings.Repeat("0", 64) + `"}`, 400},
	} {
		if status, text := w.release("Production", c.info, c.raw); status != c.status {
			t.Errorf("%s: %d %s, want %d", name, status, text, c.status)
		}
	}
	if text := w.must(200, "GET", "/apps/Mine/deployments/Production/history", ""); text != `{"history":[]}` {
		t.Errorf("after refusals: %s", text)
	}
}

// TestKeysAndRoles: an access key does what its role allows, and guessing is slowed down.
func TestKeysAndRoles(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.mine()
	w.must(201, "POST", "/apps/Mine/collaborators/bob@example.com", "")
	var made struct{ AccessKey struct{ Name string } }
	if err := json.Unmarshal([]byte(w.must(201, "POST", "/accessKeys/", `{"friendlyName":"bob@example.com","ttl":86400000}`)), &made); err != nil {
		t.Fatal(err)
	}
	bob := made.AccessKey.Name
	for _, c := range []struct {
		method, path, body string
		status             int
	}{
		{"GET", "/authenticated", "", 200}, {"GET", "/apps/Mine", "", 200}, {"POST", "/apps/Mine/deployments/", `{"name":"X"}`, 403},
		{"DELETE", "/apps/Mine", "", 403}, {"GET", "/apps/shop/deployments", "", 403}, {"GET", "/accessKeys", "", 403},
		{"POST", "/apps/Mine/deployments/Production/rollback", "", 404},
	} {
		if status, text := w.as(bob, c.method, c.path, "application/json", c.body); status != c.status {
			t.Errorf("%s %s: %d %s, want %d", c.method, c.path, status, text, c.status)
		}
	}
	w.must(200, "PATCH", "/accessKeys/bob@example.com", `{"friendlyName":"Robert","ttl":1000}`)
	if text := w.must(200, "GET", "/accessKeys", ""); !strings.Contains(text, "robert") || strings.Contains(text, bob) {
		t.Errorf("keys: %s", text)
	}
	w.must(204, "DELETE", "/accessKeys/Robert", "")
	if status, _ := w.as(bob, "GET", "/authenticated", "", ""); status != 401 {
		t.Errorf("a removed key: %d", status)
	}
	w.must(409, "POST", "/apps/", `{"name":"Mine"}`)
	w.must(201, "POST", "/apps/", `{"name":"Other","manuallyProvisionDeployments":true}`)
	w.must(409, "POST", "/apps/Other/deployments", `{"name":"Production","key":"SHIPPED-KEY-0123"}`)
	last := 0
	for range 12 {
		last, _ = w.as("slp_wrong", "GET", "/authenticated", "", "")
	}
	if last != 429 {
		t.Errorf("guessing: %d", last)
	}
	w.must(200, "GET", "/authenticated", "") // a valid key works all the same
}

// TestImport from a running server, and from what was exported of it; again it finds nothing to do.
func TestImport(t *testing.T) {
	t.Parallel()
	old := newWorld(t)
	old.mine()
	for i, info := range []string{`{"appVersion":"^1.0.0","description":"one","isMandatory":true}`, `{"appVersion":"^1.0.0","rollout":25}`} {
		raw := first(t)
		if i == 1 {
			raw = zipped(t, "CodePush/index.android.bundle", "2")
		}
		if status, text := old.release("Production", info, raw); status != 201 {
			t.Fatalf("%d %s", status, text)
		}
	}
	old.check("")
	from := &transfer.Server{URL: old.web.URL + "/codepush", AccessKey: old.key}
	folder := transfer.Folder(t.TempDir())
	if r, err := folder.Save(t.Context(), from, "Mine"); err != nil || r.Releases != 2 || len(r.Missed) > 0 {
		t.Fatalf("export: %+v, %v", r, err)
	}
	for name, source := range map[string]transfer.Source{"server": from, "folder": folder} {
		t.Run(name, func(t *testing.T) {
			next := newWorld(t)
			to := &transfer.Server{URL: next.web.URL + "/codepush", AccessKey: next.key}
			if r, err := transfer.Import(t.Context(), source, to, "Mine", false); err != nil || r.Releases != 2 || r.Known != 0 || len(r.Missed) > 0 {
				t.Fatalf("%+v, %v", r, err)
			}
			if r, err := transfer.Import(t.Context(), source, to, "Mine", false); err != nil || r.Releases != 0 || r.Known != 2 || len(r.Missed) > 0 {
				t.Errorf("again: %+v, %v", r, err)
			}
			got, err := to.Read(t.Context(), "Mine")
			if err != nil {
				t.Fatal(err)
			}
			d := got.Apps[0].Deployments[0]
			if d.Key != "SHIPPED-KEY-0123" || len(d.History) != 2 || d.History[0].PackageHash != v1 || !d.History[0].IsMandatory || d.History[0].Description != "one" ||
				d.History[1].Label != "v2" || d.History[1].Rollout == nil || *d.History[1].Rollout != 25 {
				t.Errorf("%+v", d)
			}
			for i := range 20 {
				query := fmt.Sprintf("client_unique_id=device-%d", i)
				if a, b := old.check(query), next.check(query); a.Label != b.Label || a.PackageHash != b.PackageHash {
					t.Errorf("%s: %+v there, %+v here", query, a, b)
				}
			}
		})
	}
}

// FuzzRelease: whatever is sent, the server answers, and keeps nothing of what it refused.
func FuzzRelease(f *testing.F) {
	f.Add(zipped(f, "CodePush/a", "x"), `{"appVersion":"1.0.0"}`, "multipart/form-data; boundary=x")
	f.Add([]byte("PK\x03\x04"), `{"appVersion":"*","rollout":3}`, "")
	f.Add([]byte("plain"), `{"label":"v3","appVersion":"1"}`, "text/plain")
	w := newWorld(f)
	w.mine()
	f.Fuzz(func(t *testing.T, raw []byte, info, kind string) {
		inner, w := *w.World, &world{web: w.web, key: w.key}
		inner.TB, w.World = t, &inner
		if status, text := w.release("Production", info, raw); status >= 500 {
			t.Errorf("%d %s", status, text)
		}
		if status, text := w.call("POST", "/apps/Mine/deployments/Production/release", strings.Map(printable, kind), string(raw)); status >= 500 {
			t.Errorf("%d %s", status, text)
		}
		if status, text := w.call("PATCH", "/apps/Mine/deployments/Production/release", "application/json", info); status >= 500 {
			t.Errorf("%d %s", status, text)
		}
	})
}

func printable(r rune) rune {
	if r < ' ' || r > '~' {
		return -1
	}
	return r
}
