package codepush

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/slipstream-ota/slipstream/protocol/protocoltest"
)

// BenchmarkCheck asks for a device that is offered a difference.
func BenchmarkCheck(b *testing.B) {
	w := newWorld(b, "")
	w.release("1.0.0", map[string]string{"main.jsbundle": "1", "assets/a.txt": strings.Repeat("x", 1000)})
	first := w.check("")
	w.release("1.1.0", map[string]string{"main.jsbundle": "2", "assets/a.txt": strings.Repeat("x", 1000)})
	b.Run("current", func(b *testing.B) {
		protocoltest.Bench(b, w.World, w.server, func(i int, base string) (*http.Request, error) {
			return http.NewRequest(http.MethodGet, fmt.Sprintf("%s%supdate_check?deployment_key=%s&app_version=1.0.0&package_hash=%s&label=v1&client_unique_id=device-%d",
				base, current, prodKey, first.PackageHash, i), nil)
		})
	})
	b.Run("older", func(b *testing.B) {
		protocoltest.Bench(b, w.World, w.server, func(i int, base string) (*http.Request, error) {
			return http.NewRequest(http.MethodGet, fmt.Sprintf("%s/updateCheck?deploymentKey=%s&appVersion=1.0.0&packageHash=%s&label=v1&clientUniqueId=device-%d",
				base, prodKey, first.PackageHash, i), nil)
		})
	})
}
