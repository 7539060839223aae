package driver

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"io"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/sign"
)

// dialogue serves a device over pipes and asks it line by line.
func dialogue(t *testing.T) func(c Command) Answer {
	t.Helper()
	commands, in := io.Pipe()
	out, answers := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := Serve(context.Background(), &Device{}, commands, answers)
		done <- err
		answers.CloseWithError(io.EOF)
	}()
	t.Cleanup(func() {
		in.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	ask, hear := json.NewEncoder(in), json.NewDecoder(out)
	return func(c Command) Answer {
		t.Helper()
		if err := ask.Encode(c); err != nil {
			t.Fatal(err)
		}
		var a Answer
		if err := hear.Decode(&a); err != nil {
			t.Fatal(err)
		}
		return a
	}
}

func shippedRoot(t *testing.T, threshold int) string {
	t.Helper()
	signer := func(n byte) sign.Signer {
		seed := make([]byte, ed25519.SeedSize)
		seed[0] = n
		return sign.NewSigner(ed25519.NewKeyFromSeed(seed))
	}
	keys := func(n byte) sign.RoleKeys { return sign.RoleKeys{Keys: []ed25519.PublicKey{signer(n).Public()}} }
	root, err := sign.NewRoot("shop", time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC), keys(1), keys(2), keys(3))
	if err != nil {
		t.Fatal(err)
	}
	e, err := sign.Seal(sign.TypeRoot, root, []sign.Signer{signer(1)}[:threshold]...)
	if err != nil {
		t.Fatal(err)
	}
	return string(e.Encode())
}

func TestTheProtocol(t *testing.T) {
	t.Parallel()
	tell := dialogue(t)
	now := slipstream.At(time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC))
	setup := Setup{App: "shop", Runtime: "1.0.0", Servers: []string{"http://127.0.0.1:1"}, Root: shippedRoot(t, 1), Limits: Limits{Document: 500}}

	if a := tell(Command{Do: DoUpdate}); a.OK {
		t.Error("an update before init:", a)
	}
	bad := setup
	bad.Root = shippedRoot(t, 0)
	if a := tell(Command{Do: DoInit, Now: &now, Setup: bad}); a.OK || a.Reason != slipstream.ReasonSignatureInvalid {
		t.Error("a shipped root without a signature:", a)
	}
	if a := tell(Command{Do: DoInit, Now: &now, Setup: setup}); !a.OK || a.Root != 1 || !a.Packages["main"].Embedded {
		t.Error("init:", a)
	}
	if a := tell(Command{Do: DoConfirm}); a.OK {
		t.Error("a confirm before a start:", a)
	}
	if a := tell(Command{Do: DoUpdate}); a.OK || a.Reason != slipstream.ReasonNetwork {
		t.Error("an update without a server:", a)
	}
	if a := tell(Command{Do: DoStart}); !a.OK || !a.Packages["main"].Embedded {
		t.Error("start:", a)
	}
	for _, do := range []string{DoConfirm, DoState, DoCrash} {
		if a := tell(Command{Do: do}); !a.OK {
			t.Error(do, a)
		}
	}
	if a := tell(Command{Do: "dance"}); a.OK {
		t.Error("a command that is not known:", a)
	}
	if a := tell(Command{Do: DoQuit}); !a.OK {
		t.Error("quit:", a)
	}
}
