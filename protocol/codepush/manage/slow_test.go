package manage_test

import (
	"bytes"
	"context"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/auth"
	"github.com/slipstream-ota/slipstream/blob"
	"github.com/slipstream-ota/slipstream/protocol/codepush/manage"
)

// slowBlobs take their time, and give up when who asked is gone.
type slowBlobs struct {
	blob.Store
	takes time.Duration
}

func (b slowBlobs) Put(ctx context.Context, d slipstream.Digest, size int64, r io.Reader) error {
	select {
	case <-time.After(b.takes):
	case <-ctx.Done():
		return ctx.Err()
	}
	return b.Store.Put(ctx, d, size, r)
}

// hurried is a server whose requests have limit to come whole, as a real one's have, over blobs that take their time.
func (w *world) hurried(limit, takes, stall time.Duration) string {
	clock := func() time.Time { return w.Now }
	server := httptest.NewUnstartedServer(manage.New(manage.Config{Store: w.Store, Blobs: slowBlobs{w.Blobs, takes}, Rollout: w.Rollout, StallTimeout: stall,
		Tokens: auth.New(auth.Config{Store: w.Store, Clock: clock}), BaseURL: func(*http.Request) string { return w.web.URL }, Clock: clock}))
	server.Config.ReadTimeout = limit
	server.Start()
	w.Cleanup(server.Close)
	return server.URL
}

// upload sends a release in as many pieces, with a pause before each; none end when the pieces do not.
func (w *world) upload(url string, pieces int, pause time.Duration, whole bool) int {
	w.Helper()
	var body bytes.Buffer
	m := multipart.NewWriter(&body)
	f, err := m.CreateFormFile("package", "x.zip")
	if err != nil {
		w.Fatal(err)
	}
	_, _ = f.Write(first(w))
	if err := m.WriteField("packageInfo", `{"appVersion":"1.2.0"}`); err != nil {
		w.Fatal(err)
	}
	m.Close()
	out, in := io.Pipe()
	defer out.Close()
	go func() {
		raw := body.Bytes()
		for i := range pieces {
			time.Sleep(pause)
			if _, err := in.Write(raw[len(raw)*i/pieces : len(raw)*(i+1)/pieces]); err != nil {
				return
			}
		}
		if whole {
			in.Close()
		}
	}()
	req, err := http.NewRequestWithContext(w.Context(), http.MethodPost, url+"/codepush/apps/Mine/deployments/Production/release", out)
	if err != nil {
		w.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+w.key)
	req.Header.Set("Content-Type", m.FormDataContentType())
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		w.Fatal(err)
	}
	defer res.Body.Close()
	return res.StatusCode
}

// TestALargeReleaseMayTakeItsTime: the limit of a request is none for an upload of which bytes keep coming, nor for the work
// that it makes.
func TestALargeReleaseMayTakeItsTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.mine()
	if status := w.upload(w.hurried(300*time.Millisecond, 0, time.Minute), 8, 100*time.Millisecond, true); status != http.StatusCreated {
		t.Errorf("an upload over a slow line: %d", status)
	}
	w.must(204, "DELETE", "/apps/Mine/deployments/Production/history", "")
	slow := w.hurried(300*time.Millisecond, 200*time.Millisecond, time.Minute)
	if status := w.upload(slow, 1, 0, true); status != http.StatusCreated {
		t.Errorf("an upload that takes long to keep: %d", status)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, slow+"/codepush/apps/Mine/deployments/Production/promote/Staging", nil)
	if err != nil {
		t.Fatal(err)
	}
	w.must(201, "POST", "/apps/Mine/deployments", `{"name":"Staging"}`)
	req.Header.Set("Authorization", "Bearer "+w.key)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusCreated {
		t.Errorf("a promotion that takes long: %d", res.StatusCode)
	}
}

// TestAnUploadThatStandsStillIsGivenUp: its connection and its file are held no longer than the stall limit.
func TestAnUploadThatStandsStillIsGivenUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.mine()
	done := make(chan int, 1)
	url := w.hurried(time.Minute, 0, 200*time.Millisecond)
	go func() { done <- w.upload(url, 2, 0, false) }()
	select {
	case status := <-done:
		if status != http.StatusBadRequest {
			t.Errorf("status %d", status)
		}
	case <-time.After(20 * time.Second):
		t.Error("it is waited for")
	}
}
