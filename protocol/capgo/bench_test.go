package capgo

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/slipstream-ota/slipstream/protocol/protocoltest"
)

// BenchmarkCheck asks for phones that are offered a bundle of a few files.
func BenchmarkCheck(b *testing.B) {
	w := newWorld(b, "")
	w.release("1.4.0", map[string]string{"index.html": "1", "assets/a.js": strings.Repeat("x", 10000), "assets/b.css": "2"})
	body, err := json.Marshal(phone(map[string]any{"device_id": "DEVICE"}))
	if err != nil {
		b.Fatal(err)
	}
	protocoltest.Bench(b, w.World, w.server, func(i int, base string) (*http.Request, error) {
		return http.NewRequest(http.MethodPost, base+"/capgo/shop/updates", strings.NewReader(strings.Replace(string(body), "DEVICE", itoa(i), 1)))
	})
}
