package manage_test

import (
	"archive/zip"
	"bytes"
	"io"
	"mime/multipart"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream/auth"
	"github.com/slipstream-ota/slipstream/protocol"
	"github.com/slipstream-ota/slipstream/protocol/codepush"
	"github.com/slipstream-ota/slipstream/protocol/codepush/manage"
	"github.com/slipstream-ota/slipstream/protocol/protocoltest"
	"github.com/slipstream-ota/slipstream/rollout"
)

var update = protocoltest.UpdateFlag()

// people are who the cases know by name: "Authorization: Bearer ann".
var people = []auth.Spec{
	{Name: "ann", Role: auth.Owner},
	{Name: "pia", Role: auth.Publisher, App: "shop"},
	{Name: "omar", Role: auth.Operator, App: "shop"},
	{Name: "vera", Role: auth.Viewer, App: "shop"},
	{Name: "bo", Role: auth.Owner, App: "bank"},
}

// golden is both sides of CodePush for a case. In a request, Authorization names one of the people, and a body of kind
// "release" is written as text: the packageInfo, then a line "path: content" for each file of the zip, or "=content" for
// a package that is no zip.
func golden(w *protocoltest.World) http.Handler {
	if err := w.Rollout.CreateApp(w.Context(), "test", rollout.AppSpec{Name: "bank"}); err != nil {
		w.Fatal(err)
	}
	clock := func() time.Time { return w.Now }
	tokens := auth.New(auth.Config{Store: w.Store, Clock: clock})
	secrets := map[string]string{}
	for _, p := range people {
		_, secret, err := tokens.Create(w.Context(), "test", p)
		if err != nil {
			w.Fatal(err)
		}
		secrets["Bearer "+p.Name] = "Bearer " + secret
	}
	book := codepush.NewBook(w.Store, w.Blobs, clock, nil)
	devices := codepush.New(codepush.Config{Book: book, Decider: w.Devices, Reporter: w.Devices, Running: protocol.Runs(w.Store),
		Bytes: w.Devices.Handler(), BaseURL: protocoltest.BaseURL, Clock: clock})
	desk := manage.New(manage.Config{Store: w.Store, Blobs: w.Blobs, Rollout: w.Rollout, Tokens: tokens, BaseURL: protocoltest.BaseURL, Clock: clock,
		MaxUpload: 4 << 10, MaxUnpacked: 8 << 10})
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if secret := secrets[r.Header.Get("Authorization")]; secret != "" {
			r.Header.Set("Authorization", secret)
		}
		if r.Header.Get("Content-Type") == "release" {
			r = releaseRequest(w, r)
		}
		if desk.Owns(r.URL.Path) {
			desk.ServeHTTP(rw, r)
			return
		}
		if err := book.Refresh(r.Context()); err != nil {
			w.Error(err)
		}
		devices.ServeHTTP(rw, r)
	})
}

func releaseRequest(w *protocoltest.World, r *http.Request) *http.Request {
	w.Helper()
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		w.Fatal(err)
	}
	info, rest, _ := strings.Cut(string(raw), "\n")
	var body, packed bytes.Buffer
	z := zip.NewWriter(&packed)
	plain, single := "", false
	for line := range strings.Lines(rest) {
		line = strings.TrimSuffix(line, "\n")
		if plain, single = strings.CutPrefix(line, "="); single {
			break
		}
		name, content, _ := strings.Cut(line, ": ")
		f, err := z.Create(name)
		if err == nil {
			_, err = io.WriteString(f, content)
		}
		if err != nil {
			w.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		w.Fatal(err)
	}
	content := packed.Bytes()
	if single {
		content = []byte(plain)
	}
	m := multipart.NewWriter(&body)
	f, err := m.CreateFormFile("package", "update")
	if err == nil {
		_, err = f.Write(content)
	}
	if err == nil {
		err = m.WriteField("packageInfo", info)
	}
	if err == nil {
		err = m.Close()
	}
	if err != nil {
		w.Fatal(err)
	}
	to := r.Clone(r.Context())
	to.Body, to.ContentLength = io.NopCloser(&body), int64(body.Len())
	to.Header.Set("Content-Type", m.FormDataContentType())
	return to
}

// random is what is drawn: secrets and ids of tokens, deployment keys.
var random = regexp.MustCompile(`\bslp_[A-Za-z0-9_-]+|\b[tc][0-9a-f]{12}\b|\b[0-9a-f]{40}\b`)

func TestGolden(t *testing.T) {
	t.Parallel()
	protocoltest.Golden(t, codepush.Protocol{}, golden, random, *update, "Content-Type", "Location", "Allow", "Retry-After")
}
