package lab

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/slipstream-ota/slipstream"
)

// surface is one request of an adapter, and what its answers must look like: a client of it must understand a refusal.
type surface struct {
	name    string
	method  string
	path    string
	body    string
	refusal func(a answer) bool
	// key is the token that it is sent with, kind the type of its body where that is no JSON.
	key, kind string
}

func jsonError(a answer) bool {
	var told struct {
		Error string `json:"error"`
	}
	return json.Unmarshal(a.body, &told) == nil && told.Error != ""
}

func plainText(a answer) bool { return len(a.body) > 0 && len(a.body) < 4<<10 }

func emptyBody(a answer) bool { return len(a.body) == 0 }

func surfaces() []surface {
	return []surface{
		{"easyclick update", http.MethodGet, "/easyclick/shop/production/update?version=1.0.0&deviceId=7521&androidId=82a3&apkVersion=9.22.0&model=LNA-AL00", "", emptyBody, "", ""},
		{"easyclick file", http.MethodGet, "/easyclick/shop/production/files/" + strings.Repeat("a", 64) + "/main.iec", "", emptyBody, "", ""},
		{"patch version", http.MethodPost, "/ocrunner/shop/production/api/patch/version", `{"version":"1.0.0","md5":"d41d8cd98f00b204e9800998ecf8427e","accept":["bsdiff"],"attributes":{"a":1}}`, jsonError, "", ""},
		{"patch version at the root", http.MethodPost, "/api/patch/version", `{"version":"1.0.0","md5":null}`, jsonError, "", ""},
		{"patch download", http.MethodGet, "/api/patch/download/" + strings.Repeat("A", 96), "", plainText, "", ""},
		{"codepush check", http.MethodGet, "/v0.1/public/codepush/update_check?app_version=1.0.0&deployment_key=" + labKey + "&package_hash=aa&label=v1", "", plainText, "", ""},
		{"older codepush check", http.MethodGet, "/updateCheck?appVersion=1.0.0&deploymentKey=" + labKey, "", plainText, "", ""},
		{"codepush report", http.MethodPost, "/v0.1/public/codepush/report_status/deploy", `{"deployment_key":"` + labKey + `","app_version":"1.0.0","client_unique_id":"x","label":"v1","status":"DeploymentSucceeded"}`, plainText, "", ""},
		{"capgo check", http.MethodPost, "/capgo/shop/updates", string(capgoBody("1.0.0")), jsonError, "", ""},
		{"capgo channel", http.MethodPost, "/capgo/shop/channel_self", string(capgoBody("1.0.0")), jsonError, "", ""},
		{"capgo report", http.MethodPost, "/capgo/shop/stats", "[" + string(capgoBody("1.0.0")) + "]", jsonError, "", ""},
		{"older codepush report", http.MethodPost, "/reportStatus/download", `{"deploymentKey":"` + labKey + `","label":"v1","clientUniqueId":"x"}`, plainText, "", ""},
	}
}

// oversized is larger than any body that an adapter takes, in bytes.
const oversized = 3 << 20

// fixed are the ways to be wrong that are always tried.
func (s surface) fixed() []surface {
	var out []surface
	add := func(method, path, body string) {
		bad := s
		bad.method, bad.path, bad.body = method, path, body
		out = append(out, bad)
	}
	for _, method := range []string{"DELETE", "PUT", "PATCH", "OPTIONS", "POST", "GET"} {
		if method != s.method {
			add(method, s.path, s.body)
		}
	}
	path, _, _ := strings.Cut(s.path, "?")
	for _, query := range []string{"", "?", "?version=&app_version=&deployment_key=", "?%zz=1", "?a=%00&version=%00", "?version=" + strings.Repeat("9", 5000), "?" + strings.Repeat("a=b&", 5000)} {
		add(s.method, path+query, s.body)
	}
	for _, part := range []string{"shop", "production"} {
		add(s.method, strings.Replace(s.path, "/"+part, "/nobody", 1), s.body)
		add(s.method, strings.Replace(s.path, "/"+part, "/..%2f..%2fetc", 1), s.body)
	}
	add(s.method, strings.Replace(s.path, labKey, "unknown-deployment-key", 1), strings.Replace(s.body, labKey, "unknown-deployment-key", 1))
	for _, body := range []string{"{", "[]", "null", "\xff\xfe", `"x"`, `{"version":{}}`, `{"version":1e999}`, `{"version":"` + strings.Repeat("1", 9000) + `"}`, strings.Repeat("[", 10000), "x=y", strings.Repeat(" ", oversized)} {
		add(s.method, s.path, body)
	}
	return out
}

// mutated draws a request that differs from the proper one.
func (f *foreignClients) mutated(s surface) surface {
	change := func(text string) string {
		b := []byte(text)
		for range 1 + f.random.IntN(3) {
			if len(b) == 0 {
				break
			}
			at := f.random.IntN(len(b))
			switch f.random.IntN(4) {
			case 0:
				b[at] = byte(f.random.IntN(256))
			case 1:
				b = append(b[:at], b[min(at+1+f.random.IntN(8), len(b)):]...)
			case 2:
				b = append(b[:at:at], append(bytes.Repeat(b[at:at+1], 1+f.random.IntN(200)), b[at:]...)...)
			default:
				b = append(b[:at:at], append([]byte([]string{"null", "-1", "9007199254740993", "%", "\"", "{", "\x00", "\r\n"}[f.random.IntN(8)]), b[at:]...)...)
			}
		}
		return string(b)
	}
	path, query, asks := strings.Cut(s.path, "?")
	switch {
	case s.body != "" && f.random.IntN(2) == 0:
		s.body = change(s.body)
	case asks:
		s.path = path + "?" + url.PathEscape(change(query))
		if f.random.IntN(2) == 0 { // a query that is one still
			s.path = path + "?" + strings.NewReplacer("%3D", "=", "%26", "&", "=", "=").Replace(url.QueryEscape(change(query)))
		}
	default:
		cut := strings.LastIndex(path, "/") + 1
		s.path = path[:cut] + url.PathEscape(change(path[cut:]))
	}
	return s
}

// hostile sends what strangers might, and looks at every answer; afterwards nothing may have been stored.
func (f *foreignClients) hostile(ctx context.Context) error {
	before, err := f.stored(ctx)
	if err != nil {
		return err
	}
	drawn := fullHostile
	if f.quick {
		drawn = quickHostile
	}
	all := append(surfaces(), f.desks...)
	for _, s := range all {
		for _, bad := range s.fixed() {
			if err := f.strange(ctx, bad); err != nil {
				return err
			}
		}
	}
	for range drawn {
		for _, s := range all {
			if strings.Contains(s.name, "report") && f.random.IntN(4) > 0 {
				continue // they are committed one by one
			}
			if err := f.strange(ctx, f.mutated(s)); err != nil {
				return err
			}
		}
	}
	after, err := f.stored(ctx)
	if err != nil {
		return err
	}
	if f.try(1); before != after {
		f.wrongf("strangers changed what is stored: %s, before %s", after, before)
	}
	return nil
}

// strange sends one request. Whatever it is: an answer comes, it blames the client or is a proper one, and a refusal is in
// the protocol's own words.
func (f *foreignClients) strange(ctx context.Context, s surface) error {
	if strings.ContainsAny(s.path, "\x00\r\n ") {
		return nil // no request that can be sent
	}
	if _, err := url.ParseRequestURI(s.path); err != nil && !strings.Contains(s.path, "%zz") {
		return nil
	}
	header := []string{"Content-Type", cmp.Or(s.kind, "application/json")}
	if s.key != "" {
		header = append(header, "Authorization", "Bearer "+s.key)
	}
	a, err := f.request(ctx, s.method, s.path, []byte(s.body), header...)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	f.bad++
	f.try(1)
	what := fmt.Sprintf("%s: %s %.200q with %.200q", s.name, s.method, s.path, s.body)
	switch {
	case err != nil && len(s.body) >= oversized:
		return nil // the server hung up on a body that it does not want
	case err != nil:
		f.wrongf("%s is not answered: %v", what, err)
	case a.status >= 500:
		f.wrongf("%s is answered with status %d: %.200q", what, a.status, a.body)
	case a.status >= 400 && a.status != http.StatusNotFound && s.method != http.MethodHead && !s.refusal(a):
		f.wrongf("%s is refused by status %d with a body that its client does not understand: %.200q", what, a.status, a.body)
	case a.status < 400 && len(s.body) >= oversized && s.method == http.MethodPost:
		f.wrongf("%s: a body of %d bytes is taken with status %d", s.name, len(s.body), a.status)
	}
	return nil
}

// stored is what strangers must not change: the policy of the channel, the releases and the switches.
func (f *foreignClients) stored(ctx context.Context) (string, error) {
	list, err := f.author.server.Protocols(ctx, serviceApp)
	if err != nil {
		return "", err
	}
	switches, err := json.Marshal(list)
	if err != nil {
		return "", err
	}
	status, state, err := f.author.service.get(ctx, "/v1/apps/"+serviceApp+"/channels/"+slipstream.DefaultChannel+"/state/any")
	if err != nil {
		return "", err
	}
	desk, err := f.deskStored(ctx)
	return fmt.Sprintf("%s, status %d, %x, %s", switches, status, state, desk), err
}
