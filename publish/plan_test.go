package publish

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/slipstream-ota/slipstream"
)

func manifestOf(t testing.TB, files map[string]string) *slipstream.Manifest {
	t.Helper()
	return &slipstream.Manifest{Files: openTree(t, writeTree(t, files)).Files}
}

func TestCompare(t *testing.T) {
	for name, c := range map[string]struct {
		old, new  map[string]string
		want      string
		unchanged int
		bytes     int64
	}{
		"nothing":             {map[string]string{"a": "1"}, map[string]string{"a": "1"}, "", 1, 0},
		"first release":       {nil, map[string]string{"a": "1", "b": "22"}, "added a, added b", 0, 3},
		"changed":             {map[string]string{"a": "1"}, map[string]string{"a": "22"}, "changed a", 0, 2},
		"removed":             {map[string]string{"a": "1", "b": "2"}, map[string]string{"b": "2"}, "removed a", 1, 0},
		"moved":               {map[string]string{"a": "1"}, map[string]string{"z/a": "1"}, "moved z/a from a", 0, 0},
		"copied":              {map[string]string{"a": "1"}, map[string]string{"a": "1", "b": "1"}, "added b", 1, 0},
		"added twice":         {map[string]string{"x": "0"}, map[string]string{"x": "0", "a": "11", "b": "11"}, "added a, added b", 1, 2},
		"one moved, one gone": {map[string]string{"a": "1", "b": "1"}, map[string]string{"c": "1"}, "removed b, moved c from a", 0, 0},
		"swapped":             {map[string]string{"a": "1", "b": "2"}, map[string]string{"a": "2", "b": "1"}, "changed a, changed b", 0, 0},
		"all at once": {map[string]string{"a": "1", "b": "2", "c": "3"}, map[string]string{"b": "two", "c": "3", "d": "1", "e": "5"},
			"changed b, moved d from a, added e", 1, 4},
	} {
		t.Run(name, func(t *testing.T) {
			var old *slipstream.Manifest
			if c.old != nil {
				old = manifestOf(t, c.old)
			}
			d := Compare(old, manifestOf(t, c.new))
			var lines []string
			for _, x := range d.Changes {
				line := x.Kind + " " + x.Path
				if x.From != "" {
					line += " from " + x.From
				}
				lines = append(lines, line)
			}
			if got := strings.Join(lines, ", "); got != c.want || d.Unchanged != c.unchanged || d.Bytes != c.bytes {
				t.Errorf("got %s; %d unchanged, %d bytes", got, d.Unchanged, d.Bytes)
			}
		})
	}
	t.Run("only the executable bit", func(t *testing.T) {
		old := manifestOf(t, map[string]string{"a": "1"})
		new := &slipstream.Manifest{Files: slices.Clone(old.Files)}
		new.Files[0].Exec = true
		if d := Compare(old, new); len(d.Changes) != 1 || d.Changes[0].Kind != Mode || d.Bytes != 0 {
			t.Errorf("got %+v", d)
		}
	})
}

func TestThePlanComparesWithWhatTheChannelOffers(t *testing.T) {
	p := newPublisher(t, 1, 1)
	must(t)(p.push(t, request("1.0.0"), map[string]string{"a": "one", "b": "two"}))
	beta := request("1.1.0-beta")
	beta.Channel, beta.Rollout = "beta", &NewRollout{Channel: "beta", To: slipstream.FullShare}
	must(t)(p.push(t, beta, map[string]string{"a": "beta"}))
	plan, err := Prepare(t.Context(), p.server, openTree(t, writeTree(t, map[string]string{"a": "one", "b": "changed"})), p.proving(t, request("1.1.0")), now())
	if err != nil {
		t.Fatal(err)
	}
	if plan.Current == nil || plan.Current.Version != "1.0.0" || plan.Diff.Unchanged != 1 || plan.Manifest.Seq != 3 {
		t.Errorf("got %+v", plan)
	}
	if p.server.commits != 2 || p.server.puts != 3 {
		t.Error("planning wrote something")
	}
}

func TestAnOddServerIsRefused(t *testing.T) {
	files := map[string]string{"a": "one"}
	t.Run("root of another app", func(t *testing.T) {
		p := newPublisher(t, 1, 1)
		req := request("1.0.0")
		req.App = "other"
		if _, err := p.push(t, req, files); slipstream.ReasonOf(err, "") != slipstream.ReasonWrongApp {
			t.Errorf("got %v", err)
		}
	})
	t.Run("release that is not the named one", func(t *testing.T) {
		p := newPublisher(t, 1, 1)
		must(t)(p.push(t, request("1.0.0"), files))
		must(t)(p.push(t, request("1.1.0"), map[string]string{"a": "two"}))
		p.server.releases[1].Envelope = p.server.releases[0].Envelope
		if _, err := p.push(t, request("1.2.0"), files); slipstream.ReasonOf(err, "") != slipstream.ReasonManifestMismatch {
			t.Errorf("got %v", err)
		}
	})
	t.Run("entry that is not there", func(t *testing.T) {
		p := newPublisher(t, 1, 1)
		req := request("1.0.0")
		req.Entry = "main.js"
		if _, err := p.push(t, req, files); err == nil || p.server.puts != 0 {
			t.Errorf("got %v", err)
		}
	})
}

func TestWarnings(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		kind  string
		entry string
		want  string // kind: codes
	}{
		"node program":                {map[string]string{"package.json": "{}", "server.js": "run()"}, "", "", "node:"},
		"node without a script":       {map[string]string{"package.json": "{}", "x.ts": ""}, "", "", "node: bundle"},
		"web page that confirms":      {map[string]string{"index.html": "<script>slipstream.confirm()", "a.js": ""}, "", "", "web:"},
		"web page that does not":      {map[string]string{"index.html": "<p>", "a.js": "alert()"}, "", "", "web: confirm"},
		"web without a page":          {map[string]string{"a.js": "markSuccess()", "b": ""}, "web", "", "web: bundle"},
		"react native":                {map[string]string{"index.android.bundle": "codePush.notifyAppReady()", "drawable/x.png": ""}, "", "index.android.bundle", "react-native:"},
		"react native without entry":  {map[string]string{"main.jsbundle": "markSuccess", "x.png": ""}, "", "", "react-native: entry"},
		"react native without bundle": {map[string]string{"x.png": "", "y.png": ""}, "react-native", "", "react-native: bundle confirm"},
		"mini program":                {map[string]string{"app.json": "", "app.js": "slipstream.confirm()"}, "", "", "mini-program:"},
		"mini game":                   {map[string]string{"game.json": "", "game.js": ""}, "", "", "mini-program: confirm"},
		"mini program, wrong folder":  {map[string]string{"src/app.json": "", "src/app.js": "Slipstream"}, "mini-program", "", "mini-program: bundle"},
		"easyclick":                   {map[string]string{"script.iec": "x"}, "", "", "easyclick:"},
		"easyclick without its file":  {map[string]string{"a": "", "b": ""}, "easyclick", "", "easyclick: bundle"},
		"easyclick with two":          {map[string]string{"a.iec": "", "b.iec": ""}, "", "", "easyclick: entry"},
		"ocrunner":                    {map[string]string{"binarypatch": "x"}, "ocrunner", "", "ocrunner:"},
		"ocrunner with two":           {map[string]string{"a": "", "b": ""}, "ocrunner", "", "ocrunner: entry"},
		"plain files":                 {map[string]string{"rules.yaml": "x", "b": ""}, "", "", "files:"},
		"what should not be there": {map[string]string{"package.json": "{}", "a.js": "", "a.js.map": "", "node_modules/x/y.js": "", ".env.production": "", "k.p12": ""}, "", "",
			"node: source_map node_modules secret"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPublisher(t, 1, 1)
			req := request("1.0.0")
			req.Kind, req.Entry = c.kind, c.entry
			plan, err := Prepare(t.Context(), p.server, openTree(t, writeTree(t, c.files)), p.proving(t, req), now())
			if err != nil {
				t.Fatal(err)
			}
			got := plan.Kind + ":"
			for _, w := range plan.Warnings {
				got += " " + w.Code
			}
			if got != c.want {
				t.Errorf("got %q, want %q: %v", got, c.want, plan.Warnings)
			}
		})
	}
	t.Run("huge file", func(t *testing.T) {
		if w := checkFiles([]slipstream.File{{Path: "video.mp4", Size: 51 << 20}}); len(w) != 1 || w[0].Code != WarnHuge {
			t.Errorf("got %v", w)
		}
	})
	t.Run("many are named by three", func(t *testing.T) {
		var files []slipstream.File
		for i := range 9 {
			files = append(files, slipstream.File{Path: fmt.Sprint(i, ".map")})
		}
		if w := checkFiles(files); len(w) != 1 || !strings.HasPrefix(w[0].Text, "0.map, 1.map, 2.map, 6 more: ") {
			t.Errorf("got %v", w)
		}
	})
	t.Run("a host that confirms", func(t *testing.T) {
		p := newPublisher(t, 1, 1)
		p.server.confirms = true
		plan, err := Prepare(t.Context(), p.server, openTree(t, writeTree(t, map[string]string{"index.html": "<p>", "a.js": "alert()"})), p.proving(t, request("1")), now())
		if err != nil || plan.Kind != KindWeb || len(plan.Warnings) != 0 {
			t.Errorf("got %+v, %v", plan, err)
		}
	})
	t.Run("what the server knows", func(t *testing.T) {
		p := newPublisher(t, 1, 1)
		p.server.warnings = []string{"no device ever asked for runtime >=9"}
		p.server.kind = KindOCRunner
		plan, err := Prepare(t.Context(), p.server, openTree(t, writeTree(t, map[string]string{"a": ""})), p.proving(t, request("1")), now())
		if err != nil || plan.Kind != KindOCRunner || len(plan.Warnings) != 1 || plan.Warnings[0].Code != WarnServer {
			t.Errorf("got %+v, %v", plan, err)
		}
	})
}

func TestConfirmCallIsFoundAcrossReads(t *testing.T) {
	for _, at := range []int{0, 64<<10 - 5, 64<<10 - 64, 200_000} {
		files := map[string]string{"index.html": "", "app.js": strings.Repeat("x", at) + "notifyAppReady()" + strings.Repeat("y", 1000)}
		tree := openTree(t, writeTree(t, files))
		if found, err := findConfirm(t.Context(), tree, tree.Files); err != nil || !found {
			t.Errorf("at %d: %v, %v", at, found, err)
		}
	}
}

func TestDataFormatsThatAWayBackCannotRead(t *testing.T) {
	p := newPublisher(t, 1, 1)
	publish := func(version string, d *slipstream.DataFormats) []Warning {
		req := request(version)
		req.Data = d
		plan, err := Prepare(t.Context(), p.server, openTree(t, writeTree(t, map[string]string{"rules": version})), p.proving(t, req), now())
		if err != nil {
			t.Fatal(err)
		}
		must(t)(Push(t.Context(), p.server, plan, p.signers, now, nil))
		return plan.Warnings
	}
	if w := publish("1", &slipstream.DataFormats{Reads: []string{"v1"}, Writes: "v1"}); len(w) != 0 {
		t.Errorf("the first one: %v", w)
	}
	if w := publish("2", &slipstream.DataFormats{Reads: []string{"v1", "v2"}, Writes: "v1"}); len(w) != 0 {
		t.Errorf("the careful one: %v", w)
	}
	w := publish("3", &slipstream.DataFormats{Reads: []string{"v1", "v2"}, Writes: "v2"})
	if len(w) != 1 || w[0].Code != WarnData || !strings.Contains(w[0].Text, " 1 ") || strings.Contains(w[0].Text, " 2,") {
		t.Errorf("the switch: %v", w)
	}
}

func TestParseRequirement(t *testing.T) {
	d := strings.Repeat("ab", 32)
	for in, want := range map[string]string{
		"base>=12":               "base 12 []",
		"base >= 0":              "base 0 []",
		"base=" + d:              "base 0 [" + d + "]",
		"base=" + d + ", " + d:   "base 0 [" + d + " " + d + "]",
		"base":                   "",
		"base>=":                 "",
		"base>=-1":               "",
		"base>=1.5":              "",
		"base=12":                "",
		"Base>=1":                "",
		">=1":                    "",
		"base=" + d[:63]:         "",
		"base=" + d + ",":        "",
		"base=" + d[:62] + "AB":  "",
		"base>=9007199254740993": "base 9007199254740993 []", // CheckManifest judges ranges
	} {
		pkg, r, err := ParseRequirement(in)
		got := fmt.Sprint(pkg, " ", r.MinSeq, " ", r.Digests)
		if err != nil {
			got = ""
		}
		if got != want {
			t.Errorf("%q: got %q, want %q (%v)", in, got, want, err)
		}
	}
}

func TestParseCondition(t *testing.T) {
	for in, want := range map[string]string{
		"country in cn,jp":                      `country in ["cn","jp"]`,
		"country = cn":                          `country in ["cn"]`,
		"country != cn":                         `country not_in ["cn"]`,
		"  locale   not_in  de-DE , fr ":        `locale not_in ["de-DE","fr"]`,
		"seq in 1,2":                            `seq in [1,2]`,
		"seq gte 12":                            `seq gte 12`,
		"seq >= 12":                             `seq gte 12`,
		"seq < 12":                              `seq lt 12`,
		"os semver >=14 <16":                    `os semver ">=14 <16"`,
		"first_seen before 2026-01-31":          `first_seen before "2026-01-31T00:00:00Z"`,
		"first_seen after 2026-01-31T08:00:00Z": `first_seen after "2026-01-31T08:00:00Z"`,
		"custom.beta exists":                    `custom.beta exists true`,
		"custom.beta exists false":              `custom.beta exists false`,
		"custom.group in a,b":                   `custom.group in ["a","b"]`,
		"device in abc":                         `device in ["abc"]`,
		"country":                               "",
		"country is cn":                         "",
		"country in":                            "",
		"seq in one":                            "",
		"seq gte x":                             "",
		"os semver >>1":                         "",
		"first_seen before yesterday":           "",
		"custom.beta exists maybe":              "",
		"shoesize in 42":                        "",
		"":                                      "",
	} {
		c, err := ParseCondition(in)
		got := c.Attr + " " + c.Op + " " + string(c.Value)
		if err != nil {
			got = ""
		}
		if got != want {
			t.Errorf("%q: got %q, want %q (%v)", in, got, want, err)
		}
	}
}

func TestParseShare(t *testing.T) {
	for in, want := range map[string]int{"100%": 10000, "10%": 1000, "0%": 0, "0.5%": 50, "12.34 %": 1234, "1.0%": 100,
		"101%": -1, "10": -1, "%": -1, "-1%": -1, "1.234%": -1, "ten%": -1, "1e1%": -1, "": -1, "100.01%": -1, ".5%": 50} {
		got, err := ParseShare(in)
		if err != nil {
			got = -1
		}
		if got != want {
			t.Errorf("%q: got %d, want %d (%v)", in, got, want, err)
		}
	}
}

func TestManifestsThatAreTooLargeAreRefusedBeforeAnythingIsSent(t *testing.T) {
	p := newPublisher(t, 1, 1)
	req := request("1.0.0")
	big, err := json.Marshal(strings.Repeat("x", slipstream.MaxManifestBytes))
	if err != nil {
		t.Fatal(err)
	}
	req.Meta = map[string]json.RawMessage{"big": big}
	_, err = p.push(t, req, map[string]string{"a": "one"})
	if slipstream.ReasonOf(err, "") != slipstream.ReasonTooLarge || p.server.puts != 0 || slipstream.HintOf(err) == "" {
		t.Errorf("got %v", err)
	}
	if errors.Is(err, slipstream.ErrConflict) {
		t.Error("it is no conflict")
	}
}
