package alert_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/alert"
	"github.com/slipstream-ota/slipstream/alert/shout"
	"github.com/slipstream-ota/slipstream/alert/webhook"
	"github.com/slipstream-ota/slipstream/store"
)

func TestTargetsHearWhatTheyWant(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.update(func(tx store.Tx) error {
		return tx.Apps().Create(w.ctx, store.App{Name: "game", Platforms: []string{"any"}, Created: noon})
	})
	for _, spec := range []alert.TargetSpec{
		{Name: "all"}, {Name: "game", App: "game"}, {Name: "shop", App: "shop"}, {Name: "halts", Kinds: []string{alert.KindHalt}}, {Name: "serious", Severity: alert.Critical},
		{Name: "keys", Kinds: []string{alert.KindKeyUse}, Severity: alert.Warning},
	} {
		spec.Type, spec.URL = "webhook", "http://127.0.0.1:1/"
		w.target(spec)
	}
	w.raise(halted("r1"))
	w.raise(alert.Alert{Kind: alert.KindNoData, App: "shop", Severity: alert.Warning, Title: "silence", Key: "n"})
	w.raise(alert.Alert{Kind: alert.KindKeyUse, App: "game", Severity: alert.Warning, Title: "key", Key: "k"})
	heard := map[string][]string{}
	for _, m := range w.messages(store.DeliveryQuery{}) {
		var b alert.Body
		w.must(json.Unmarshal(m.Body, &b))
		heard[b.Data.Title] = append(heard[b.Data.Title], m.Target)
	}
	for title, want := range map[string]string{"halted r1": "all halts serious shop", "silence": "all shop", "key": "all game keys"} {
		slices.Sort(heard[title])
		if got := strings.Join(heard[title], " "); got != want {
			t.Errorf("%s is heard by %s, want %s", title, got, want)
		}
	}
}

func TestSecretsStayInTheServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.hooked(alert.TargetSpec{Address: alert.Address{Secret: webhook.Ed25519}})
	if !strings.HasPrefix(r.key, "whpk_") {
		t.Errorf("key %q", r.key)
	}
	w.must(w.store.View(w.ctx, func(tx store.Tx) error {
		g, err := tx.Log().Alerts().Targets().Get(w.ctx, "ops")
		if strings.Contains(g.Address, "hush") || bytes.Contains(g.Sealed, []byte("hush")) || bytes.Contains(g.Sealed, []byte("whsk_")) {
			t.Errorf("target shows its secret: %+v", g)
		}
		log, err2 := tx.Log().Audit().List(w.ctx, store.AuditQuery{Action: "alert.target.add"})
		if len(log) != 1 || bytes.Contains(log[0].Detail, []byte("hush")) {
			t.Errorf("audit log: %+v", log)
		}
		return errors.Join(err, err2)
	}))
	sent, err := w.service.Test(w.ctx, "anna", "ops", anyone)
	w.must(err)
	if sent.Status != http.StatusNoContent || len(r.got()) != 1 || r.got()[0] != "test: Slipstream: this is a test, sent by anna" {
		t.Errorf("test: %+v, %v", sent, r.got())
	}
	if _, _, err := w.service.AddTarget(w.ctx, "anna", alert.TargetSpec{Name: "ops", Type: "webhook", Address: alert.Address{URL: "http://127.0.0.1:1"}}); !errors.Is(err, slipstream.ErrConflict) {
		t.Errorf("the same name again: %v", err)
	}
	w.must(w.service.RemoveTarget(w.ctx, "anna", "ops", anyone))
	if err := w.service.RemoveTarget(w.ctx, "anna", "ops", anyone); !errors.Is(err, slipstream.ErrNotFound) {
		t.Errorf("removed twice: %v", err)
	}
}

func TestBadTargetsAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, spec := range map[string]alert.TargetSpec{
		"an unknown type":         {Type: "pigeon"},
		"an unknown kind":         {Kinds: []string{"gossip"}},
		"an unknown severity":     {Severity: "mild"},
		"a URL of another scheme": {Address: alert.Address{URL: "file:///etc/passwd"}},
		"no URL":                  {Address: alert.Address{URL: "example"}},
		"cloud metadata":          {Address: alert.Address{URL: "http://169.254.169.254/latest/"}},
		"cloud metadata, mapped":  {Address: alert.Address{URL: "http://[::ffff:169.254.169.254]/"}},
		"a weak secret":           {Address: alert.Address{Secret: "whsec_MTIz"}},
		"an unknown app":          {App: "other"},
		"a bad name":              {Name: "Ops Team"},
		"a service of the shell":  {Type: "shoutrrr", Address: alert.Address{URL: "logger://"}},
		"a chat without a token":  {Type: "shoutrrr", Address: alert.Address{URL: "slack://"}},
		"a robot without a token": {Type: "dingtalk", Address: alert.Address{URL: "https://oapi.dingtalk.com/robot/send"}},
	} {
		if spec.Name == "" {
			spec.Name = "x"
		}
		if spec.Type == "" {
			spec.Type = "webhook"
		}
		if spec.URL == "" {
			spec.URL = "https://example.org/hook"
		}
		if _, _, err := w.service.AddTarget(w.ctx, "anna", spec); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func TestDingTalkRobotsGetTheirOwnSignature(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var said string
	refuse := false
	robot := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		raw, _ := io.ReadAll(req.Body)
		said = string(raw)
		q := req.URL.Query()
		if q.Get("access_token") != "abc" || q.Get("timestamp") != fmt.Sprint(noon.UnixMilli()) || q.Get("sign") != "PTvmN0uCgJcPuePRUEqYgk+u/OcaeQwjXS0H0mmoyo0=" {
			t.Errorf("query %s", q)
		}
		if refuse {
			fmt.Fprint(rw, `{"errcode":310000,"errmsg":"sign not match"}`)
			return
		}
		fmt.Fprint(rw, `{"errcode":0,"errmsg":"ok"}`)
	}))
	defer robot.Close()
	w.target(alert.TargetSpec{Name: "ding", Type: "dingtalk", Address: alert.Address{URL: robot.URL + "/robot/send?access_token=abc", Secret: "SECret"}})
	_, err := w.service.Test(w.ctx, "anna", "ding", anyone)
	w.must(err)
	if !strings.Contains(said, `"msgtype":"text"`) || !strings.Contains(said, "this is a test") {
		t.Errorf("said %s", said)
	}
	refuse = true
	if _, err := w.service.Test(w.ctx, "anna", "ding", anyone); err == nil || !strings.Contains(err.Error(), "sign not match") {
		t.Errorf("a refusal with status 200: %v", err)
	}
}

func TestChatsAreReachedByShoutrrr(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var said string
	status := http.StatusOK
	chat := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		raw, _ := io.ReadAll(req.Body)
		said = string(raw)
		rw.WriteHeader(status)
	}))
	defer chat.Close()
	host := strings.TrimPrefix(chat.URL, "http://")
	w.target(alert.TargetSpec{Name: "chat", Type: "shoutrrr", Address: alert.Address{URL: "generic://" + host + "/room/secrettoken?disabletls=yes&template=json"}})
	_, err := w.service.Test(w.ctx, "anna", "chat", anyone)
	w.must(err)
	if !strings.Contains(said, "this is a test, sent by anna") {
		t.Errorf("said %s", said)
	}
	status = http.StatusForbidden
	if _, err := w.service.Test(w.ctx, "anna", "chat", anyone); err == nil || strings.Contains(err.Error(), "secrettoken") {
		t.Errorf("a refusal: %v", err)
	}
}

func TestEveryNamedChatServiceIsKnown(t *testing.T) {
	t.Parallel()
	s := shout.NewSender(webhook.Guard{})
	for _, url := range []string{
		"slack://xoxb:123456789012-1234567890123-abcdefghijklmnopqrstuvwx@C1234567890", "lark://open.feishu.cn/0b8e7f3a-1111-2222-3333-444455556666", "wecom://693axxx6-7aoc-4bc4-97a0-0ec2sifa5aaa",
		"telegram://123456789:AAbcdefghijklmnopqrstuvwxyz12345678@telegram?chats=@channel", "ntfy://ntfy.invalid/topic", "discord://token@123456789", "generic://hook.invalid/x",
	} {
		if _, shown, _, err := s.Prepare(t.Context(), alert.Address{URL: url}); err != nil || strings.Contains(shown, "1234") {
			t.Errorf("%s: shown as %q, %v (%s)", url, shown, err, slipstream.HintOf(err))
		}
	}
}
