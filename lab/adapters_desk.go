package lab

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime/multipart"
	"net/http"
	"time"

	"github.com/slipstream-ota/slipstream/api"
)

const (
	quickDeskKills = 2 // each after a release by CodePush's own tool
	fullDeskKills  = 40
	deskApp        = "desk"
	deskDeployment = "/codepush/apps/" + deskApp + "/deployments/"
	deskDeviceKey  = "lab-desk-deployment-key-0123"
)

// desk is the life of a team at the management surface: an app, its key, releases that are there after a kill, one that is
// disabled, one that comes back.
func (f *foreignClients) desk(ctx context.Context) error {
	t, err := f.author.server.CreateToken(ctx, api.NewToken{Name: "lab-desk", Role: "owner"})
	if err != nil {
		return fmt.Errorf("make token: %w", err)
	}
	f.deskKey = t.Secret
	for _, call := range [][3]string{
		{http.MethodPost, "/codepush/apps", `{"name":"` + deskApp + `"}`},
		{http.MethodPatch, deskDeployment + "Production", `{"key":"` + deskDeviceKey + `"}`},
	} {
		if _, err := f.atDesk(ctx, call[0], call[1], []byte(call[2]), "application/json"); err != nil {
			return err
		}
	}
	kills := fullDeskKills
	if f.quick {
		kills = quickDeskKills
	}
	var first, last deskRelease
	for n := range kills {
		if last, err = f.deskReleases(ctx, fmt.Sprint("bundle ", n)); err != nil {
			return err
		}
		if n == 0 {
			first = last
		}
		if err := f.author.service.kill(); err != nil {
			return err
		}
		if _, err := f.author.service.start(ctx); err != nil {
			return err
		}
		f.kills++
		if err := f.deskOffers(ctx, last, "after a kill"); err != nil {
			return err
		}
	}
	if _, err := f.atDesk(ctx, http.MethodPost, deskDeployment+"Production/rollback/v1", nil, "application/json"); err != nil {
		return err
	}
	if err := f.deskOffers(ctx, deskRelease{fmt.Sprintf("v%d", kills+1), first.PackageHash}, "after a roll back"); err != nil {
		return err
	}
	if _, err := f.atDesk(ctx, http.MethodPatch, deskDeployment+"Production/release", []byte(`{"packageInfo":{"isDisabled":true}}`), "application/json"); err != nil {
		return err
	}
	if err := f.deskOffers(ctx, last, "after the newest was disabled"); err != nil {
		return err
	}
	return f.deskStrangers(ctx)
}

// deskRelease is what the surface answers about a release.
type deskRelease struct{ Label, PackageHash string }

func (f *foreignClients) atDesk(ctx context.Context, method, path string, body []byte, kind string) (answer, error) {
	a, err := f.request(ctx, method, path, body, "Content-Type", kind, "Authorization", "Bearer "+f.deskKey)
	if err == nil && a.status/100 != 2 {
		err = fmt.Errorf("%s %s: status %d %.200s", method, path, a.status, a.body)
	}
	f.step(1)
	return a, err
}

// deskBody is a release as the tool sends it.
func deskBody(bundle, info string) (body []byte, kind string, err error) {
	var packed, out bytes.Buffer
	z := zip.NewWriter(&packed)
	w, err := z.Create("CodePush/main.jsbundle")
	if err == nil {
		_, err = w.Write([]byte(bundle))
	}
	err = errors.Join(err, z.Close())
	m := multipart.NewWriter(&out)
	if p, perr := m.CreateFormFile("package", "update.zip"); perr == nil {
		_, perr = p.Write(packed.Bytes())
		err = errors.Join(err, perr)
	} else {
		err = errors.Join(err, perr)
	}
	err = errors.Join(err, m.WriteField("packageInfo", info), m.Close())
	return out.Bytes(), m.FormDataContentType(), err
}

func (f *foreignClients) deskReleases(ctx context.Context, bundle string) (deskRelease, error) {
	body, kind, err := deskBody(bundle, `{"appVersion":"^1.0.0"}`)
	if err != nil {
		return deskRelease{}, err
	}
	a, err := f.atDesk(ctx, http.MethodPost, deskDeployment+"Production/release", body, kind)
	if err != nil {
		return deskRelease{}, err
	}
	var out struct {
		Package deskRelease `json:"package"`
	}
	return out.Package, json.Unmarshal(a.body, &out)
}

// deskOffers waits until a device is offered a release, and takes it.
func (f *foreignClients) deskOffers(ctx context.Context, want deskRelease, when string) error {
	var info struct {
		UpdateInfo struct {
			DownloadURL string `json:"download_url"`
			Label       string `json:"label"`
			PackageHash string `json:"package_hash"`
			PackageSize int    `json:"package_size"`
		} `json:"update_info"`
	}
	f.step(1)
	for deadline := time.Now().Add(15 * time.Second); time.Now().Before(deadline); {
		a, err := f.request(ctx, http.MethodGet, "/v0.1/public/codepush/update_check?app_version=1.0.0&deployment_key="+deskDeviceKey, nil)
		if err != nil {
			return err
		}
		u := &info.UpdateInfo
		if json.Unmarshal(a.body, &info) == nil && u.Label == want.Label && u.PackageHash == want.PackageHash {
			got, err := f.request(ctx, http.MethodGet, u.DownloadURL[len(f.author.service.url):], nil)
			if err == nil && (got.status != http.StatusOK || len(got.body) != u.PackageSize) {
				f.wrongf("the package of %s, %s: status %d and %d bytes of %d", u.Label, when, got.status, len(got.body), u.PackageSize)
			}
			return err
		}
		if err := sleepFor(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
	f.wrongf("a device is not offered %+v %s but %+v", want, when, info.UpdateInfo)
	return nil
}

// deskStrangers are those who have no key, one of another app, or one that only looks; and somebody who may release, but
// to another deployment than is looked at.
func (f *foreignClients) deskStrangers(ctx context.Context) error {
	keys := map[string]string{"nobody": ""}
	for who, t := range map[string]api.NewToken{
		"somebody of another app": {Name: "lab-other", Role: "owner", App: serviceApp},
		"a viewer":                {Name: "lab-viewer", Role: "viewer", App: deskApp},
		"a publisher":             {Name: "lab-publisher", Role: "publisher", App: deskApp},
	} {
		made, err := f.author.server.CreateToken(ctx, t)
		if err != nil {
			return fmt.Errorf("make token: %w", err)
		}
		keys[who] = made.Secret
	}
	body, kind, err := deskBody("of a stranger", `{"appVersion":"1.0.0","rollout":20}`)
	if err != nil {
		return err
	}
	for who, key := range keys {
		deployment := deskDeployment + "Production"
		if who == "a publisher" {
			deployment = deskDeployment + "Staging"
		}
		f.desks = append(f.desks,
			surface{"release by " + who, http.MethodPost, deployment + "/release", string(body), plainText, key, kind},
			surface{"patch by " + who, http.MethodPatch, deployment + "/release", `{"packageInfo":{"rollout":50,"isDisabled":true}}`, plainText, key, ""},
			surface{"rollback by " + who, http.MethodPost, deployment + "/rollback/v1", "", plainText, key, ""})
		if who != "a publisher" {
			f.desks = append(f.desks, surface{"promote by " + who, http.MethodPost, deskDeployment + "Staging/promote/Production", `{"packageInfo":{"appVersion":"1.x"}}`, plainText, key, ""},
				surface{"deployment by " + who, http.MethodPatch, deployment, `{"name":"Mine","key":"lab-stolen-key-0123456789"}`, plainText, key, ""},
				surface{"key by " + who, http.MethodPost, "/codepush/accessKeys", `{"friendlyName":"mine","ttl":1000}`, plainText, key, ""},
				surface{"app by " + who, http.MethodPatch, "/codepush/apps/" + deskApp, `{"name":"mine"}`, plainText, key, ""})
		}
	}
	return nil
}

// deskStored is what strangers must not change at the desk.
func (f *foreignClients) deskStored(ctx context.Context) (string, error) {
	out := ""
	for _, path := range []string{"/codepush/apps/" + deskApp, deskDeployment + "Production", deskDeployment + "Production/history"} {
		a, err := f.request(ctx, http.MethodGet, path, nil, "Authorization", "Bearer "+f.deskKey)
		if err != nil {
			return "", err
		}
		out += fmt.Sprintf("%d %s\n", a.status, a.body)
	}
	return out, nil
}
