package ocrunner

import (
	"bytes"
	"net/http"
	"regexp"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream/protocol/protocoltest"
)

var update = protocoltest.UpdateFlag()

func serve(w *protocoltest.World) http.Handler {
	tokens := NewTokens(bytes.Repeat([]byte{9}, 32), w.Store, func() time.Time { return w.Now }, nil)
	return New(Config{Catalogue: w.Keeper.Catalogue, Decider: w.Devices, Tokens: tokens, Bytes: w.Devices.Handler(), RootApp: "shop", RootChannel: "production"})
}

func TestGolden(t *testing.T) {
	t.Parallel()
	links := regexp.MustCompile(`[A-Za-z0-9_-]{96}`)
	protocoltest.Golden(t, Protocol{}, serve, links, *update, "Content-Type", "Content-Length", "Content-Range", "Content-Disposition", "Cache-Control", "Allow", "X-Slipstream-Release")
}
