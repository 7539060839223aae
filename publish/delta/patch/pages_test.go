package patch

import (
	"bytes"
	"testing"

	"github.com/slipstream-ota/slipstream/publish/delta/rich"
)

func TestBytesOfOldStayWhileThoseNearAreAskedFor(t *testing.T) {
	t.Parallel()
	old := make([]byte, 3*rich.Near)
	for i := range old {
		old[i] = byte(i >> pageLog)
	}
	p := &pages{r: bytes.NewReader(old), size: int64(len(old))}
	for _, pos := range []int64{0, rich.Near - 1, rich.Near + 5} {
		first, err := p.at(pos)
		if err != nil {
			t.Fatal(err)
		}
		for near := max(0, pos-rich.Near+1); near < pos+rich.Near; near += pageSize / 2 {
			if _, err := p.at(near); err != nil {
				t.Fatal(err)
			}
		}
		if first[0] != old[pos] {
			t.Errorf("the byte at %d is %d now, not %d", pos, first[0], old[pos])
		}
	}
}
