package client

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/slipstream-ota/slipstream"
)

// Whatever a program dies with goes into the report, and never makes the device's own state unreadable.
func TestWordsOfACrashLeaveTheStateReadable(t *testing.T) {
	for name, detail := range map[string]string{
		"longer than a report takes, in Chinese": "x" + strings.Repeat("错", 2000),
		"not UTF-8":                              "boom \xff",
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.has("1.0.0", v1)
			l := b.start()
			b.offline()
			if err := l.Crash(b.Context(), detail); err != nil {
				t.Fatal(err)
			}
			if said := b.told[len(b.told)-1].Detail; said == "" || !utf8.ValidString(said) || len(said) > slipstream.MaxEventDetail {
				t.Errorf("the report says %q", said)
			}
			b.start() // a second write: now both generations hold it
			b.reopen()
			if h := b.c.Holds("main"); h.Running.Version != "1.0.0" || h.Anchor.Seq != 1 {
				t.Errorf("runs %q with anchor %d", h.Running.Version, h.Anchor.Seq)
			}
		})
	}
}

func TestADeviceWhoseStateIsDestroyedIsNotSetBack(t *testing.T) {
	b := newBench(t)
	old := b.repo.publish("main", "1.0.0", v1)
	b.has("1.1.0", v2)
	for _, name := range []string{stateFile, previousState} {
		if err := os.WriteFile(filepath.Join(b.c.cfg.Dir, name), []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b.reopen()
	b.repo.edit("main", func(p *slipstream.PackageState) { p.Rollouts = nil })
	b.repo.offer(old, func(r *slipstream.Rollout) { r.ID = "again" })
	b.update()
	if l := b.start(); l.Packages["main"].Version == "1.0.0" {
		t.Error("a device that confirmed 1.1.0 runs 1.0.0, to which no signed edge leads")
	}
}

func TestAMetricThatIsTooLargeIsRefused(t *testing.T) {
	b := newBench(t)
	b.has("1.0.0", v1)
	if err := b.c.Metric("note", strings.Repeat("x", slipstream.MaxEventDetail+1)); err == nil {
		t.Error("no error")
	}
}

func TestStateWithFieldsOfALaterVersionIsRead(t *testing.T) {
	raw, err := encodeGeneration(7, body{StateRole: "role"})
	if err != nil {
		t.Fatal(err)
	}
	number, b, err := decodeGeneration(raw)
	if err != nil || number != 7 || b.StateRole != "role" {
		t.Fatalf("generation %d, role %q: %v", number, b.StateRole, err)
	}
	later := []byte(`{"stateRole":"role","inventedLater":{"a":1}}`)
	raw = sealedGeneration(t, 8, later)
	if number, b, err = decodeGeneration(raw); err != nil || number != 8 || b.StateRole != "role" {
		t.Fatalf("generation %d, role %q: %v", number, b.StateRole, err)
	}
}

func sealedGeneration(t *testing.T, number int64, body []byte) []byte {
	t.Helper()
	sum := sha256.Sum256(body)
	raw, err := json.Marshal(generation{Format: stateFormat, Number: number, SHA256: hex.EncodeToString(sum[:]), Body: body})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
