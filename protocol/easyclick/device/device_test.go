package device

import (
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/protocol"
	"github.com/slipstream-ota/slipstream/protocol/easyclick"
	"github.com/slipstream-ota/slipstream/protocol/protocoltest"
	"github.com/slipstream-ota/slipstream/rollout"
)

func TestAgainstOurServer(t *testing.T) {
	t.Parallel()
	w := protocoltest.New(t, easyclick.Protocol{})
	w.Enable("")
	all := &rollout.Offer{Channel: "production", To: slipstream.FullShare}
	w.Publish(protocoltest.Release{Version: "1.0.0", Files: map[string]string{"main.iec": "script one"}, Offer: all})
	var base string
	server := httptest.NewServer(easyclick.New(easyclick.Config{Catalogue: w.Keeper.Catalogue, Decider: w.Devices, Bytes: w.Devices.Handler(),
		BaseURL: func(*http.Request) string { return base }}))
	defer server.Close()
	base = server.URL
	u := &Updater{Config: Config{UpdateURL: base + "/easyclick/shop/production/update", Version: "1.0.0", AppendDeviceInfo: true},
		Info: Info{AndroidID: "82a3b055470ebe1a", Model: "LNA AL00"}, Dir: t.TempDir(), Client: server.Client()}
	if u.UpdateReq(t.Context(), Request{}) || u.ErrorMsg() == "" || u.UpdateResp() != "" {
		t.Fatalf("up to date, and yet: %q, %q", u.ErrorMsg(), u.UpdateResp())
	}
	w.Publish(protocoltest.Release{Version: "1.1.0", Files: map[string]string{"main.iec": "script two"}, Offer: all})
	if !u.UpdateReq(t.Context(), Request{}) {
		t.Fatalf("no update: %s", u.ErrorMsg())
	}
	if !strings.Contains(u.UpdateResp(), `"version":"1.1.0"`) || u.Response().Version != "1.1.0" {
		t.Errorf("the answer is %s", u.UpdateResp())
	}
	path := u.UpdateDownload(t.Context())
	if path == "" {
		t.Fatalf("no download: %s", u.ErrorMsg())
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "script two" {
		t.Errorf("downloaded %q, %v", got, err)
	}
	if u.UpdateReq(t.Context(), Request{Version: "1.1.0"}) {
		t.Error("an update for who has it")
	}
}

// TestAgainstTheDocument runs a server that follows the document and nothing else.
func TestAgainstTheDocument(t *testing.T) {
	t.Parallel()
	script := "the compiled script"
	sum := md5.Sum([]byte(script))
	good := hex.EncodeToString(sum[:])
	for name, c := range map[string]struct {
		answer   string
		file     func(w http.ResponseWriter, r *http.Request)
		found    bool
		failWith string
	}{
		"plain answer":          {answer: `{"download_url":"%s/aaa.iec","version":"1.1.0","dialog":true,"msg":"优化部分问题","force":false}`, found: true},
		"with md5":              {answer: `{"download_url":"%s/aaa.iec","version":"1.1.0","dialog":true,"msg":"","force":false,"md5":"` + strings.ToUpper(good) + `","download_timeout":60}`, found: true},
		"integer version":       {answer: `{"download_url":"%s/aaa.iec","version":8}`, found: true},
		"relative address":      {answer: `{"download_url":"/aaa.iec","version":"2"}`, found: true},
		"empty":                 {answer: ``, failWith: "no update"},
		"spaces":                {answer: " \n", failWith: "no update"},
		"no json":               {answer: `<html>`, failWith: "the answer is no update"},
		"no address":            {answer: `{"version":"2"}`, failWith: "no download_url"},
		"another scheme":        {answer: `{"download_url":"file:///etc/passwd","version":"2"}`, found: true, failWith: "is no address"},
		"wrong md5":             {answer: `{"download_url":"%s/aaa.iec","version":"2","md5":"00"}`, found: true, failWith: "has MD5"},
		"file not there":        {answer: `{"download_url":"%s/none","version":"2"}`, found: true, failWith: "404"},
		"cut off":               {answer: `{"download_url":"%s/cut","version":"2"}`, found: true, failWith: "download"},
		"never ends":            {answer: `{"download_url":"%s/drip","version":"2","download_timeout":1}`, found: true, failWith: "deadline"},
		"an answer of megabyte": {answer: `{"download_url":"%s/aaa.iec","msg":"` + strings.Repeat("x", 1<<20) + `"}`, failWith: "larger than"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var server *httptest.Server
			server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch r.URL.Path {
				case "/update":
					if q := r.URL.Query(); q.Get("version") != "1.0.0" || q.Get("kept") != "1" || !q.Has("androidId") {
						t.Errorf("asked with %s", r.URL.RawQuery)
					}
					_, _ = io.WriteString(w, strings.ReplaceAll(c.answer, "%s", server.URL))
				case "/aaa.iec":
					_, _ = io.WriteString(w, script)
				case "/cut":
					w.Header().Set("Content-Length", "100")
					_, _ = io.WriteString(w, script)
				case "/drip":
					for range 100 {
						_, _ = io.WriteString(w, "x")
						_ = http.NewResponseController(w).Flush()
						select {
						case <-r.Context().Done():
							return
						case <-time.After(100 * time.Millisecond):
						}
					}
				default:
					http.NotFound(w, r)
				}
			}))
			defer server.Close()
			dir := t.TempDir()
			u := &Updater{Config: Config{UpdateURL: server.URL + "/update?kept=1", Version: "1.0.0", AppendDeviceInfo: true}, Dir: dir, Client: server.Client()}
			if got := u.UpdateReq(t.Context(), Request{}); got != c.found {
				t.Fatalf("an update: %v, %s", got, u.ErrorMsg())
			}
			if c.found {
				path := u.UpdateDownload(t.Context())
				if (path == "") != (c.failWith != "") {
					t.Fatalf("downloaded %q: %s", path, u.ErrorMsg())
				}
			}
			if !strings.Contains(u.ErrorMsg(), c.failWith) || c.failWith == "" && u.ErrorMsg() != "" {
				t.Errorf("the error is %q, want %q", u.ErrorMsg(), c.failWith)
			}
			if left, err := filepath.Glob(filepath.Join(dir, ".download-*")); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Config{
		`{"update_url":"http://baidu.com/update","version":"1.0.0","appendDeviceInfo":true,"timeout":30000}`: {"http://baidu.com/update", "1.0.0", true, 30000},
		`{"update_url":"http://baidu.com/update","version":7}`:                                               {"http://baidu.com/update", "7", false, 0},
	} {
		path := filepath.Join(t.TempDir(), "update.json")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := ReadConfig(path); err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{``, `{"version":true}`, `{"update_url":"x", // comment` + "\n" + `"version":"1"}`} {
		path := filepath.Join(t.TempDir(), "update.json")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadConfig(path); err == nil {
			t.Errorf("%q is no update.json", text)
		}
	}
}

func TestBadCalls(t *testing.T) {
	t.Parallel()
	for _, c := range []Config{{}, {UpdateURL: "baidu.com/update", Version: "1"}, {UpdateURL: "http://127.0.0.1:1/x"}, {UpdateURL: "http://127.0.0.1:1/x", Version: "1"}} {
		u := &Updater{Config: c, Dir: t.TempDir()}
		if u.UpdateReq(t.Context(), Request{}) || u.ErrorMsg() == "" {
			t.Errorf("%+v: %q", c, u.ErrorMsg())
		}
		if u.UpdateDownload(t.Context()) != "" || !strings.Contains(u.ErrorMsg(), "ask first") {
			t.Errorf("%+v downloads: %q", c, u.ErrorMsg())
		}
	}
}

func TestATimeoutBelowTheMinimumIsRaised(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(200 * time.Millisecond)
		fmt.Fprint(w, `{"download_url":"/x"}`)
	}))
	defer server.Close()
	u := &Updater{Config: Config{UpdateURL: server.URL, Version: "1", Timeout: 1}, Dir: t.TempDir()}
	if !u.UpdateReq(t.Context(), Request{}) {
		t.Error(u.ErrorMsg())
	}
}

// TestWhoIsSlowedDownKeepsTheScript: a device whose network asks for many unknown apps gets 429 with an empty body, which
// its client takes for no update; and a device of a known app there is answered as ever.
func TestWhoIsSlowedDownKeepsTheScript(t *testing.T) {
	t.Parallel()
	w := protocoltest.New(t, easyclick.Protocol{})
	w.Enable("")
	w.Publish(protocoltest.Release{Version: "1.1.0", Files: map[string]string{"main.iec": "script"}, Offer: &rollout.Offer{Channel: "production", To: slipstream.FullShare}})
	patient := easyclick.New(easyclick.Config{Catalogue: w.Keeper.Catalogue, Decider: w.Devices, Bytes: w.Devices.Handler(), BaseURL: protocoltest.BaseURL,
		Clock: func() time.Time { return w.Now }})
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		r.RemoteAddr = "203.0.113.9:4711" // this machine itself is not limited
		patient.ServeHTTP(rw, r)
	}))
	defer server.Close()
	ask := func(app string) (*Updater, bool) {
		u := &Updater{Config: Config{UpdateURL: server.URL + "/easyclick/" + app + "/production/update", Version: "1.0.0"}, Dir: t.TempDir(), Client: server.Client()}
		return u, u.UpdateReq(t.Context(), Request{})
	}
	codes := map[int]int{}
	for i := range protocol.MissBurst + 5 {
		res, err := server.Client().Get(fmt.Sprintf("%s/easyclick/unknown-%d/production/update?version=1.0.0", server.URL, i))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || len(body) > 0 {
			t.Errorf("an unknown app is answered with %q, %v", body, err)
		}
		if res.StatusCode == http.StatusTooManyRequests && res.Header.Get("Retry-After") == "" {
			t.Error("429 does not say how long to wait")
		}
		codes[res.StatusCode]++
	}
	if codes[http.StatusNotFound] != protocol.MissBurst || codes[http.StatusTooManyRequests] != 5 {
		t.Errorf("answers %v", codes)
	}
	u, found := ask("unknown")
	if found || u.UpdateResp() != "" || !strings.Contains(u.ErrorMsg(), "429") || u.UpdateDownload(t.Context()) != "" {
		t.Errorf("who is slowed down: found %v, answer %q, %s", found, u.UpdateResp(), u.ErrorMsg())
	}
	if u, found := ask("shop"); !found {
		t.Errorf("a known app from there: %s", u.ErrorMsg())
	}
}
