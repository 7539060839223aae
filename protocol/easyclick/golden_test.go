package easyclick

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/protocol/protocoltest"
	"github.com/slipstream-ota/slipstream/rollout"
)

var update = flag.Bool("update", false, "write the golden files anew")

// world is a server with EasyClick switched on.
func world(t testing.TB) (*protocoltest.World, *Server) {
	t.Helper()
	w := protocoltest.New(t, Protocol{})
	s := New(Config{Catalogue: w.Keeper.Catalogue, Decider: w.Devices, Bytes: w.Devices.Handler(), BaseURL: protocoltest.BaseURL})
	return w, s
}

// publish reads "publish VERSION [name=value …]": file, text, share, mode, mandatory, message, timeout, runtime, platform,
// when (attr op value), none (no rollout).
func publish(t *testing.T, w *protocoltest.World, words []string) {
	t.Helper()
	r := protocoltest.Release{Version: words[0], Offer: &rollout.Offer{Channel: "production", To: slipstream.FullShare}}
	file, text := "main.iec", "script "+words[0]
	zero := 0
	r.Offer.Control = &zero
	for _, word := range words[1:] {
		name, value, _ := strings.Cut(word, "=")
		switch name {
		case "file":
			file = value
		case "text":
			text = value
		case "share":
			to, err := strconv.Atoi(value)
			if err != nil {
				t.Fatal(err)
			}
			r.Offer.To = to
		case "mode":
			r.Offer.Apply.Mode = value
		case "mandatory":
			r.Offer.Apply.Mandatory = true
		case "message":
			r.Offer.Apply.Message = strings.ReplaceAll(value, "_", " ")
		case "timeout":
			n, err := strconv.Atoi(value)
			if err != nil {
				t.Fatal(err)
			}
			r.Offer.Apply.Timeout = n
		case "runtime":
			r.Runtime = slipstream.Runtime{Range: value}
		case "platform":
			r.Platform = value
		case "when":
			attr, rest, _ := strings.Cut(value, ",")
			op, v, _ := strings.Cut(rest, ",")
			r.Offer.When = append(r.Offer.When, slipstream.Condition{Attr: attr, Op: op, Value: json.RawMessage(v)})
		case "none":
			r.Offer = nil
		default:
			t.Fatalf("publish does not know %s", name)
		}
	}
	r.Files = map[string]string{file: text}
	w.Publish(r)
}

// set runs the lines of a case's comment.
func set(t *testing.T, w *protocoltest.World, script string) {
	t.Helper()
	for line := range strings.Lines(script) {
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(line, "#") {
			continue
		}
		var err error
		switch ctx := t.Context(); words[0] {
		case "enable":
			w.Enable(strings.Join(words[1:], " "))
		case "publish":
			publish(t, w, words[1:])
		case "pause":
			_, err = w.Rollout.Pause(ctx, "test", "shop", "production", w.RolloutOf(words[1]))
		case "withdraw":
			_, err = w.Rollout.Withdraw(ctx, "test", "shop", "production", rollout.WithdrawSpec{Release: w.DigestOf(words[1])})
		default:
			err = fmt.Errorf("a case does not know %s", words[0])
		}
		if err != nil {
			t.Fatalf("%s: %v", strings.TrimSpace(line), err)
		}
		w.Settle()
	}
}

// TestGolden runs testdata/*.txt: a script that sets the server up, requests, and what each is answered.
func TestGolden(t *testing.T) {
	t.Parallel()
	cases, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(cases) < 20 {
		t.Fatalf("%d cases, %v", len(cases), err)
	}
	for _, file := range cases {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			w, s := world(t)
			set(t, w, string(a.Comment))
			for i, f := range a.Files {
				if f.Name != "request" {
					continue
				}
				got := ask(t, s, string(f.Data))
				if *update {
					a.Files[i+1].Data = []byte(got)
					continue
				}
				if want := string(a.Files[i+1].Data); strings.TrimSpace(got) != strings.TrimSpace(want) {
					t.Errorf("%s\ngot:\n%s\nwant:\n%s", f.Data, got, want)
				}
			}
			if *update {
				if err := os.WriteFile(file, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// ask sends "METHOD path" with headers below it.
func ask(t *testing.T, s http.Handler, text string) string {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(text), "\n")
	method, target, _ := strings.Cut(lines[0], " ")
	r := httptest.NewRequest(method, protocoltest.Base+"/", nil)
	r.URL.Path, r.URL.RawQuery, _ = strings.Cut(target, "?")
	for _, l := range lines[1:] {
		name, value, _ := strings.Cut(l, ": ")
		r.Header.Set(name, value)
	}
	rec := httptest.NewRecorder()
	s.ServeHTTP(rec, r)
	return protocoltest.Describe(rec.Result(), rec.Body.Bytes(), "Content-Type", "Content-Length", "Content-Range", "Etag", "Cache-Control", "Allow", "X-Slipstream-Reason") + "\n"
}
