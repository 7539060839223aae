package patch

import (
	"bytes"
	"context"
	"math/rand/v2"
	"testing"

	"github.com/slipstream-ota/slipstream/publish/delta/suffix"
)

// Content that fills many steps, with covers and texts larger than one.
func TestManyStepsComeBack(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(7, 7))
	old := make([]byte, 3<<20)
	for i := range old {
		old[i] = byte(r.Uint32())
	}
	new := bytes.Clone(old)
	for i := range new {
		if i < 1<<20 && i%3 == 0 { // one step cannot hold the changes
			new[i]++
		}
	}
	text := make([]byte, 2<<20)
	for i := range text {
		text[i] = byte(r.Uint32())
	}
	new = append(new, text...)
	covers := []suffix.Cover{{Old: 0, New: 0, Len: 2 << 20}, {Old: 2 << 20, New: 2 << 20, Len: 1 << 20}}
	steps := encodeSteps(old, new, covers)
	if len(steps) < 6*4 {
		t.Errorf("%d parts are no %d steps", len(steps), 6)
	}
	for i := 0; i < len(steps); i += 4 {
		if n := size(steps[i : i+4]); n > maxStep {
			t.Errorf("step %d has %d bytes", i/4, n)
		}
	}
	body, err := compress(context.Background(), nil, methodStored, steps)
	if err != nil {
		t.Fatal(err)
	}
	p := append(head(markSimple, 0, old, new), body...)
	var out bytes.Buffer
	if err := Apply(context.Background(), bytes.NewReader(old), int64(len(old)), bytes.NewReader(p), &out, Limits{NewSize: int64(len(new))}); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out.Bytes(), new) {
		t.Error("something else came out")
	}
}
