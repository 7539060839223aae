package deliver

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/decide"
	"github.com/slipstream-ota/slipstream/sign"
)

// decision asks and opens the answer as a device would.
func (w *world) decision(body string) *slipstream.Decision {
	w.t.Helper()
	r := w.ask("POST", "/v1/check", body)
	answer := bodyOf(w.t, r)
	if r.StatusCode != http.StatusOK || r.Header.Get("Cache-Control") != "no-store" || r.Header.Get("Content-Length") != fmt.Sprint(len(answer)) {
		w.t.Fatalf("status %d, %v: %s", r.StatusCode, r.Header, answer)
	}
	var req slipstream.CheckRequest
	if err := json.Unmarshal([]byte(body), &req); err != nil {
		w.t.Fatal(err)
	}
	return must[*slipstream.Decision](w.t)(w.trust.AcceptDecision([]byte(answer),
		sign.ExpectDecision{App: req.App, Channel: req.Channel, Device: req.Device.ID, Nonce: req.Nonce, Now: w.now()}))
}

func TestCheckGivesASignedDecision(t *testing.T) {
	w := newWorld(t).start()
	d := w.decision(checkBody(t))
	apply := slipstream.Apply{Mode: slipstream.ModePrompt, Message: "Größe <5 MB>"}
	want := map[string]slipstream.PackageDecision{"main": {Verdict: slipstream.VerdictUpdate, Reason: slipstream.ReasonNewRelease, Rollout: "ro_5",
		Release: &slipstream.ReleaseRef{Digest: digestOf("5"), Seq: 5, Version: "1.5.0", Size: 5000}, Apply: &apply}}
	if !reflect.DeepEqual(d.Packages, want) {
		t.Errorf("decided %+v", d.Packages)
	}
	if d.Epoch != 1 || d.CheckAfter != 900 || !d.Issued.Equal(noon) || d.Expires.Sub(noon) != 5*time.Minute {
		t.Errorf("decision %+v", d)
	}
}

func TestCheckDecidesLikeTheState(t *testing.T) {
	pkg := func(p slipstream.PackageOnBoard) func(*slipstream.CheckRequest) {
		return func(r *slipstream.CheckRequest) { r.Packages = map[string]slipstream.PackageOnBoard{"main": p} }
	}
	for _, c := range []struct {
		name    string
		state   []func(*slipstream.PackageState)
		request func(*slipstream.CheckRequest)
		verdict slipstream.Verdict
		reason  slipstream.Reason
	}{
		{"up to date", nil, pkg(slipstream.PackageOnBoard{Digest: digestOf("5"), Seq: 5, Anchor: 5}), slipstream.VerdictNone, slipstream.ReasonUpToDate},
		{"newer", nil, pkg(slipstream.PackageOnBoard{Digest: digestOf("6"), Seq: 6, Anchor: 6}), slipstream.VerdictNone, slipstream.ReasonKeepNewer},
		{"refused", nil, pkg(slipstream.PackageOnBoard{Digest: digestOf("4"), Seq: 4, Refused: []slipstream.Digest{digestOf("5")}}), slipstream.VerdictNone, slipstream.ReasonRefusedAfterCrash},
		{"below the anchor", nil, pkg(slipstream.PackageOnBoard{Digest: digestOf("4"), Seq: 4, Anchor: 6}), slipstream.VerdictNone, slipstream.ReasonDowngrade},
		{"embedded", nil, pkg(slipstream.PackageOnBoard{}), slipstream.VerdictUpdate, slipstream.ReasonNewRelease},
		{"withdrawn", []func(*slipstream.PackageState){withdrawn("5"), withdrawn("6")}, pkg(slipstream.PackageOnBoard{Digest: digestOf("6"), Seq: 6, Anchor: 6}), slipstream.VerdictRollback, slipstream.ReasonWithdrawn},
		{"nobody in particular", nil, func(r *slipstream.CheckRequest) { r.Device = slipstream.DeviceFacts{} }, slipstream.VerdictUpdate, slipstream.ReasonNewRelease},
		{"every package", nil, func(r *slipstream.CheckRequest) { clear(r.Packages) }, slipstream.VerdictUpdate, slipstream.ReasonNewRelease},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.put("shop", "production", "any", 2, packageState(c.state...))
			w.start()
			got := w.decision(checkBody(t, c.request)).Packages["main"]
			if got.Verdict != c.verdict || got.Reason != c.reason {
				t.Errorf("got %s / %s, want %s / %s", got.Verdict, got.Reason, c.verdict, c.reason)
			}
		})
	}
	t.Run("a package that the channel does not know", func(t *testing.T) {
		w := newWorld(t).start()
		d := w.decision(checkBody(t, func(r *slipstream.CheckRequest) { r.Packages = map[string]slipstream.PackageOnBoard{"cart": {}} }))
		if len(d.Packages) != 1 || d.Packages["cart"].Reason != slipstream.ReasonNoRelease {
			t.Errorf("decided %+v", d.Packages)
		}
	})
	t.Run("the platform's own state before any", func(t *testing.T) {
		w := newWorld(t)
		w.put("shop", "production", "android", 7, packageState())
		w.start()
		if d := w.decision(checkBody(t)); d.Epoch != 7 {
			t.Errorf("decided from epoch %d", d.Epoch)
		}
	})
	t.Run("an expired state installs nothing", func(t *testing.T) {
		w := newWorld(t).start()
		w.setTime(noon.Add(24 * time.Hour))
		if d := w.decision(checkBody(t)); d.Packages["main"].Reason != slipstream.ReasonExpiredState {
			t.Errorf("decided %+v", d.Packages)
		}
	})
}

func TestBadChecksAreRefused(t *testing.T) {
	w := newWorld(t).start()
	good := checkBody(t)
	replace := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("%q is not in the request", old)
		}
		return strings.Replace(good, old, new, 1)
	}
	for name, c := range map[string]struct {
		body   string
		status int
		code   string
	}{
		"empty":                {"", 400, "malformed"},
		"no JSON":              {"hello", 400, "malformed"},
		"an array":             {"[]", 400, "malformed"},
		"cut off":              {good[:len(good)-1], 400, "malformed"},
		"trailing":             {good + "{}", 400, "malformed"},
		"repeated name":        {replace(`{"app":"shop"`, `{"app":"shop","app":"shop"`), 400, "malformed"},
		"another case":         {replace(`"app":`, `"App":`), 400, "malformed"},
		"no nonce":             {replace(`"nonce":"`+nonce()+`",`, ``), 400, "malformed"},
		"short nonce":          {replace(nonce(), "AAAA"), 400, "malformed"},
		"long nonce":           {replace(nonce(), nonce()+"AAAA"), 400, "malformed"},
		"unpadded nonce":       {replace(nonce(), strings.TrimRight(nonce(), "=")), 400, "malformed"},
		"non-canonical nonce":  {replace(nonce(), nonce()[:42]+"d="), 400, "malformed"},
		"nonce with a newline": {replace(nonce(), nonce()[:20]+`\n`+nonce()[20:]), 400, "malformed"},
		"bad app":              {replace(`"shop"`, `"Shop"`), 400, "malformed"},
		"bad device":           {replace(string(digestOf("device")), "abc"), 400, "malformed"},
		"bad digest":           {replace(string(digestOf("4")), "abc"), 400, "malformed"},
		"negative seq":         {replace(`"seq":4`, `"seq":-4`), 400, "malformed"},
		"float seq":            {replace(`"seq":4`, `"seq":4.0`), 400, "malformed"},
		"text seq":             {replace(`"seq":4`, `"seq":"4"`), 400, "malformed"},
		"huge seq":             {replace(`"seq":4`, `"seq":9007199254740992`), 400, "malformed"},
		"padded seq":           {replace(`"seq":4`, `"seq":04`), 400, "malformed"},
		"null package":         {replace(`{"digest"`, `null,"x":{"digest"`), 400, "malformed"},
		"deep attribute":       {replace(`"pro"`, strings.Repeat("[", 100)+strings.Repeat("]", 100)), 400, "malformed"},
		"broken attribute":     {replace(`"pro"`, `tru`), 400, "malformed"},
		"broken escape":        {replace(`"zh-CN"`, `"\x"`), 400, "malformed"},
		"control character":    {replace(`"zh-CN"`, "\"a\nb\""), 400, "malformed"},
		"not UTF-8":            {replace(`"zh-CN"`, "\"\xff\""), 400, "malformed"},
		"long fact":            {replace(`"zh-CN"`, `"`+strings.Repeat("a", 300)+`"`), 400, "malformed"},
		"too large":            {replace(`"pro"`, `"`+strings.Repeat("a", maxCheckBody)+`"`), 413, "too_large"},
		"unknown app":          {replace(`"shop"`, `"none"`), 404, "not_found"},
		"unknown channel":      {replace(`"production"`, `"none"`), 404, "not_found"},
	} {
		t.Run(name, func(t *testing.T) {
			r := w.ask("POST", "/v1/check", c.body)
			body := bodyOf(t, r)
			if r.StatusCode != c.status || !strings.Contains(body, `"code":"`+c.code+`"`) || r.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("status %d: %s", r.StatusCode, body)
			}
		})
	}
	if strings.Contains(w.logs.String(), string(digestOf("device"))) {
		t.Error("the log names a device")
	}
}

func TestANewerClientIsUnderstood(t *testing.T) {
	w := newWorld(t).start()
	body := strings.Replace(checkBody(t), `{"app"`, ` { "future" : [1.5e3, {"deep":[null,true]}, "A\u00e9"], "app"`, 1)
	body = strings.Replace(body, `"model":"Pixel 8"`, `"model":"Pixel\u0020\"8\"","battery":0.5`, 1)
	if d := w.decision(body); d.Packages["main"].Verdict != slipstream.VerdictUpdate {
		t.Errorf("decided %+v", d.Packages)
	}
}

// A body may end anywhere, also behind the first byte of an escape.
func TestACheckThatIsCutOffIsRefused(t *testing.T) {
	t.Parallel()
	body := strings.Replace(checkBody(t), `{"app"`, `{"future":["\"\\\u0041",1.5e3,null],"app"`, 1)
	var req checkRequest
	if err := parseCheck([]byte(body), &req); err != nil {
		t.Fatal(err)
	}
	for end := range len(body) {
		if err := parseCheck([]byte(body[:end]), &req); slipstream.ReasonOf(err, "") != slipstream.ReasonMalformed {
			t.Errorf("%s: %v", body[:end], err)
		}
	}
}

func FuzzParseCheck(f *testing.F) {
	f.Add([]byte(checkBody(f)))
	f.Add([]byte(`{"app":"a","channel":"b","nonce":"` + nonce() + `","packages":{"m":{"seq":1,"refused":["` + string(digestOf("5")) + `"],"granted":["ro_5"],"full":["ro_6"]}},"x":[1,{"y":null}]}`))
	f.Add([]byte(`{"app":"\u0061"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		var got, second checkRequest
		err := parseCheck(body, &got)
		if err != nil {
			if slipstream.ReasonOf(err, "") != slipstream.ReasonMalformed {
				t.Fatalf("no reason: %v", err)
			}
			return
		}
		if !json.Valid(body) {
			t.Fatalf("accepted what is not JSON: %q", body)
		}
		if err := parseCheck([]byte(" "+string(body)+"\n"), &second); err != nil || !reflect.DeepEqual(got, second) {
			t.Fatalf("space around it makes a difference: %v", err)
		}
		var ordinary slipstream.CheckRequest
		if err := json.Unmarshal(body, &ordinary); err == nil && ordinary.App == got.app && len(ordinary.Packages) < len(got.packages) {
			t.Fatalf("%d packages, encoding/json reads %d", len(got.packages), len(ordinary.Packages))
		}
	})
}

// TestDecisionsAreWrittenLikeAnyDocument compares the fast writer with the ordinary one.
func TestDecisionsAreWrittenLikeAnyDocument(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	texts := []string{"1.0.0", `with "quotes" & <tags>`, "Größe", "tab\tnewline\n", "\u2028", "back\\slash", strings.Repeat("x", 60)}
	pick := func() string { return texts[rnd.IntN(len(texts))] }
	seqs := []int64{3, 4, 5, 6}
	signers := []signer{{sign.NewSigner(key("state")), sign.KeyID(public(key("state")))}, {sign.NewSigner(key("b")), sign.KeyID(public(key("b")))}}
	s := New(Config{Clock: func() time.Time { return noon }})
	for range 500 {
		st := &slipstream.State{App: "shop", Channel: "production", Platform: "any", Epoch: 1 + rnd.Int64N(1<<52), Expires: slipstream.At(noon.Add(time.Hour)),
			CheckAfter: rnd.IntN(1000), Packages: map[string]slipstream.PackageState{}}
		b := &checkBuffers{request: checkRequest{app: "shop", channel: "production", nonce: nonce(), device: slipstream.DeviceFacts{ID: string(digestOf("d")), Runtime: "1.0.0"}}}
		for i := range rnd.IntN(5) {
			name, seq := fmt.Sprintf("p%d", 9-i), seqs[rnd.IntN(len(seqs))]
			r := slipstream.Rollout{ID: pick(), Manifest: digestOf(fmt.Sprint(seq)), Seq: seq, Version: pick(), Size: rnd.Int64N(1 << 53), Runtime: slipstream.Runtime{Range: []string{"*", "2.x"}[rnd.IntN(2)]},
				To: 10000 * rnd.IntN(2), Control: 10000, Retry: rnd.IntN(2), Grant: rnd.IntN(4) == 0, Apply: slipstream.Apply{Message: pick(), Mandatory: rnd.IntN(2) == 0}}
			p := slipstream.PackageState{Rollouts: []slipstream.Rollout{r}}
			if rnd.IntN(3) == 0 {
				p.Withdrawn = []slipstream.Digest{digestOf("4")}
			}
			st.Packages[name] = p
			b.request.packages = append(b.request.packages, namedPackage{name, slipstream.PackageOnBoard{Digest: digestOf("4"), Seq: 4}})
		}
		entry := &stateEntry{plan: must[*decide.Plan](t)(decide.Compile(st)), rendered: must[map[*slipstream.Rollout]rendered](t)(renderAll(st))}
		snap := &snapshot{states: map[stateKey]*stateEntry{{"shop", "production", "any"}: entry}, apps: map[string]*appEntry{"shop": {signers: signers}}}
		if err := s.answerCheck(snap, b); err != nil {
			t.Fatal(err)
		}
		want := slipstream.Decision{App: "shop", Channel: "production", Device: b.request.device.ID, Nonce: nonce(), Epoch: st.Epoch, Issued: slipstream.At(noon),
			Expires: slipstream.At(noon.Add(5 * time.Minute)), CheckAfter: st.CheckAfter, Packages: map[string]slipstream.PackageDecision{}}
		for _, p := range b.request.packages {
			local := decide.LocalFromCheck(p.onBoard)
			want.Packages[p.name] = entry.plan.Decide(p.name, decide.NewDevice(b.request.device), &local, noon).Wire()
		}
		sealed := must[*sign.Envelope](t)(sign.Seal(sign.TypeDecision, want, signers[0], signers[1]))
		if string(b.answer) != string(sealed.Encode()) {
			t.Fatalf("wrote %s\n want %s", b.payload, sealed.Payload)
		}
	}
}
