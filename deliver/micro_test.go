package deliver

import (
	"crypto/ed25519"
	"github.com/slipstream-ota/slipstream"
	"net/http/httptest"
	"strings"
	"testing"
)

func BenchmarkMicro(b *testing.B) {
	w := newWorld(b).start()
	body := checkBody(b)
	var buf checkBuffers
	_ = parseCheck([]byte(body), &buf.request)
	snap := w.server.snapshot.Load()
	_ = slipstream.At
	b.Run("parse", func(b *testing.B) {
		b.ReportAllocs()
		bb := []byte(body)
		for b.Loop() {
			parseCheck(bb, &buf.request)
		}
	})
	b.Run("answer", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			w.server.answerCheck(snap, &buf)
		}
	})
	msg := append([]byte(nil), buf.message...)
	b.Run("sign", func(b *testing.B) {
		b.ReportAllocs()
		b.Logf("message %d bytes", len(msg))
		for b.Loop() {
			ed25519.Sign(w.state, msg)
		}
	})
	b.Run("all", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			r := httptest.NewRequest("POST", "/v1/check", strings.NewReader(body))
			w.http.ServeHTTP(httptest.NewRecorder(), r)
		}
	})
}
