package s3_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/blob"
	"github.com/slipstream-ota/slipstream/blob/blobtest"
	"github.com/slipstream-ota/slipstream/blob/s3"
	"github.com/slipstream-ota/slipstream/internal/s3test"
)

var gateway = s3test.New()

func TestMain(m *testing.M) { os.Exit(gateway.Run(m)) }

func open(t *testing.T, url string) *s3.Store {
	t.Helper()
	s, err := s3.Open(t.Context(), url, s3.Options{TempDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestContractOnGofakes3(t *testing.T) {
	t.Parallel()
	blobtest.Run(t, func(t *testing.T) blob.Store { return open(t, s3test.Fake(t)) }, blobtest.BoundedMemory)
}

func TestContractOnVersitygw(t *testing.T) {
	t.Parallel()
	blobtest.Run(t, func(t *testing.T) blob.Store { return open(t, gateway.Bucket(t)) })
}

// with gives a bucket's URL with parameters replaced and, when path is not "", a prefix.
func with(t *testing.T, bucket, path string, change map[string]string) string {
	t.Helper()
	u, err := url.Parse(bucket)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	for k, v := range change {
		q.Set(k, v)
	}
	u.RawQuery, u.Path = q.Encode(), path
	return u.String()
}

func TestPrefixesKeepStoresApartInOneBucket(t *testing.T) {
	t.Parallel()
	bucket := s3test.Fake(t)
	a, b := open(t, with(t, bucket, "/one", nil)), open(t, with(t, bucket, "/two/deep/", nil))
	data, d := blobtest.Random(1, 100)
	if err := a.Put(t.Context(), d, 100, bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Stat(t.Context(), d); !errors.Is(err, slipstream.ErrNotFound) {
		t.Errorf("the other store: %v", err)
	}
	if err := b.List(t.Context(), func(i blob.Info) error { t.Errorf("the other store lists %v", i); return nil }); err != nil {
		t.Error(err)
	}
}

func TestCheckSaysPreciselyWhatIsWrong(t *testing.T) {
	t.Parallel()
	bucket := gateway.Bucket(t)
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	for _, c := range []struct{ name, url, hint string }{
		{"the bucket is missing", strings.Replace(bucket, "s3://bucket", "s3://elsewhere", 1), "make the bucket"},
		{"the access key is unknown", with(t, bucket, "", map[string]string{"access_key": "nobody"}), "access key"},
		{"the secret is wrong", with(t, bucket, "", map[string]string{"secret_key": "hunter2hunter2"}), "secret key does not belong"},
		{"nothing listens", with(t, bucket, "", map[string]string{"endpoint": closed.URL}), "does not answer at " + closed.URL},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			err := open(t, c.url).Check(t.Context())
			if err == nil || !strings.Contains(slipstream.HintOf(err), c.hint) {
				t.Errorf("error %v, hint %q", err, slipstream.HintOf(err))
			}
			if errors.Is(err, slipstream.ErrNotFound) {
				t.Error("a missing store looks like a missing blob")
			}
			if text := err.Error() + slipstream.HintOf(err); strings.Contains(text, "hunter2") || strings.Contains(text, "testsecret") {
				t.Errorf("a secret is told: %s", text)
			}
		})
	}
}

func TestAnUnreachableStoreIsUnavailable(t *testing.T) {
	t.Parallel()
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	s := open(t, "s3://bucket?access_key=a&secret_key=b&endpoint="+closed.URL)
	_, d := blobtest.Random(1, 1)
	if _, err := s.Open(t.Context(), d); !errors.Is(err, slipstream.ErrUnavailable) {
		t.Errorf("error is %v", err)
	}
}

func TestURLsThatAreWrongAreRefusedWithoutTellingTheSecret(t *testing.T) {
	t.Parallel()
	for _, u := range []string{
		"", "file:///x", "s3://", "s3://b?access_key=a&secret_key=hunter2", "s3://bucket?secret_key=hunter2&endpoint=ftp://x", "s3://bucket?secret_key=hunter2&typo=1", "s3://bucket?secret_key=hunter2",
		"s3://bucket\x7f?secret_key=hunter2", "s3://bucket?access_key=a&secret_key=hunter2&endpoint=http://user:hunter2@x",
	} {
		_, err := s3.Open(t.Context(), u, s3.Options{})
		if err == nil || slipstream.HintOf(err) == "" {
			t.Errorf("%q: %v without a hint", u, err)
		} else if strings.Contains(err.Error()+slipstream.HintOf(err), "hunter2") {
			t.Errorf("%q: the secret is told: %v", u, err)
		}
	}
}

func TestCredentialsComeFromOptionsWhereTheURLHasNone(t *testing.T) {
	t.Parallel()
	u, err := url.Parse(gateway.Bucket(t))
	if err != nil {
		t.Fatal(err)
	}
	bare := "s3://" + u.Host + "?endpoint=" + u.Query().Get("endpoint")
	s, err := s3.Open(t.Context(), bare, s3.Options{AccessKey: u.Query().Get("access_key"), SecretKey: u.Query().Get("secret_key")})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// proxy stands before a bucket and lets a test break things.
func proxy(t *testing.T, bucket string, handle func(w http.ResponseWriter, r *http.Request, next http.Handler)) string {
	t.Helper()
	u, err := url.Parse(bucket)
	if err != nil {
		t.Fatal(err)
	}
	target, err := url.Parse(u.Query().Get("endpoint"))
	if err != nil {
		t.Fatal(err)
	}
	next := httputil.NewSingleHostReverseProxy(target)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handle(w, r, next) }))
	t.Cleanup(server.Close)
	return with(t, bucket, "", map[string]string{"endpoint": server.URL})
}

func TestABrokenDownloadIsTakenUpWhereItBroke(t *testing.T) {
	t.Parallel()
	var gets atomic.Int32
	s := open(t, proxy(t, s3test.Fake(t), func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.Method == http.MethodGet && gets.Add(1) <= 2 {
			rec := httptest.NewRecorder()
			next.ServeHTTP(rec, r)
			for k, v := range rec.Header() {
				w.Header()[k] = v
			}
			w.WriteHeader(rec.Code)
			_, _ = w.Write(rec.Body.Bytes()[:rec.Body.Len()/2]) // less than Content-Length: the server breaks the connection
			return
		}
		next.ServeHTTP(w, r)
	}))
	data, d := blobtest.Random(1, 400_000)
	if err := s.Put(t.Context(), d, int64(len(data)), bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	o, err := s.Open(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	if got, err := io.ReadAll(o); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if gets.Load() != 3 {
		t.Errorf("%d downloads", gets.Load())
	}
}

func TestOpeningAndSeekingDownloadsNothing(t *testing.T) {
	t.Parallel()
	var gets atomic.Int32
	s := open(t, proxy(t, s3test.Fake(t), func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.Method == http.MethodGet {
			gets.Add(1)
		}
		next.ServeHTTP(w, r)
	}))
	data, d := blobtest.Random(1, 1000)
	if err := s.Put(t.Context(), d, 1000, bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	o, err := s.Open(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	for _, offset := range []int64{1000, 0, 500} {
		if _, err := o.Seek(offset, io.SeekStart); err != nil {
			t.Fatal(err)
		}
	}
	if gets.Load() != 0 {
		t.Errorf("%d downloads before a read", gets.Load())
	}
	if rest, err := io.ReadAll(o); err != nil || !bytes.Equal(rest, data[500:]) || gets.Load() != 1 {
		t.Errorf("%d bytes, %v, %d downloads", len(rest), err, gets.Load())
	}
}

func TestWhatIsRefusedIsNeverSent(t *testing.T) {
	t.Parallel()
	var puts atomic.Int32
	s := open(t, proxy(t, s3test.Fake(t), func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.Method == http.MethodPut || r.Method == http.MethodPost {
			puts.Add(1)
		}
		next.ServeHTTP(w, r)
	}))
	for _, n := range []int{1000, 3 << 20} {
		_, d := blobtest.Random(1, 10)
		err := s.Put(t.Context(), d, int64(n), bytes.NewReader(make([]byte, n)))
		if slipstream.ReasonOf(err, "") != slipstream.ReasonFileMismatch {
			t.Errorf("error is %v", err)
		}
	}
	if puts.Load() != 0 {
		t.Errorf("%d requests that write", puts.Load())
	}
}

func TestCancellingAnUploadEndsIt(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	s := open(t, proxy(t, s3test.Fake(t), func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.Method == http.MethodPut {
			cancel()
		}
		next.ServeHTTP(w, r)
	}))
	data, d := blobtest.Random(1, 2<<20)
	if err := s.Put(ctx, d, int64(len(data)), bytes.NewReader(data)); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
}

func TestListRemovesSpoolsOlderThanADay(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "made on demand")
	s, err := s3.Open(t.Context(), s3test.Fake(t), s3.Options{TempDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	for name, age := range map[string]time.Duration{"slipstream-spool-old": 25 * time.Hour, "slipstream-spool-young": time.Hour, "other": 99 * time.Hour} {
		path, then := filepath.Join(dir, name), time.Now().Add(-age)
		if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Chtimes(path, then, then)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.List(t.Context(), func(blob.Info) error { return nil }); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(left) != 2 || filepath.Base(left[0]) != "other" || filepath.Base(left[1]) != "slipstream-spool-young" {
		t.Errorf("left are %v, %v", left, err)
	}
}
