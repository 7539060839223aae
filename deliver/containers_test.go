package deliver

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/slipstream-ota/slipstream"
)

func TestAListSaysWhatWasMadeWhileItWasWaitedFor(t *testing.T) {
	w := newWorld(t)
	release := w.addRelease("5", []byte(`{}`))
	full := slipstream.Container{Codec: "full/1", Size: 100, SHA256: digestOf("c")}
	w.tables.containers[release] = []slipstream.Container{full}
	var asked []slipstream.Digest
	w.start(func(c *Config) {
		c.Wanted = func(_ context.Context, r, from slipstream.Digest) bool {
			asked = append(asked, from)
			if from != digestOf("4") {
				return false
			}
			w.tables.containers[r] = []slipstream.Container{full, {From: from, Codec: "rich/1", Size: 5, SHA256: digestOf("d")}}
			return true
		}
	})
	list := func(from string) string {
		t.Helper()
		r := w.ask(http.MethodGet, "/v1/releases/"+string(release)+"/containers"+from, "")
		if body := bodyOf(t, r); r.StatusCode == http.StatusOK {
			return body
		}
		t.Fatalf("status %d", r.StatusCode)
		return ""
	}
	if strings.Contains(list(""), "rich/1") || len(asked) > 0 {
		t.Error("who names no base waits for none")
	}
	if strings.Contains(list("?from="+string(digestOf("3"))), "rich/1") {
		t.Error("nothing was made, and yet there is something")
	}
	if !strings.Contains(list("?from="+string(digestOf("4"))), "rich/1") {
		t.Error("what was made meanwhile is not in the list")
	}
	before := len(asked)
	if !strings.Contains(list("?from="+string(digestOf("4"))), "rich/1") || len(asked) != before {
		t.Error("what is there is given at once")
	}
}
