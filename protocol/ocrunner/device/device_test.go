package device

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/protocol/ocrunner"
	"github.com/slipstream-ota/slipstream/protocol/protocoltest"
	"github.com/slipstream-ota/slipstream/rollout"
	"github.com/slipstream-ota/slipstream/sign"
	"github.com/slipstream-ota/slipstream/store"
)

// service is our server with a patch service, and what may be done to its answers.
type service struct {
	*protocoltest.World
	url        string
	trust      *sign.Trust
	increments *ocrunner.Increments
	patches    http.Handler
	spoil      func(w http.ResponseWriter, r *http.Request) bool
}

func newService(t *testing.T) *service {
	t.Helper()
	s := &service{World: protocoltest.New(t, ocrunner.Protocol{})}
	s.Enable("")
	s.increments = ocrunner.NewIncrements(s.Keeper.Catalogue, s.Store, s.Blobs, nil)
	patches := ocrunner.New(ocrunner.Config{Catalogue: s.Keeper.Catalogue, Decider: s.Devices, Bytes: s.Devices.Handler(), Increments: s.increments,
		Tokens: ocrunner.NewTokens(bytes.Repeat([]byte{5}, 32), s.Store, nil, nil)})
	s.patches = patches
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.spoil == nil || !s.spoil(w, r) {
			patches.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	s.url = server.URL + "/ocrunner/shop/production"
	var roots [][]byte
	err := s.Store.View(t.Context(), func(tx store.Tx) (err error) {
		roots, err = tx.Apps().Roots(t.Context(), "shop")
		return err
	})
	if err == nil {
		s.trust, err = sign.OpenRoot(roots[0])
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *service) publish(version, patch string) {
	s.Publish(protocoltest.Release{Version: version, Files: map[string]string{"patch": patch}, Offer: &rollout.Offer{Channel: "production", To: slipstream.FullShare}})
}

func (s *service) device() *Device {
	return &Device{URL: s.url, App: "shop", Version: "1.1.1", Trust: s.trust}
}

func noise(seed uint64, n int) string {
	r := rand.New(rand.NewPCG(seed, seed))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.IntN(256))
	}
	return string(b)
}

func TestAPatchTravels(t *testing.T) {
	t.Parallel()
	s := newService(t)
	one := noise(1, 20_000)
	two := one[:10_000] + "mended" + one[10_000:]
	s.publish("1.1.1", one)
	d := s.device()
	u, err := d.Fetch(t.Context())
	if err != nil || u == nil || string(u.Plain) != one || u.Release != s.DigestOf("1.1.1") {
		t.Fatalf("first patch: %v", err)
	}
	d.Patch = u.Patch
	if u, err := d.Fetch(t.Context()); u != nil || err != nil {
		t.Fatalf("up to date, and yet %+v, %v", u, err)
	}
	s.publish("1.1.1+2", two)
	a, err := d.Check(t.Context()) // the first to ask makes the increment known
	if err != nil || a.Patch != nil {
		t.Fatalf("%+v, %v", a, err)
	}
	items := s.Keeper.Catalogue()
	app, err := items.App("shop")
	if err != nil {
		t.Fatal(err)
	}
	from, to := app.ByVersion("main", "ios", "1.1.1"), app.ByVersion("main", "ios", "1.1.1+2")
	if err := s.increments.Make(t.Context(), from.Rendition.SHA256, to.Rendition.SHA256); err != nil {
		t.Fatal(err)
	}
	u, err = d.Fetch(t.Context())
	if err != nil || string(u.Plain) != two || !u.Increase || u.Bytes > 2000 || u.Release != s.DigestOf("1.1.1+2") {
		t.Fatalf("increment: %v, %+v", err, u)
	}
}

func TestNothingUnsignedIsTaken(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.publish("1.1.1", "the patch")
	forged := func(header string) func(w http.ResponseWriter, r *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, "/download/") {
				return false
			}
			if header != "" {
				w.Header().Set("X-Slipstream-Manifest", header)
			}
			_, _ = w.Write([]byte("other code"))
			return true
		}
	}
	for name, spoil := range map[string]func(w http.ResponseWriter, r *http.Request) bool{
		"no manifest": forged(""), "no base64": forged("%%%"), "no envelope": forged("e30="),
	} {
		s.spoil = spoil
		if u, err := s.device().Fetch(t.Context()); err == nil || u != nil {
			t.Errorf("%s: taken", name)
		}
	}
	// The manifest of another file, as it was signed.
	var envelope string
	s.spoil = nil
	u, err := s.device().Fetch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	a, err := s.device().Check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if envelope, err = s.device().manifest(t.Context(), a.URL); err != nil || envelope == "" || u == nil {
		t.Fatalf("manifest %q, %v", envelope, err)
	}
	s.spoil = forged(envelope)
	if _, err := s.device().Fetch(t.Context()); slipstream.ReasonOf(err, "") != slipstream.ReasonFileMismatch {
		t.Errorf("another file under a real manifest: %v", err)
	}
	wrong := s.device()
	wrong.App = "bank"
	s.spoil = nil
	if _, err := wrong.Fetch(t.Context()); slipstream.ReasonOf(err, "") != slipstream.ReasonWrongApp {
		t.Errorf("a patch of another app: %v", err)
	}
}

func TestADownloadThatBreaksOffGoesOn(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.publish("1.1.1", "0123456789")
	cut := 0
	s.spoil = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/download/") || r.Header.Get("Range") != "" {
			return false
		}
		cut++
		w.Header().Set("Content-Length", "10")
		w.Header().Set("Etag", `"84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882"`)
		_, _ = w.Write([]byte("0123"))
		return true
	}
	u, err := s.device().Fetch(t.Context())
	if err != nil || string(u.Plain) != "0123456789" || cut != 1 || u.Bytes != 10 {
		t.Errorf("%v, cut %d times, %+v", err, cut, u)
	}
}

func TestEncryption(t *testing.T) {
	t.Parallel()
	key := bytes.Repeat([]byte{8}, KeySize)
	sealed, err := Encrypt(key, []byte("the plain patch"))
	if err != nil {
		t.Fatal(err)
	}
	s := newService(t)
	s.publish("1.1.1", string(sealed))
	d := s.device()
	d.Key = key
	u, err := d.Fetch(t.Context())
	if err != nil || string(u.Plain) != "the plain patch" {
		t.Fatalf("%v", err)
	}
	d.Key = bytes.Repeat([]byte{9}, KeySize)
	if _, err := d.Fetch(t.Context()); slipstream.ReasonOf(err, "") != slipstream.ReasonFileMismatch {
		t.Errorf("another key: %v", err)
	}
	if _, err := Encrypt([]byte("short"), nil); !errors.Is(err, slipstream.ErrInvalid) {
		t.Errorf("a short key: %v", err)
	}
	for _, bad := range [][]byte{nil, sealed[:5], sealed[:len(sealed)-1]} {
		if _, err := Decrypt(key, bad); err == nil {
			t.Error("damage opens")
		}
	}
}

func TestTheServiceSaysNo(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.publish("1.1.1", "x")
	d := s.device()
	d.Version = "2.0"
	if _, err := d.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "400 Invalid version") {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.device().Fetch(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
