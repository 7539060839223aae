package manage_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/protocol/codepush"
	"github.com/slipstream-ota/slipstream/protocol/protocoltest"
	"github.com/slipstream-ota/slipstream/store"
)

// TestWhoSendsSlowlyHoldsNobodyUp: uploads that do not end leave the way free for others.
func TestWhoSendsSlowlyHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.mine()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 8)
	for range cap(ended) {
		body, end := io.Pipe()
		go func() {
			_, _ = io.WriteString(end, "--x\r\nContent-Disposition: form-data; name=\"package\"; filename=\"a\"\r\n\r\nPK")
			<-ctx.Done()
			end.Close()
		}()
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.web.URL+"/codepush/apps/Mine/deployments/Production/release", body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+w.key)
		req.Header.Set("Content-Type", "multipart/form-data; boundary=x")
		go func() {
			res, err := http.DefaultClient.Do(req)
			if err == nil {
				res.Body.Close()
			}
			ended <- err
		}()
	}
	time.Sleep(100 * time.Millisecond) // they are all on their way
	done := make(chan int, 1)
	go func() {
		status, _ := w.release("Production", `{"appVersion":"1.2.0"}`, first(t))
		done <- status
	}()
	select {
	case status := <-done:
		if status != http.StatusCreated {
			t.Errorf("status %d", status)
		}
	case <-time.After(20 * time.Second):
		t.Error("a release waits for uploads that do not end")
	}
	cancel()
	for range cap(ended) {
		<-ended
	}
}

// TestWhatClientsWouldMisread is refused: a package that they take for a difference, and a time that no document can hold.
func TestWhatClientsWouldMisread(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.mine()
	if status, text := w.release("Production", `{"appVersion":"1.2.0"}`, zipped(t, "hotcodepush.json", `{"deletedFiles":["CodePush/main.jsbundle"]}`, "CodePush/main.jsbundle", "x")); status != 400 || !strings.Contains(text, "difference") {
		t.Errorf("a package like a difference: %d %s", status, text)
	}
	if status, text := w.release("Production", `{"appVersion":"1.2.0","label":"v3","uploadTime":4503599627370495}`, first(t)); status != 201 {
		t.Errorf("a time in the year 144000: %d %s", status, text)
	}
	if u := w.check(""); u.Label != "v3" {
		t.Errorf("%+v", u)
	}
}

// TestAVersionThatSomebodyTook stands in nobody's way: labels go on.
func TestAVersionThatSomebodyTook(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Enable(`{"deployments":{"production":"SHIPPED-KEY-0123"}}`)
	w.Publish(protocoltest.Release{Version: "production-v1", Runtime: slipstream.Runtime{Range: "1.2.0"}, Files: map[string]string{"main.jsbundle": "ours"}})
	raw := zipped(t, "CodePush/main.jsbundle", "theirs")
	status, text := w.releaseTo("shop", "production", `{"appVersion":"1.2.0"}`, raw)
	if status != 201 || !strings.Contains(text, `"label":"v1"`) {
		t.Errorf("%d %s", status, text)
	}
}

// TestAHistoryDoesNotGrowForEver: the oldest labels and their releases go.
func TestAHistoryDoesNotGrowForEver(t *testing.T) {
	t.Parallel()
	var h codepush.History
	most := 0
	for i := range 500 {
		h.Add(0, slipstream.Digest(fmt.Sprintf("%064x", i)), false, codepush.Own{Share: slipstream.FullShare})
		gone := h.Trim()
		if len(gone) > 1 {
			t.Fatalf("%d go at once", len(gone))
		}
		most = max(most, len(h.Entries))
		if len(gone) == 1 && gone[0] != slipstream.Digest(fmt.Sprintf("%064x", i-len(h.Entries))) {
			t.Fatalf("%s goes after %d", gone[0], i)
		}
	}
	if most < 50 || most > 300 || h.Newest().Name() != "v500" || h.Find("v500") == nil || h.Find("v1") != nil {
		t.Errorf("%d labels are kept, the newest is %s", most, h.Newest().Name())
	}
}

// TestOneAppsTroubleIsItsOwn: when what is kept of an app cannot be read, its clients get what they got before, and those of
// other apps get what is new.
func TestOneAppsTroubleIsItsOwn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.mine()
	w.ship("Production", `{"appVersion":"1.2.0"}`, "one")
	before := w.check("")
	w.must(201, "POST", "/apps", `{"name":"Aaa","manuallyProvisionDeployments":true}`)
	w.must(201, "POST", "/apps/Aaa/deployments", `{"name":"Production","key":"OTHER-KEY-012345"}`)
	err := w.Store.Update(t.Context(), func(tx store.Tx) error {
		return tx.Settings().Set(t.Context(), "codepush/history/mine/production/any", []byte("{"))
	})
	if err != nil {
		t.Fatal(err)
	}
	if status, text := w.releaseTo("Aaa", "Production", `{"appVersion":"1.2.0"}`, first(t)); status != 201 {
		t.Fatalf("%d %s", status, text)
	}
	if u := w.check(""); u != before {
		t.Errorf("%+v, before %+v", u, before)
	}
	res, err := http.Get(w.web.URL + "/updateCheck?deploymentKey=OTHER-KEY-012345&appVersion=1.2.0")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if text, err := io.ReadAll(res.Body); err != nil || !strings.Contains(string(text), v1) {
		t.Errorf("another app: %s, %v", text, err)
	}
}

// TestASignedAppTakesUploadsOfItsKeyAlone: what its clients would refuse does not become a label.
func TestASignedAppTakesUploadsOfItsKeyAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	strange, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	options, err := json.Marshal(codepush.Options{Deployments: map[string]codepush.Keys{"production": {"any": "SHIPPED-KEY-0123"}},
		SigningKey: string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}))})
	if err != nil {
		t.Fatal(err)
	}
	w.Enable(string(options))
	const bundle = "console.log(1)"
	signed := func(by *rsa.PrivateKey, of string) []byte {
		raw, err := codepush.Sign([]slipstream.File{{Path: "CodePush/main.jsbundle", Size: int64(len(of)), SHA256: slipstream.DigestOf(sha256.Sum256([]byte(of)))}},
			pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(by)}))
		if err != nil {
			t.Fatal(err)
		}
		var token string
		if err := json.Unmarshal(raw, &token); err != nil {
			t.Fatal(err)
		}
		return zipped(t, "CodePush/main.jsbundle", bundle, "CodePush/.codepushrelease", token)
	}
	for name, c := range map[string]struct {
		raw    []byte
		status int
	}{
		"unsigned":             {zipped(t, "CodePush/main.jsbundle", bundle), 400},
		"a single file":        {[]byte(bundle), 400},
		"by another key":       {signed(strange, bundle), 400},
		"of other contents":    {signed(key, "other"), 400},
		"an empty signature":   {zipped(t, "CodePush/main.jsbundle", bundle, "CodePush/.codepushrelease", ""), 400},
		"where clients do not": {zipped(t, "Other/main.jsbundle", bundle, "Other/.codepushrelease", "x.y.z"), 400},
	} {
		if status, text := w.releaseTo("shop", "production", `{"appVersion":"1.2.0"}`, c.raw); status != c.status {
			t.Errorf("%s: %d %s", name, status, text)
		}
	}
	if status, text := w.releaseTo("shop", "production", `{"appVersion":"1.2.0"}`, signed(key, bundle)); status != 201 {
		t.Errorf("signed: %d %s", status, text)
	}
	if u := w.check(""); u.Label != "v1" {
		t.Errorf("%+v", u)
	}
}
