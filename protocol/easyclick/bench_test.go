package easyclick

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/protocol/protocoltest"
	"github.com/slipstream-ota/slipstream/rollout"
)

func BenchmarkCheck(b *testing.B) {
	w := protocoltest.New(b, Protocol{})
	w.Enable("")
	for _, version := range []string{"1.0.0", "1.1.0"} {
		w.Publish(protocoltest.Release{Version: version, Files: map[string]string{"main.iec": version}, Offer: &rollout.Offer{Channel: "production", To: slipstream.FullShare}})
	}
	protocoltest.Bench(b, w, serve(w), func(i int, base string) (*http.Request, error) {
		return http.NewRequest(http.MethodGet, fmt.Sprintf("%s/easyclick/shop/production/update?version=1.0.0&androidId=%d&apkVersion=9.22.0&model=LNA-AL00&brand=HUAWEI", base, i), nil)
	})
}
