package publish

import (
	"os"
	"strings"
	"testing"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/blob/mem"
	"github.com/slipstream-ota/slipstream/publish/delta"
)

// Every container is proven before it is offered, so that it is there says that it was applied and compared.
func TestBytecodeGetsAContainerOfItsOwn(t *testing.T) {
	t.Parallel()
	read := func(name string) string {
		b, err := os.ReadFile("delta/hermes/testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	blobs := mem.New()
	v1 := stored(t, blobs, map[string]string{"index.android.bundle": read("one.hbc"), "assets/logo": noise(1, 5000)})
	v2 := stored(t, blobs, map[string]string{"index.android.bundle": read("two.hbc"), "assets/logo": noise(1, 5000)})
	full, err := BuildContainers(t.Context(), blobs, v2, nil, ContainerOptions{TempDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	made, err := BuildContainers(t.Context(), blobs, v2, v1, ContainerOptions{TempDir: t.TempDir(), Full: full[0].Size})
	if err != nil {
		t.Fatal(err)
	}
	byCodec := map[string]slipstream.Container{}
	var names []string
	for _, c := range made {
		byCodec[c.Codec] = c
		names = append(names, c.Codec)
	}
	if got := strings.Join(names, " "); got != "changed/1 rich/1 rich/1+hbc simple/1+zstd simple/1+zstd+hbc" {
		t.Fatalf("made %s", got)
	}
	if rewritten, plain := byCodec[delta.CodecHermes].Size, byCodec[delta.CodecRich].Size; rewritten*3 > plain*2 {
		t.Errorf("%d bytes with the bytecode rewritten, %d without", rewritten, plain)
	}
	if rewritten, plain := byCodec[delta.CodecSimpleHermes].Size, byCodec[delta.CodecSimpleZstd].Size; rewritten*3 > plain*2 {
		t.Errorf("simple: %d bytes with the bytecode rewritten, %d without", rewritten, plain)
	}
}
