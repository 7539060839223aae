package sign

import (
	"reflect"
	"testing"
	"time"
)

// FuzzDecision feeds what a server may answer to a check: what is accepted says what was asked for, and lives no longer
// than a decision may.
func FuzzDecision(f *testing.F) {
	good := goodDecision()
	f.Add(encode(f, good))
	f.Add([]byte(`{"app":"shop"}`))
	trust, err := OpenRoot(seal(f, TypeRoot, encode(f, goodRoot()), keys("root-1", "root-2")...))
	if err != nil {
		f.Fatal(err)
	}
	e := ExpectDecision{App: good.App, Channel: good.Channel, Device: good.Device, Nonce: good.Nonce, Now: good.Issued.Time, HighestSigned: good.Issued.Time}
	f.Fuzz(func(t *testing.T, payload []byte) {
		d, err := trust.AcceptDecision(seal(t, TypeDecision, payload, key("state-1")), e)
		if err != nil {
			return
		}
		if d.App != e.App || d.Channel != e.Channel || d.Device != e.Device || d.Nonce != e.Nonce || d.Epoch < 0 || d.Expires.Sub(d.Issued.Time) > MaxDecisionLife+time.Second {
			t.Fatalf("accepted %+v", d)
		}
		again, err := trust.AcceptDecision(seal(t, TypeDecision, encode(t, d), key("state-1")), e)
		if err != nil || !reflect.DeepEqual(again, d) {
			t.Fatalf("own writing is read as %+v: %v", again, err)
		}
	})
}
