package easyclick

import (
	"net/http"
	"testing"

	"github.com/slipstream-ota/slipstream/protocol/protocoltest"
)

var update = protocoltest.UpdateFlag()

func serve(w *protocoltest.World) http.Handler {
	return New(Config{Catalogue: w.Keeper.Catalogue, Decider: w.Devices, Bytes: w.Devices.Handler(), BaseURL: protocoltest.BaseURL})
}

func TestGolden(t *testing.T) {
	t.Parallel()
	protocoltest.Golden(t, Protocol{}, serve, nil, *update,
		"Content-Type", "Content-Length", "Content-Range", "Etag", "Cache-Control", "Allow", "X-Slipstream-Reason")
}
