package protocoltest

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/protocol"
	"github.com/slipstream-ota/slipstream/rollout"
)

// Golden runs the cases testdata/*.txt of an adapter: one case a file, a script that sets the server up, then requests,
// each followed by what it is answered.
//
//	# what is promised
//	enable {"package":"main"}
//	publish 1.0.0 share=5000 message=some_text
//	-- request --
//	GET /path?query
//	Header: value
//
//	body
//	-- response --
//	200
//	…
//
// A script knows enable, publish (see publish), channel, pause, retry, withdraw, rollback (to a version), share (of a version's rollout),
// sleep (of the server's clock). What is random
// in an answer stands as {1}, {2} … in the order of its first appearance, and may be used so in later requests; random
// says what that is. With update the answers are written anew.
func Golden(t *testing.T, p protocol.Protocol, serve func(w *World) http.Handler, random *regexp.Regexp, update bool, headers ...string) {
	t.Helper()
	cases, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(cases) == 0 {
		t.Fatalf("%d cases, %v", len(cases), err)
	}
	for _, file := range cases {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			w := New(t, p)
			c := &golden{World: w, t: t, handler: serve(w), random: random, headers: headers}
			c.set(string(a.Comment))
			for i, f := range a.Files {
				switch {
				case f.Name == "set":
					c.set(string(f.Data))
				case f.Name == "request":
					got := c.ask(string(f.Data))
					if update {
						a.Files[i+1].Data = []byte(got)
						continue
					}
					if want := string(a.Files[i+1].Data); strings.TrimSpace(got) != strings.TrimSpace(want) {
						t.Errorf("%s\ngot:\n%s\nwant:\n%s", f.Data, got, want)
					}
				}
			}
			if update {
				if err := os.WriteFile(file, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// UpdateFlag is the flag that makes Golden write its files anew.
func UpdateFlag() *bool { return flag.Bool("update", false, "write the golden files anew") }

type golden struct {
	*World
	t       *testing.T
	handler http.Handler
	random  *regexp.Regexp
	seen    []string
	headers []string
}

// publish reads "publish VERSION [name=value …]": file, text (of the file before it; a release may have many), package, share, from, mode, mandatory, message, timeout,
// priority, runtime, platform, when (attr,op,value), none (no rollout).
func (c *golden) publish(words []string) {
	c.t.Helper()
	zero := 0
	r := Release{Version: words[0], Offer: &rollout.Offer{Channel: "production", To: slipstream.FullShare, Control: &zero}}
	file := "main.iec"
	r.Files = map[string]string{}
	for _, word := range words[1:] {
		name, value, _ := strings.Cut(word, "=")
		switch name {
		case "file":
			file = value
			r.Files[file] = "script " + words[0]
		case "text":
			r.Files[file] = value
		case "package":
			r.Package = value
		case "channel":
			r.Offer.Channel = value
		case "share":
			r.Offer.To = c.number(value)
		case "from":
			r.Offer.From = c.number(value)
		case "mode":
			r.Offer.Apply.Mode = value
		case "mandatory":
			r.Offer.Apply.Mandatory = true
		case "message":
			r.Offer.Apply.Message = strings.ReplaceAll(value, "_", " ")
		case "timeout":
			r.Offer.Apply.Timeout = c.number(value)
		case "priority":
			r.Offer.Apply.Priority = value
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
			c.t.Fatalf("publish does not know %s", name)
		}
	}
	if len(r.Files) == 0 {
		r.Files[file] = "script " + words[0]
	}
	c.Publish(r)
}

func (c *golden) number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		c.t.Fatal(err)
	}
	return n
}

// set runs the lines of a script.
func (c *golden) set(script string) {
	c.t.Helper()
	for line := range strings.Lines(script) {
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(line, "#") {
			continue
		}
		var err error
		switch ctx := c.t.Context(); words[0] {
		case "enable":
			c.Enable(strings.Join(words[1:], " "))
		case "publish":
			c.publish(words[1:])
		case "channel":
			_, err = c.Rollout.CreateChannel(ctx, "test", rollout.ChannelSpec{App: "shop", Name: words[1]})
		case "pause":
			_, err = c.Rollout.Pause(ctx, "test", "shop", "production", c.RolloutOf(words[1]))
		case "withdraw":
			_, err = c.Rollout.Withdraw(ctx, "test", "shop", "production", rollout.WithdrawSpec{Release: c.DigestOf(words[1])})
		case "rollback":
			_, err = c.Rollout.RollBack(ctx, "test", "shop", "production", rollout.RollbackSpec{Package: slipstream.DefaultPackage, To: c.DigestOf(words[1])})
		case "retry":
			_, err = c.Rollout.Edit(ctx, "test", "shop", "production", c.RolloutOf(words[1]), rollout.Change{Retry: true})
		case "share":
			_, err = c.Rollout.Share(ctx, "test", "shop", "production", c.RolloutOf(words[1]), c.number(words[2]))
		case "sleep":
			d, perr := time.ParseDuration(words[1])
			err = perr
			c.Now = c.Now.Add(d)
		case "lose":
			err = c.Blobs.Delete(ctx, slipstream.Digest(words[1]))
		default:
			err = fmt.Errorf("a case does not know %s", words[0])
		}
		if err != nil {
			c.t.Fatalf("%s: %v", strings.TrimSpace(line), err)
		}
		c.Settle()
	}
}

// ask sends "METHOD path", with headers below it, and a body below an empty line.
func (c *golden) ask(text string) string {
	c.t.Helper()
	for i, s := range c.seen {
		text = strings.ReplaceAll(text, fmt.Sprintf("{%d}", i+1), s)
	}
	head, body, _ := strings.Cut(strings.TrimSpace(text), "\n\n")
	lines := strings.Split(head, "\n")
	method, target, _ := strings.Cut(lines[0], " ")
	r := httptest.NewRequest(method, Base+"/", strings.NewReader(body))
	r.URL.Path, r.URL.RawQuery, _ = strings.Cut(target, "?")
	for _, l := range lines[1:] {
		name, value, _ := strings.Cut(l, ": ")
		r.Header.Set(name, value)
	}
	rec := httptest.NewRecorder()
	c.handler.ServeHTTP(rec, r)
	var out bytes.Buffer
	fmt.Fprintf(&out, "%d\n", rec.Code)
	for _, h := range c.headers {
		if v := rec.Header().Values(h); len(v) > 0 {
			fmt.Fprintf(&out, "%s: %s\n", h, strings.Join(v, ", "))
		}
	}
	_, _ = io.WriteString(&out, "\n"+rec.Body.String()+"\n")
	got := out.String()
	if c.random == nil {
		return got
	}
	return c.random.ReplaceAllStringFunc(got, func(s string) string {
		for i, old := range c.seen {
			if old == s {
				return fmt.Sprintf("{%d}", i+1)
			}
		}
		c.seen = append(c.seen, s)
		return fmt.Sprintf("{%d}", len(c.seen))
	})
}
