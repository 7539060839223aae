package patch

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/slipstream-ota/slipstream/publish/delta/suffix"
)

func TestTheEndsThatAreAlikeAreNotSearched(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	old := make([]byte, 2<<20)
	for i := range old {
		old[i] = byte(r.Uint32())
	}
	inserted := slices.Concat(old[:1<<20], []byte("something new"), old[1<<20:])
	scattered := slices.Clone(old)
	for i := 0; i < len(old); i += 1000 {
		scattered[i]++
	}
	for _, c := range []struct {
		name       string
		old, new   []byte
		head, tail int
	}{
		{"the same", old, old, len(old), 0},
		{"nothing", nil, old, 0, 0},
		{"text put in", old, inserted, 1 << 20, 1 << 20},
		{"text taken out", inserted, old, 1 << 20, 1 << 20},
		{"bytes changed here and there", old, scattered, len(old), 0},
		{"an end cut off", old, old[:1<<20+5], 1 << 20, 0},
		{"a begin cut off", old, old[1<<20:], 0, 1 << 20},
		{"nothing alike", old, bytes.Repeat([]byte{0}, len(old)), 0, 0},
	} {
		head, tail, err := between(t.Context(), c.old, c.new)
		if err != nil || head != c.head || tail != c.tail {
			t.Errorf("%s: %d at the begin and %d at the end are alike, error %v", c.name, head, tail, err)
		}
	}
}

// Sparse files are nothing but zeros for most of their length.
func TestALargeSparseFileIsDiffedAroundItsChange(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("half a GiB of memory")
	}
	old := make([]byte, largeOld+12345)
	copy(old[70<<20:], "the only text")
	new := slices.Concat(old[:70<<20], []byte("another text, longer"), old[70<<20+13:])
	new[100] = 1
	body, st, err := Diff(t.Context(), old, new, Options{Profile: ProfileSimple, Streams: []string{StreamDeflate}})
	if err != nil {
		t.Fatal(err)
	}
	if len(body) > 200 {
		t.Errorf("%d bytes of patch, %+v", len(body), st)
	}
	var out bytes.Buffer
	if err := Apply(t.Context(), bytes.NewReader(old), int64(len(old)), bytes.NewReader(body), &out, Limits{NewSize: int64(len(new))}); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out.Bytes(), new) {
		t.Error("the result differs")
	}
}

func TestCoversThatGoOnAreJoined(t *testing.T) {
	t.Parallel()
	var in []suffix.Cover
	for _, c := range [][3]int{{0, 0, 5}, {5, 5, 0}, {5, 5, 7}, {20, 12, 1}, {21, 14, 2}, {23, 16, 1}} {
		in = append(in, suffix.Cover{Old: c[0], New: c[1], Len: c[2]})
	}
	got := joined(in)
	if want := "[{0 0 12} {20 12 1} {21 14 3}]"; fmt.Sprint(got) != want {
		t.Errorf("%v, want %s", got, want)
	}
}
