package manage_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/slipstream-ota/slipstream/auth"
	"github.com/slipstream-ota/slipstream/rollout"
	"github.com/slipstream-ota/slipstream/store"
)

// tenant makes the app aaa, which comes before all others, and gives the key of somebody who owns that one alone.
func (w *world) tenant() string {
	w.Helper()
	w.must(201, "POST", "/apps/", `{"name":"aaa"}`)
	_, secret, err := auth.New(auth.Config{Store: w.Store}).Create(w.Context(), "test", auth.Spec{Name: "tenant", Role: auth.Owner, App: "aaa"})
	if err != nil {
		w.Fatal(err)
	}
	return secret
}

// TestNobodyTakesAnAppByItsName: whoever may name one app cannot have what is meant for another one, nor reach it.
func TestNobodyTakesAnAppByItsName(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.mine()
	theirs := w.tenant()
	for _, name := range []string{"Mine", "mine"} {
		if status, text := w.as(theirs, "PATCH", "/apps/aaa", "application/json", `{"name":"`+name+`"}`); status != http.StatusConflict {
			t.Errorf("renamed to %s: %d %s", name, status, text)
		}
	}
	// Our own API sets what an app is called without asking whether another one is.
	if err := w.Rollout.SaveApp(t.Context(), "tenant", rollout.AppSpec{Name: "aaa", Display: "Mine", Kind: "codepush"}); err != nil {
		t.Fatal(err)
	}
	w.ship("Production", `{"appVersion":"1.2.0"}`, "for Mine")
	if h := w.history("Production"); len(h) != 1 {
		t.Errorf("the app has %+v", h)
	}
	if text := w.must(200, "GET", "/apps/aaa/deployments/Production/history", ""); strings.Contains(text, "v1") {
		t.Errorf("the other app has %s", text)
	}
	for _, path := range []string{"/apps/Mine", "/apps/mine/deployments", "/apps/mallory:Mine/deployments/Production/history"} {
		if status, text := w.as(theirs, "GET", path, "", ""); status != http.StatusForbidden {
			t.Errorf("%s: %d %s", path, status, text)
		}
	}
}

// TestANameThatIsTakenMakesNoApp: also when it is only what another app is called.
func TestANameThatIsTakenMakesNoApp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	theirs := w.tenant()
	if status, text := w.as(theirs, "PATCH", "/apps/aaa", "application/json", `{"name":"Next Big Thing"}`); status != http.StatusOK {
		t.Fatalf("%d %s", status, text)
	}
	w.must(409, "POST", "/apps/", `{"name":"Next Big Thing"}`)
	if err := w.Rollout.CreateApp(t.Context(), "test", rollout.AppSpec{Name: "zzz", Display: "Next Big Thing"}); err != nil {
		t.Fatal(err)
	}
	if text := w.must(409, "GET", "/apps/Next%20Big%20Thing", ""); !strings.Contains(text, "aaa, zzz") {
		t.Errorf("two apps of one name: %s", text)
	}
	w.must(200, "GET", "/apps/aaa", "")
}

// TestADeploymentNameMeansOne: a channel that is there under a name does not become a second deployment of that name.
func TestADeploymentNameMeansOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.mine()
	if _, err := w.Rollout.CreateChannel(t.Context(), "test", rollout.ChannelSpec{App: "mine", Name: "beta"}); err != nil {
		t.Fatal(err)
	}
	w.must(200, "PATCH", "/apps/Mine/deployments/Production", `{"name":"beta"}`)
	w.must(409, "POST", "/apps/Mine/deployments", `{"name":"beta"}`)
	w.must(400, "POST", "/apps/Mine/deployments", `{"name":"Fresh","key":"short"}`)
	var names []string
	if err := w.Store.View(t.Context(), func(tx store.Tx) error {
		list, err := tx.Channels().List(t.Context(), "mine")
		for _, c := range list {
			names = append(names, c.Name)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if slices.Contains(names, "fresh") {
		t.Errorf("a refused deployment left a channel: %v", names)
	}
}
