package ocrunner

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/protocol/protocoltest"
	"github.com/slipstream-ota/slipstream/rollout"
)

func BenchmarkCheck(b *testing.B) {
	w := protocoltest.New(b, Protocol{})
	w.Enable("")
	w.Publish(protocoltest.Release{Version: "1.1.1", Files: map[string]string{"patch": "one"}, Offer: &rollout.Offer{Channel: "production", To: slipstream.FullShare}})
	protocoltest.Bench(b, w, serve(w), func(i int, base string) (*http.Request, error) {
		body := fmt.Sprintf(`{"version":"1.1.1","md5":"00000000000000000000000000000000","deviceId":"%d"}`, i)
		return http.NewRequest(http.MethodPost, base+"/ocrunner/shop/production/api/patch/version", strings.NewReader(body))
	})
}
