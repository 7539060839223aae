package lab

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/api"
)

const (
	quickHostile    = 150 // requests drawn for each adapter
	fullHostile     = 20_000
	quickTokenKills = 2 // each with links that live on
	fullTokenKills  = 60
	labKey          = "lab-deployment-key-0123456789"
	labAppID        = "com.example.lab"
	hostileLimit    = 20 * time.Second // for one answer, on a machine that has other things to do
)

// adapters lets other systems' clients live with the real server, and strangers at their surfaces.
func adapters() Proof {
	return Proof{
		Name:  "adapters",
		Claim: "other systems' clients get what is meant for them or keep what they have; bad requests are refused in their protocol's words and store nothing; a link works once, and what another tool released is there, over kills",
		Quick: 60 * time.Second, Full: 20 * time.Minute, Long: 30 * time.Second,
		Needs: []Need{NeedProcesses()},
		Run:   runAdapters,
	}
}

// foreignClients are the clients of one server.
type foreignClients struct {
	*tally
	author *author
	random *rand.Rand
	quick  bool
	lives  int
	bad    int
	kills  int
	// deskKey is an owner's of the management surface, desks are what strangers try there.
	deskKey string
	desks   []surface
}

func runAdapters(ctx context.Context, env Env) (_ Result, err error) {
	a, err := serve(ctx, env, "adapters", "--ocrunner-root", serviceApp)
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, a.service.kill()) }()
	f := &foreignClients{tally: &tally{}, author: a, random: rand.New(rand.NewPCG(env.Seed, 61)), quick: env.Quick}
	for name, options := range map[string]string{"easyclick": "", "ocrunner": "", "codepush": `{"deployments":{"production":"` + labKey + `"}}`,
		"capgo": `{"appId":"` + labAppID + `"}`} {
		if _, err := a.server.EnableProtocol(ctx, serviceApp, name, json.RawMessage(options)); err != nil {
			return Result{}, fmt.Errorf("enable %s: %w", name, err)
		}
	}
	for _, step := range []func(context.Context) error{f.live, f.links, f.desk, f.hostile} {
		if err := step(ctx); err != nil {
			return f.result(), err
		}
	}
	return f.result(), a.service.terminate(20 * time.Second)
}

func (f *foreignClients) result() Result {
	return f.tally.result("steps and requests: %d steps of clients' lives, %d bad requests, %d kills that links and releases live through", f.lives, f.bad, f.kills)
}

// request is one answer of the server.
func (f *foreignClients) request(ctx context.Context, method, path string, body []byte, header ...string) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, hostileLimit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, f.author.service.url+path, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return answer{}, err
	}
	raw, err := io.ReadAll(io.LimitReader(res.Body, 4<<20))
	_ = res.Body.Close() // read to its end
	return answer{status: res.StatusCode, header: res.Header, body: raw, broken: err}, nil
}

// offered is what a client of each protocol is told for what it runs: the address of the bytes, "" for nothing.
type offered struct{ url, mark string }

// foreignClient asks as one protocol's device does that runs a release, nil for none.
type foreignClient struct {
	name string
	ask  func(ctx context.Context, running *edition, last string) (offered, string, error)
}

func (f *foreignClients) clients() []foreignClient {
	return []foreignClient{{"easyclick", f.askEasyclick}, {"ocrunner", f.askPatch}, {"codepush", f.askCodepush}, {"older codepush", f.askOlderCodepush}, {"capgo", f.askCapgo}}
}

func (f *foreignClients) askEasyclick(ctx context.Context, running *edition, _ string) (offered, string, error) {
	version := "1.0.0"
	if running != nil {
		version = running.manifest.Version
	}
	a, err := f.request(ctx, http.MethodGet, "/easyclick/shop/production/update?version="+version+"&androidId=82a3b055470ebe1a&apkVersion=9.22.0", nil)
	if err != nil || a.status != http.StatusOK || len(a.body) == 0 {
		return offered{}, fmt.Sprintf("status %d", a.status), err
	}
	var told struct {
		URL string `json:"download_url"`
		MD5 string `json:"md5"`
	}
	err = json.Unmarshal(a.body, &told)
	return offered{strings.TrimPrefix(told.URL, f.author.service.url), told.MD5}, "", err
}

func (f *foreignClients) askPatch(ctx context.Context, running *edition, _ string) (offered, string, error) {
	q := map[string]string{"version": "1.0.0"}
	if running != nil {
		q["md5"] = entryMD5(running)
	}
	body, err := json.Marshal(q)
	if err != nil {
		return offered{}, "", err
	}
	a, err := f.request(ctx, http.MethodPost, "/api/patch/version", body, "Content-Type", "application/json")
	if err != nil || a.status != http.StatusOK {
		return offered{}, fmt.Sprintf("status %d %s", a.status, a.body), err
	}
	var told struct {
		URL string `json:"url"`
		MD5 string `json:"md5"`
	}
	err = json.Unmarshal(a.body, &told)
	return offered{told.URL, told.MD5}, string(a.body), err
}

func (f *foreignClients) askCodepush(ctx context.Context, running *edition, last string) (offered, string, error) {
	return f.bundle(ctx, "/v0.1/public/codepush/update_check?app_version=1.0.0&client_unique_id=lab&deployment_key="+labKey+"&package_hash="+last, running, "update_info", "download_url", "package_hash")
}

func (f *foreignClients) askOlderCodepush(ctx context.Context, running *edition, last string) (offered, string, error) {
	return f.bundle(ctx, "/updateCheck?appVersion=1.0.0&clientUniqueId=lab&deploymentKey="+labKey+"&packageHash="+last, running, "updateInfo", "downloadURL", "packageHash")
}

func (f *foreignClients) bundle(ctx context.Context, path string, running *edition, info, url, hash string) (offered, string, error) {
	if running == nil {
		path = path[:strings.LastIndex(path, "&")]
	}
	a, err := f.request(ctx, http.MethodGet, path, nil)
	if err != nil || a.status != http.StatusOK {
		return offered{}, fmt.Sprintf("status %d %s", a.status, a.body), err
	}
	var told map[string]map[string]any
	if err := json.Unmarshal(a.body, &told); err != nil {
		return offered{}, "", err
	}
	out := offered{}
	if link, ok := told[info][url].(string); ok {
		out.url = strings.TrimPrefix(link, f.author.service.url)
	}
	out.mark, _ = told[info][hash].(string) // "" is seen by who compares it
	return out, string(a.body), nil
}

// askCapgo asks as a phone does. The checksum of a bundle is its mark: names change when a release comes back.
func (f *foreignClients) askCapgo(ctx context.Context, running *edition, _ string) (offered, string, error) {
	name := "builtin"
	if running != nil {
		name = running.manifest.Version
	}
	a, err := f.request(ctx, http.MethodPost, "/capgo/shop/updates", capgoBody(name), "Content-Type", "application/json")
	if err != nil || a.status != http.StatusOK {
		return offered{}, fmt.Sprintf("status %d %s", a.status, a.body), err
	}
	var told struct{ URL, Checksum, Error string }
	err = json.Unmarshal(a.body, &told)
	if told.Error != "" && told.URL != "" {
		f.wrongf("capgo: an answer with an error offers something: %s", a.body)
	}
	return offered{strings.TrimPrefix(told.URL, f.author.service.url), told.Checksum}, string(a.body), err
}

// capgoBody is what a phone with Capgo's updater sends that runs a bundle of this name.
func capgoBody(name string) []byte {
	return []byte(`{"platform":"android","device_id":"d290f1ee-6c54-4b01-90e6-d701748f0851","app_id":"` + labAppID + `","version_build":"1.0.0","version_name":"` + name + `","plugin_version":"8.51.14"}`)
}

// bundles reports whether a protocol's clients take whole trees: their marks are of archives.
func (c foreignClient) bundles() bool {
	return strings.Contains(c.name, "codepush") || c.name == "capgo"
}

// webFiles are a release that clients of every protocol can take.
func webFiles(version string) map[string]string {
	files := serverFiles(version)
	files["index.html"] = "<html>" + version + "</html>"
	return files
}

func entryMD5(e *edition) string {
	sum := md5.Sum([]byte(e.files[entryFile]))
	return hex.EncodeToString(sum[:])
}

// await asks until a client is offered something or nothing, as wanted: what was published is rendered first.
func (f *foreignClients) await(ctx context.Context, c foreignClient, running *edition, last string, want func(o offered) bool, what string) (offered, error) {
	var o offered
	var said string
	var err error
	for deadline := time.Now().Add(15 * time.Second); time.Now().Before(deadline); {
		if o, said, err = c.ask(ctx, running, last); err == nil && want(o) {
			f.step(1)
			return o, nil
		}
		if err := sleepFor(ctx, 10*time.Millisecond); err != nil {
			return o, err
		}
	}
	f.step(1)
	f.wrongf("%s, %s: %+v, %s, %v", c.name, what, o, said, err)
	return o, nil
}

func (f *foreignClients) step(n int) {
	f.lives += n
	f.try(n)
}

// bytes says what is wrong with a download: single files must have their MD5, bundles must come whole.
func (f *foreignClients) bytes(ctx context.Context, c foreignClient, o offered, e *edition) error {
	a, err := f.request(ctx, http.MethodGet, o.url, nil)
	if err != nil {
		return err
	}
	f.step(1)
	whole := a.status == http.StatusOK && a.broken == nil && len(a.body) > 0
	if !c.bundles() {
		whole = whole && string(a.body) == e.files[entryFile] && o.mark == entryMD5(e)
	}
	if !whole {
		f.wrongf("%s: the download of %s is answered with status %d and %d bytes", c.name, e.manifest.Version, a.status, len(a.body))
	}
	return nil
}

func something(o offered) bool { return o.url != "" }
func nothing(o offered) bool   { return o.url == "" }

// live leads every client through an update, a pause, a second update, a roll back and a withdrawal.
func (f *foreignClients) live(ctx context.Context) error {
	var editions []*edition
	marks := map[string][]string{} // of each client, by edition
	publish := func() error {
		e, err := f.author.release(ctx, slipstream.DefaultChannel, webFiles)
		if err != nil {
			return err
		}
		editions = append(editions, e)
		return nil
	}
	for n := range 2 {
		if err := publish(); err != nil {
			return err
		}
		for _, c := range f.clients() {
			var running *edition
			last := ""
			if n > 0 {
				running, last = editions[0], marks[c.name][0]
			}
			o, err := f.await(ctx, c, running, last, func(o offered) bool {
				return something(o) && o.mark != last && (c.bundles() || o.mark == entryMD5(editions[n]))
			}, fmt.Sprintf("release %d is there", n+1))
			if err == nil {
				marks[c.name] = append(marks[c.name], o.mark)
				err = f.bytes(ctx, c, o, editions[n])
			}
			if err == nil {
				_, err = f.await(ctx, c, editions[n], o.mark, nothing, "it runs the newest")
			}
			if err != nil {
				return err
			}
		}
	}
	return f.liveOn(ctx, editions, marks)
}

// liveOn holds the newest release, lets it go on, takes it back and withdraws everything.
func (f *foreignClients) liveOn(ctx context.Context, editions []*edition, marks map[string][]string) error {
	newest := editions[1]
	for _, hold := range []string{slipstream.HoldPaused, "none"} {
		if _, err := f.author.server.ChangeRollout(ctx, serviceApp, slipstream.DefaultChannel, newest.rollout, api.RolloutChange{Hold: &hold}); err != nil {
			return fmt.Errorf("hold a rollout: %w", err)
		}
		for _, c := range f.clients() {
			want := nothing
			if hold == "none" {
				want = something
			}
			if _, err := f.await(ctx, c, editions[0], marks[c.name][0], want, "the newest is held: "+hold); err != nil {
				return err
			}
		}
	}
	if _, err := f.author.server.Rollback(ctx, serviceApp, slipstream.DefaultChannel, api.Rollback{To: string(editions[0].digest)}); err != nil {
		return fmt.Errorf("roll back: %w", err)
	}
	for _, c := range f.clients() {
		o, err := f.await(ctx, c, newest, marks[c.name][1], func(o offered) bool {
			return something(o) && (o.mark == marks[c.name][0])
		}, "the former release is in force again")
		if err == nil {
			err = f.bytes(ctx, c, o, editions[0])
		}
		if err == nil {
			_, err = f.await(ctx, c, nil, "", func(o offered) bool { return o.mark == marks[c.name][0] }, "a new device after the roll back")
		}
		if err != nil {
			return err
		}
	}
	if _, err := f.author.server.Withdraw(ctx, serviceApp, slipstream.DefaultChannel, api.Withdraw{Release: string(editions[0].digest)}); err != nil {
		return fmt.Errorf("withdraw: %w", err)
	}
	for _, c := range f.clients() {
		if _, err := f.await(ctx, c, nil, "", nothing, "everything is withdrawn"); err != nil {
			return err
		}
	}
	return nil
}

// links kills the server while links of the patch service live, and takes them up again.
func (f *foreignClients) links(ctx context.Context) error {
	e, err := f.author.release(ctx, slipstream.DefaultChannel, webFiles)
	if err != nil {
		return err
	}
	patch := foreignClient{"ocrunner", f.askPatch}
	kills := fullTokenKills
	if f.quick {
		kills = quickTokenKills
	}
	for range kills {
		half, err := f.await(ctx, patch, nil, "", func(o offered) bool { return o.mark == entryMD5(e) }, "a link to go on with")
		if err != nil {
			return err
		}
		used, _, err := patch.ask(ctx, nil, "")
		if err != nil {
			return err
		}
		if err := f.bytes(ctx, patch, used, e); err != nil {
			return err
		}
		content := e.files[entryFile]
		begun, err := f.request(ctx, http.MethodGet, half.url, nil, "Range", "bytes=0-3")
		if err != nil {
			return err
		}
		if err := sleepFor(ctx, time.Second); err != nil { // what is used up is written down in groups
			return err
		}
		if err := f.author.service.kill(); err != nil {
			return err
		}
		if _, err := f.author.service.start(ctx); err != nil {
			return err
		}
		f.kills++
		if _, err := f.await(ctx, patch, nil, "", something, "a link after a kill"); err != nil {
			return err
		}
		rest, err := f.request(ctx, http.MethodGet, half.url, nil, "Range", "bytes=4-", "If-Range", begun.header.Get("Etag"))
		if err != nil {
			return err
		}
		if got := string(begun.body) + string(rest.body); rest.status != http.StatusPartialContent || got != content {
			f.wrongf("a download does not go on after a kill: status %d, %q", rest.status, got)
		}
		for _, link := range []string{used.url, half.url} {
			a, err := f.request(ctx, http.MethodGet, link, nil)
			if err != nil {
				return err
			}
			if f.step(1); a.status != http.StatusNotFound || string(a.body) != "Invalid or expired link" {
				f.wrongf("a link that was used up is answered with status %d and %d bytes", a.status, len(a.body))
			}
		}
	}
	return nil
}
