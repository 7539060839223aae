package report

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/slipstream-ota/slipstream"
)

var someDevice = strings.Repeat("a", 64)

// item is a good event as JSON with extra members; a later member of one name wins.
func item(extra string) string {
	if extra != "" {
		extra = "," + extra
	}
	return `{"id":"event-0001","kind":"confirmed","app":"shop","device":"` + someDevice + `"` + extra + `}`
}

func TestOneEventAndAnArray(t *testing.T) {
	for name, c := range map[string]struct {
		body string
		want int
	}{
		"one event":        {item(""), 1},
		"with spaces":      {" \n" + item("") + "\n ", 1},
		"an array":         {"[" + item("") + "," + item(`"id":"event-0002"`) + "]", 2},
		"an empty array":   {"[]", 0},
		"an unknown field": {item(`"weather":{"rain":[1.5]}`), 1},
		"an unknown kind":  {item(`"kind":"smiled"`), 1},
		"everything": {item(`"channel":"production","package":"main","release":"` + someDevice + `","running":"` + someDevice + `","rollout":"ro_1","arm":"control",
			"epoch":1764000000,"at":"2026-11-21T08:00:00Z","platform":"android","runtime":"3.2.0","stage":"fetch","reason":"network","detail":"dns\nfailed","attempt":2,"bytes":1234,"codec":"full/1"`), 1},
		"a metric":        {item(`"kind":"metric","metric":"startup_ms","value":312.75`), 1},
		"a boolean":       {item(`"kind":"metric","metric":"ok","value":true`), 1},
		"a number in 1e3": {item(`"kind":"metric","metric":"ok","value":-1.5e3`), 1},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := ParseEvents([]byte(c.body))
			if err != nil {
				t.Fatal(err)
			}
			if len(b.Events) != c.want {
				t.Errorf("%d events, want %d: %+v", len(b.Events), c.want, b.results)
			}
		})
	}
}

func TestABadItemIsRefusedAlone(t *testing.T) {
	for extra, wrong := range map[string]string{
		`"id":"short"`:                           "id",
		`"id":""`:                                "id",
		`"id":"with space"`:                      "id",
		`"id":"` + strings.Repeat("a", 65) + `"`: "id",
		`"kind":""`:                              "kind",
		`"kind":"Big Kind"`:                      "kind",
		`"app":"Shop"`:                           "app",
		`"app":""`:                               "app",
		`"channel":"../x"`:                       "channel",
		`"package":"a b"`:                        "package",
		`"platform":"Ä"`:                         "platform",
		`"device":"abc"`:                         "device",
		`"device":"` + strings.Repeat("A", 64) + `"`: "device",
		`"release":"abc"`:          "release",
		`"running":"abc"`:          "running",
		`"arm":"both"`:             "arm",
		`"epoch":-1`:               "epoch",
		`"epoch":1.5`:              "epoch",
		`"epoch":"1"`:              "epoch",
		`"bytes":9007199254740992`: "bytes",
		`"attempt":-2`:             "attempt",
		`"at":"yesterday"`:         "time",
		`"at":5`:                   "time",
		`"runtime":"` + strings.Repeat("1", 257) + `"`: "runtime",
		`"stage":"a\u0000b"`:                           "stage",
		`"reason":"a\nb"`:                              "reason",
		`"kind":"metric"`:                              "metric",
		`"kind":"metric","metric":"m"`:                 "metric",
		`"kind":"metric","metric":"m","value":"5"`:     "value",
		`"value":[1]`:                                  "value",
		`"value":{"a":1}`:                              "value",
		`"value":1e999`:                                "value",
	} {
		t.Run(extra[:min(len(extra), 40)], func(t *testing.T) {
			b, err := ParseEvents([]byte("[" + item("") + "," + item(extra) + "," + item(`"id":"event-0003"`) + "]"))
			if err != nil {
				t.Fatal(err)
			}
			got := b.Results([]slipstream.EventResult{{Status: slipstream.EventAccepted}, {Status: slipstream.EventDuplicate}})
			if len(b.Events) != 2 || got[0].Status != slipstream.EventAccepted || got[2].Status != slipstream.EventDuplicate || got[2].Index != 2 {
				t.Fatalf("the good neighbours: %+v", got)
			}
			if got[1].Status != slipstream.EventRefused || got[1].Index != 1 || !strings.Contains(got[1].Error, wrong) {
				t.Errorf("the bad one: %+v, want an error about %s", got[1], wrong)
			}
		})
	}
	for _, raw := range []string{"null", "5", `"x"`, "[]", "{}"} {
		b, err := ParseEvents([]byte("[" + raw + "]"))
		if err != nil || len(b.Events) != 0 || b.results[0].Status != slipstream.EventRefused {
			t.Errorf("%s: %+v, %v", raw, b, err)
		}
	}
}

func TestABadBodyIsRefusedWhole(t *testing.T) {
	many := "[" + strings.TrimSuffix(strings.Repeat("{},", MaxEvents+1), ",") + "]"
	for name, c := range map[string]struct {
		body   string
		reason slipstream.Reason
	}{
		"empty":          {"", slipstream.ReasonMalformed},
		"no JSON":        {"hello", slipstream.ReasonMalformed},
		"cut off":        {"[" + item(""), slipstream.ReasonMalformed},
		"trailing data":  {item("") + item(""), slipstream.ReasonMalformed},
		"trailing array": {"[] []", slipstream.ReasonMalformed},
		"not UTF-8":      {item("\"detail\":\"\xff\""), slipstream.ReasonMalformed},
		"too many":       {many, slipstream.ReasonTooLarge},
		"too large":      {item(`"detail":"` + strings.Repeat("a", MaxBody) + `"`), slipstream.ReasonTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := ParseEvents([]byte(c.body)); slipstream.ReasonOf(err, "") != c.reason {
				t.Errorf("got %v, want reason %s", err, c.reason)
			}
		})
	}
}

func TestALongDetailIsCutBetweenCharacters(t *testing.T) {
	b, err := ParseEvents([]byte(item(`"detail":"a` + strings.Repeat("鹽", 2000) + `"`)))
	if err != nil || len(b.Events) != 1 {
		t.Fatal(b, err)
	}
	d := b.Events[0].Detail
	if len(d) > slipstream.MaxEventDetail || len(d) < slipstream.MaxEventDetail-3 || !utf8.ValidString(d) {
		t.Errorf("%d bytes, valid %v", len(d), utf8.ValidString(d))
	}
	if b, err = ParseEvents([]byte(item(`"detail":"a\u0000b"`))); err != nil || b.Events[0].Detail != "ab" {
		t.Errorf("NUL stays: %+v, %v", b, err)
	}
}

func FuzzParseEvents(f *testing.F) {
	f.Add([]byte(item("")))
	f.Add([]byte("[" + item("") + ",null,5]"))
	f.Add([]byte(item(`"kind":"metric","metric":"m","value":1.5`)))
	f.Add([]byte(`[[[[`))
	f.Fuzz(func(t *testing.T, body []byte) {
		b, err := ParseEvents(body)
		if err != nil {
			return
		}
		stored := make([]slipstream.EventResult, len(b.Events))
		for i := range stored {
			stored[i].Status = slipstream.EventAccepted
		}
		for i, r := range b.Results(stored) {
			if r.Index != i || r.Status == "" || (r.Status == slipstream.EventRefused) == (r.Error == "") {
				t.Fatalf("line %d: %+v", i, r)
			}
		}
		for _, e := range b.Events {
			if !validID(e.ID) || e.App == "" || len(e.Detail) > slipstream.MaxEventDetail {
				t.Fatalf("accepted %+v", e)
			}
			again, err := json.Marshal(e)
			if err != nil {
				t.Fatalf("an accepted event cannot be stored: %v", err)
			}
			if c, err := ParseEvents(again); err != nil || len(c.Events) != 1 || fmt.Sprint(c.Events[0].ID) != e.ID {
				t.Fatalf("an accepted event is refused when it comes again: %s: %v", again, err)
			}
		}
	})
}
