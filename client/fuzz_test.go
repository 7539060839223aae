package client

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/client/trial"
)

// FuzzStateBody feeds the body of state.json below a checksum that is right, as an older or a foreign program may have
// written it: it is refused, or the state machine can go on from it.
func FuzzStateBody(f *testing.F) {
	release := trial.Release{Digest: slipstream.DigestOf(sha256.Sum256([]byte("a"))), Seq: 2, Version: "1.1.0", Runtime: slipstream.AnyRuntime()}
	on := trial.New("production", "3.0.0")
	env := trial.Env{Now: time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC), Process: "p", Runtime: "3.0.0", Fits: func(slipstream.Runtime) bool { return true },
		Embedded: map[string]trial.Release{"main": {Embedded: true, Runtime: slipstream.AnyRuntime()}}}
	staged, _, err := trial.Stage(on, env, map[string]trial.Release{"main": release})
	if err != nil {
		f.Fatal(err)
	}
	started, _, _ := trial.ColdStart(staged, env, trial.Opening{Token: "token", Packages: []string{"main"}})
	confirmed, _, err := trial.Confirm(started, env, "token")
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []trial.State{on, staged, started, confirmed} {
		raw, err := json.Marshal(body{Trial: s, RootChecked: 5})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var written body
		if json.Unmarshal(raw, &written) != nil {
			return
		}
		raw, err := json.Marshal(written) // as the writer writes it: anything else is refused at once
		if err != nil {
			return
		}
		sum := sha256.Sum256(raw)
		data, err := json.Marshal(generation{Format: stateFormat, Number: 1, SHA256: hex.EncodeToString(sum[:]), Body: raw})
		if err != nil {
			return // not JSON
		}
		_, b, err := decodeGeneration(data)
		if err != nil {
			if slipstream.ReasonOf(err, "") != slipstream.ReasonStorageCorrupted {
				t.Fatalf("no reason: %v", err)
			}
			return
		}
		s, launch, _ := trial.ColdStart(b.Trial, env, trial.Opening{Token: "next", Packages: []string{"main"}})
		if _, runs := launch.Runs["main"]; !runs {
			t.Fatalf("nothing runs: %+v", launch)
		}
		if _, _, err := trial.End(s, env, "next", trial.Crash, ""); err != nil {
			t.Fatalf("its start cannot end: %v", err)
		}
		s, _ = trial.Lose(s, env, func(slipstream.Digest) bool { return true })
		if r := s.Running(env, "main"); !r.Embedded {
			t.Fatalf("%s runs although every tree is lost", r.Digest)
		}
		trial.Garbage([]slipstream.Digest{release.Digest}, nil, s)
	})
}
