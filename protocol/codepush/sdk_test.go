package codepush

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/protocol/protocoltest"
)

// seen is what device.js prints.
type seen struct {
	Update *struct {
		AppVersion, DownloadURL, Label, PackageHash string
		IsMandatory, UpdateAppVersion               bool
		PackageSize                                 int64
	}
	Download *struct {
		Status         int
		Length, Coding *string
		Bytes          int64
		Magic          string
	}
}

// TestTheRealSDKs drives the acquisition SDKs of apps, of either dialect, against a server.
func TestTheRealSDKs(t *testing.T) {
	t.Parallel()
	dir := protocoltest.NPM(t, "the acquisition SDKs", filepath.Join("testdata", "sdk"), "device.js")
	for _, sdk := range []string{"code-push", "code-push-legacy"} {
		t.Run(sdk, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "")
			var web *httptest.Server
			w.server, w.book = newServer(w.World, func(*http.Request) string { return web.URL }, w.clock)
			w.Book = w.book
			web = httptest.NewServer(w.server)
			t.Cleanup(web.Close)
			device := func(args ...string) (seen, error) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				c := exec.CommandContext(ctx, "node", append([]string{"device.js", sdk}, args...)...)
				c.Dir = dir
				var stderr bytes.Buffer
				c.Stderr = &stderr
				out, err := c.Output()
				if err != nil {
					return seen{}, &failed{stderr.String()}
				}
				var s seen
				return s, json.Unmarshal(out, &s)
			}
			drive(t, w, web.URL, device)
		})
	}
}

type failed struct{ text string }

func (f *failed) Error() string { return f.text }

func drive(t *testing.T, w *world, url string, device func(args ...string) (seen, error)) {
	t.Helper()
	must := func(args ...string) seen {
		t.Helper()
		s, err := device(args...)
		if err != nil {
			t.Fatalf("%v: %v", args, err)
		}
		return s
	}
	long := strings.Repeat("console.log('one');\n", 100) + "é"
	w.release("1.0.0", map[string]string{"main.jsbundle": long, "assets/x.png": strings.Repeat("x", 300)})
	first := must(url, prodKey, "1.0", "device-1")
	if u := first.Update; u == nil || u.AppVersion != "1.0" || u.Label != "v1" || u.IsMandatory {
		t.Fatalf("a new device: %+v", u)
	}
	if d := first.Download; d.Status != http.StatusOK || d.Length == nil || *d.Length != strconv.FormatInt(first.Update.PackageSize, 10) || d.Coding != nil || d.Bytes != first.Update.PackageSize || d.Magic != "504b0304" {
		t.Errorf("the download: %+v of %d", d, first.Update.PackageSize)
	}
	if s := must(url, prodKey, "1.0", "device-1", first.Update.PackageHash, "v1"); s.Update != nil {
		t.Errorf("a device that is up to date: %+v", s.Update)
	}
	w.Publish(releaseFor("2.0.0", ">=2.0.0", map[string]string{"main.jsbundle": "2", "assets/x.png": strings.Repeat("x", 300)}))
	w.Settle()
	if s := must(url+"/", prodKey, "1.0.0", "device-2", first.Update.PackageHash, "v1"); s.Update == nil || !s.Update.UpdateAppVersion || s.Update.AppVersion != ">=2.0.0" {
		t.Errorf("an old binary: %+v", s.Update)
	}
	// A prefix in the server's address is kept by the SDK. The difference is for the hash that it sends.
	next := must(url+"/codepush/", prodKey+"\r\n", "2.0.0", "device-1", first.Update.PackageHash, "v1")
	if next.Update == nil || next.Update.Label != "v2" || next.Download.Magic != "504b0304" {
		t.Fatalf("the next release: %+v", next)
	}
	if _, err := device(url, "UNKNOWN-0123456789", "1.0.0", "device-1"); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("an unknown key: %v", err)
	}
	got := w.Counts()
	for kind, n := range map[string]int64{"enrolled": 2, "fetched": 2, "confirmed": 2} {
		if got[kind] != n {
			t.Errorf("%s: %d, want %d (of one device and two releases)", kind, got[kind], n)
		}
	}
	running, err := w.Store.Reports().Fleet().Running(t.Context(), "shop", slipstream.DefaultPackage)
	if err != nil {
		t.Fatal(err)
	}
	devices := int64(0)
	for _, r := range running {
		devices += r.Devices
	}
	if devices != 2 {
		t.Errorf("the fleet: %+v", running)
	}
}
