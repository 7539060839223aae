package protocoltest

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sort"
	"strings"
	"testing"
	"time"
)

// Bench measures an adapter's check over loopback beside the native POST /v1/check of the same world, turn by turn on one
// connection each, and reports how many times as many requests a second it answers.
func Bench(b *testing.B, w *World, adapter http.Handler, ask func(i int, base string) (*http.Request, error)) {
	b.Helper()
	native := httptest.NewServer(w.Devices.Handler())
	defer native.Close()
	foreign := httptest.NewServer(adapter)
	defer foreign.Close()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4}}
	send := func(r *http.Request, err error) {
		if err != nil {
			b.Fatal(err)
		}
		res, err := client.Do(r)
		if err != nil {
			b.Fatal(err)
		}
		_, err = io.Copy(io.Discard, res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != http.StatusOK {
			b.Fatalf("status %d, error %v", res.StatusCode, err)
		}
	}
	nonce := base64.StdEncoding.EncodeToString(make([]byte, 32))
	const turn = 200
	var ratios []float64
	b.ResetTimer()
	for done := 0; done < max(b.N, 2*turn); done += turn {
		began := time.Now()
		for i := range turn {
			body := fmt.Sprintf(`{"app":"shop","channel":"production","nonce":%q,"device":{"id":"%064x","platform":"android"},"packages":{"main":{"seq":0}}}`, nonce, i)
			send(http.NewRequest(http.MethodPost, native.URL+"/v1/check", strings.NewReader(body)))
		}
		ours := time.Since(began)
		began = time.Now()
		for i := range turn {
			send(ask(i, foreign.URL))
		}
		ratios = append(ratios, ours.Seconds()/time.Since(began).Seconds())
	}
	sort.Float64s(ratios)
	b.ReportMetric(ratios[len(ratios)/2], "x_native")
}
