package codepush

import (
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/protocol"
	"github.com/slipstream-ota/slipstream/rollout"
	"github.com/slipstream-ota/slipstream/store"
)

// TestReportsCountOnce: however often a client tells something, and however it mixes the order, a device counts once.
func TestReportsCountOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	digest := w.release("1.0.0", map[string]string{"main.jsbundle": "1"})
	deploy, download := current+"report_status/deploy", current+"report_status/download"
	report := func(client, status, rest string) string {
		return `{"app_version":"1.0.0","deployment_key":"` + prodKey + `","client_unique_id":"` + client + `","label":"v1","status":"` + status + `"` + rest + `}`
	}
	for range 3 {
		for _, code := range []int{
			w.post(deploy, `{"app_version":"1.0.0","deployment_key":"`+prodKey+`","client_unique_id":"a"}`),
			w.post(download, `{"deployment_key":"`+prodKey+`","client_unique_id":"a","label":"v1"}`),
			w.post(deploy, report("a", statusSucceeded, `,"previous_label_or_app_version":"1.0.0"`)),
			w.post(deploy, report("b", statusFailed, "")),
			w.post(deploy, report("c", statusSucceeded, "")),
			w.post(deploy, strings.Replace(report("d", statusSucceeded, ""), "v1", "v8", 1)),
			w.post(deploy, strings.Replace(report("", statusSucceeded, ""), "v1", "v1", 1)),
		} {
			if code != http.StatusOK {
				t.Fatalf("status %d", code)
			}
		}
	}
	want := map[string]int64{"enrolled": 3, "fetched": 1, "confirmed": 2, "rolled_back": 1}
	for kind, n := range want {
		if got := w.Counts()[kind]; got != n {
			t.Errorf("%s: %d devices, want %d", kind, got, n)
		}
	}
	running, err := w.Store.Reports().Fleet().Running(w.Context(), "shop", "main")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range running {
		if r.Release == digest && r.Devices != 2 || r.Release == "" && r.Devices != 1 {
			t.Errorf("running: %+v", running)
		}
	}
	tally, err := w.Store.Reports().Trials().Tally(w.Context(), w.RolloutOf("1.0.0"))
	if err != nil {
		t.Fatal(err)
	}
	if got := tally[slipstream.ArmTreatment]; got.Enrolled != 3 || got.Confirmed != 2 || got.Failed != 1 {
		t.Errorf("the guard sees %+v", got)
	}
}

// TestUnknownKeysGrowNothing: they are slowed down, and leave nothing behind; those who know a key are not touched.
func TestUnknownKeysGrowNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	w.release("1.0.0", map[string]string{"main.jsbundle": "1"})
	codes := map[int]int{}
	for i := range 200 {
		codes[w.post("/reportStatus/deploy", fmt.Sprintf(`{"appVersion":"1.0.0","deploymentKey":"UNKNOWN-%010d","clientUniqueId":"x"}`, i))]++
	}
	if codes[http.StatusNotFound] != protocol.MissBurst || codes[http.StatusTooManyRequests] != 200-protocol.MissBurst {
		t.Errorf("answers %v", codes)
	}
	events, err := w.Store.Reports().Events(w.Context(), store.EventQuery{App: "shop"})
	if err != nil || len(events) != 0 {
		t.Errorf("%d events, %v", len(events), err)
	}
	if u := w.check(""); !u.IsAvailable {
		t.Error("a known key is refused as well")
	}
	w.later = time.Hour
	if code := w.post("/reportStatus/deploy", `{"appVersion":"1.0.0","deploymentKey":"UNKNOWN-0123456789"}`); code != http.StatusNotFound {
		t.Errorf("an hour later: %d", code)
	}
}

// TestAKeyStaysWithWhoNamedItFirst: naming another app's key does not take its devices over.
func TestAKeyStaysWithWhoNamedItFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	w.release("1.0.0", map[string]string{"main.jsbundle": "1"})
	w.later = time.Hour
	if err := w.Rollout.CreateApp(w.Context(), "test", rollout.AppSpec{Name: "a-thief"}); err != nil {
		t.Fatal(err)
	}
	err := w.Store.Update(w.Context(), func(tx store.Tx) error {
		var rows []store.StateRow
		row, err := tx.States().Get(w.Context(), "shop", "production", slipstream.PlatformAny)
		if rows = append(rows, row); err != nil {
			return err
		}
		rows[0].App = "a-thief"
		if _, err := tx.States().Get(w.Context(), "a-thief", "production", slipstream.PlatformAny); errors.Is(err, slipstream.ErrNotFound) {
			if err := tx.Channels().Create(w.Context(), store.Channel{App: "a-thief", Name: "production"}); err != nil && !errors.Is(err, slipstream.ErrConflict) {
				return err
			}
			if err := tx.States().Put(w.Context(), rows[0]); err != nil {
				return err
			}
		}
		return protocol.Enable(w.Context(), tx, Protocol{}, "a-thief", []byte(`{"deployments":{"production":"`+prodKey+`"}}`))
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.book.Refresh(w.Context()); err != nil {
		t.Fatal(err)
	}
	if d := w.book.current.Load().byKey[prodKey]; d == nil || d.app != "shop" {
		t.Errorf("the key belongs to %+v", d)
	}
}

// FuzzRequests: whatever a stranger sends ends in a refusal or in what lies within the limits.
func FuzzRequests(f *testing.F) {
	f.Add("deployment_key="+prodKey+"&app_version=1.0&package_hash=x&label=v1&client_unique_id=a", []byte(`{"deployment_key":"`+prodKey+`","label":"v1"}`))
	f.Add("deploymentKey="+prodKey+"%0D%0A&appVersion=2&packageHash=&isCompanion=&label=", []byte(`{"appVersion":"1","deploymentKey":"`+prodKey+`","status":"DeploymentFailed","label":"v2"}`))
	f.Add("app_version=%zz;&&=", []byte(`{"label":{},"deployment_key":[]}`))
	f.Add("", []byte("null"))
	f.Fuzz(func(t *testing.T, raw string, body []byte) {
		if q, err := parseQuery(raw); err == nil {
			if !validKey(q.key) || len(q.said) > maxText || len(q.client) > maxText || len(q.label) > maxText {
				t.Fatalf("query %+v", q)
			}
			d := &deployment{}
			if at := d.position(q.client)("ro", "id"); at < 0 || at >= slipstream.FullShare {
				t.Fatalf("position %d", at)
			}
		}
		for _, download := range []bool{false, true} {
			if r, err := parseReport(body, download); err == nil && (!validKey(r.key) || len(r.label) > maxText || len(r.client) > maxText) {
				t.Fatalf("report %+v", r)
			}
		}
	})
}

// FuzzToken: no bytes make a token that is taken without its key.
func FuzzToken(f *testing.F) {
	f.Add("a.b.c")
	f.Add("eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJjb250ZW50SGFzaCI6IngifQ.AAAA")
	f.Add("eyJhbGciOiJub25lIn0.eyJjb250ZW50SGFzaCI6IiJ9.")
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, token string) {
		claimed, err := contentHash(token)
		if err != nil {
			return
		}
		if verify(token, slipstream.Digest(claimed), &key.PublicKey) == nil {
			t.Fatalf("%q was taken", token)
		}
	})
}
