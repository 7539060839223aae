// Package device acts as an app with a runtime patcher does: it asks the patch service for its version, downloads what
// the link names, and checks it before anything runs. Against our server the check is the publisher's signature; against
// any other server that follows the document it is the MD5, and asking for more than that is refused.
package device

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/publish/delta/bsdiff"
	"github.com/slipstream-ota/slipstream/sign"
)

const (
	maxAnswer = 256 << 10
	// MaxPatch bounds a patch, in bytes.
	MaxPatch = 64 << 20
	timeout  = 30 * time.Second
	tries    = 4  // of a download, without a byte more
	requests = 64 // of a download, at most
)

// Device is one app installation. URL and Version are needed.
type Device struct {
	URL     string // of the service, with or without a prefix: https://update.example.com/ocrunner/shop/production
	App     string // that manifests must be for, when Trust is set
	Version string // of the app
	Patch   []byte // that runs now, nil for none
	ID      string // for shares, "" for none
	// Platform and Attributes are for conditions; none when empty.
	Platform   string
	Attributes map[string]string
	// Trust is the root that the app shipped; with it only a patch that the publisher signed is taken. nil goes by the MD5.
	Trust *sign.Trust
	// Key opens encrypted patches: 32 bytes, held by the app; nil takes them as they are.
	Key []byte
	// Partial is a file that keeps what came of a download until it is whole, so that a later Fetch goes on there; a second
	// one beside it, with .json at its end, says of what. "" keeps nothing.
	Partial string
	Client  *http.Client // nil means http.DefaultClient
}

// Answer is what the service says. Fields besides the first three are this server's own.
type Answer struct {
	Update    bool   `json:"update"`
	Version   string `json:"version"`
	URL       string `json:"url"`
	Message   string `json:"message"`
	MD5       string `json:"md5"`
	SHA256    string `json:"sha256"`
	Size      int64  `json:"size"`
	Priority  string `json:"priority"`
	Mandatory bool   `json:"mandatory"`
	Patch     *struct {
		Format string `json:"format"`
		URL    string `json:"url"`
		Size   int64  `json:"size"`
	} `json:"patch"`
}

// Update is a patch that was fetched and checked.
type Update struct {
	Answer   Answer
	Patch    []byte            // as published, encrypted or not: its MD5 is what the next question names
	Plain    []byte            // what to run
	Release  slipstream.Digest // by the publisher's signature, "" without one
	Bytes    int64             // that came over the network
	Resumed  int64             // bytes that an earlier Fetch had kept
	Increase bool              // it came as an increment
}

func (d *Device) client() *http.Client {
	if d.Client == nil {
		return http.DefaultClient
	}
	return d.Client
}

// Check asks the service. An error of the service is an error with its text.
func (d *Device) Check(ctx context.Context) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	q := map[string]any{"version": d.Version, "accept": []string{"bsdiff"}}
	if d.Patch != nil {
		sum := md5.Sum(d.Patch)
		q["md5"] = hex.EncodeToString(sum[:])
	}
	if d.ID != "" {
		q["deviceId"] = d.ID
	}
	if d.Platform != "" {
		q["platform"] = d.Platform
	}
	if len(d.Attributes) > 0 {
		q["attributes"] = d.Attributes
	}
	body, err := json.Marshal(q)
	if err != nil {
		return Answer{}, fmt.Errorf("encode question: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(d.URL, "/")+"/api/patch/version", bytes.NewReader(body))
	if err != nil {
		return Answer{}, fmt.Errorf("ask for a patch: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header["Idempotency-Key"] = nil // not sent: net/http asks once more when a connection that was kept turns out to be gone
	res, err := d.client().Do(req)
	if err != nil {
		return Answer{}, fmt.Errorf("ask for a patch: %w", err)
	}
	defer res.Body.Close() // only read from
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return Answer{}, fmt.Errorf("read answer: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		var told struct {
			Error string `json:"error"`
		}
		_ = json.Unmarshal(raw, &told) // no JSON: the status says enough
		return Answer{}, fmt.Errorf("the service answered %d %s", res.StatusCode, told.Error)
	}
	var a Answer
	if err := json.Unmarshal(raw, &a); err != nil {
		return a, slipstream.Hint(fmt.Errorf("decode answer: %w", err), "is %s a patch service?", d.URL)
	}
	return a, nil
}

// Fetch asks, and downloads and checks what there is; nil when there is nothing to do. An increment that does not lead to
// what was promised is passed over for the whole patch.
func (d *Device) Fetch(ctx context.Context) (*Update, error) {
	a, err := d.Check(ctx)
	if err != nil || !a.Update {
		return nil, err
	}
	u := &Update{Answer: a}
	d.increment(ctx, u)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if u.Patch == nil {
		err = d.whole(ctx, u)
	} else {
		manifest := ""
		if d.Trust != nil { // the signed manifest goes along with the whole patch
			manifest, err = d.manifest(ctx, a.URL)
		}
		if err == nil {
			err = d.verify(u, manifest)
		}
	}
	if err != nil {
		return nil, err
	}
	u.Plain = u.Patch
	if d.Key != nil {
		if u.Plain, err = Decrypt(d.Key, u.Patch); err != nil {
			return nil, err
		}
	}
	return u, nil
}

// increment makes the patch from the current one, if the service has the way and it leads to what was promised.
func (d *Device) increment(ctx context.Context, u *Update) {
	a := u.Answer
	if a.Patch == nil || a.Patch.Format != "bsdiff" || d.Patch == nil || a.SHA256 == "" || a.Size <= 0 || a.Size > MaxPatch {
		return
	}
	step := pending{}
	if _, err := d.download(ctx, a.Patch.URL, &step, u, nil); err != nil {
		return
	}
	var out bytes.Buffer
	err := bsdiff.Apply(ctx, &out, bytes.NewReader(d.Patch), int64(len(d.Patch)), bytes.NewReader(step.have), int64(len(step.have)), a.Size)
	if sum := sha256.Sum256(out.Bytes()); err == nil && hex.EncodeToString(sum[:]) == a.SHA256 {
		u.Patch, u.Increase = out.Bytes(), true
	}
}

// verify accepts a patch by the publisher's signature where a root is known, else by the MD5 where the server names one.
func (d *Device) verify(u *Update, manifest string) error {
	if d.Trust == nil {
		if sum := md5.Sum(u.Patch); u.Answer.MD5 != "" && !strings.EqualFold(u.Answer.MD5, hex.EncodeToString(sum[:])) {
			return slipstream.Refuse(slipstream.ReasonFileMismatch, "patch", "its MD5 is %x, the service says %s", sum, u.Answer.MD5)
		}
		return nil
	}
	raw, err := base64.StdEncoding.DecodeString(manifest)
	if err != nil || len(raw) == 0 {
		return slipstream.Refuse(slipstream.ReasonSignatureInvalid, "patch", "the service gave no signed manifest along with it")
	}
	m, digest, err := d.Trust.Manifest(raw)
	if err != nil {
		return fmt.Errorf("verify patch: %w", err)
	}
	if m.App != d.App {
		return slipstream.Refuse(slipstream.ReasonWrongApp, "patch", "of app %q, not %q", m.App, d.App)
	}
	sum := slipstream.DigestOf(sha256.Sum256(u.Patch))
	if !slices.ContainsFunc(m.Files, func(f slipstream.File) bool { return f.SHA256 == sum && f.Size == int64(len(u.Patch)) }) {
		return slipstream.Refuse(slipstream.ReasonFileMismatch, "patch", "it is not the one that the publisher signed")
	}
	u.Release = digest
	return nil
}

// resolve makes an address of a link, which may be a path.
func (d *Device) resolve(link string) (string, error) {
	base, err := url.Parse(d.URL)
	if err != nil {
		return "", fmt.Errorf("service %q: %w", d.URL, err)
	}
	to, err := base.Parse(link)
	if err != nil || to.Scheme != "http" && to.Scheme != "https" {
		return "", fmt.Errorf("link %q is no address", link)
	}
	return to.String(), nil
}

// manifest asks for a download's headers alone.
func (d *Device) manifest(ctx context.Context, link string) (string, error) {
	to, err := d.resolve(link)
	if err != nil {
		return "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, to, nil)
	if err != nil {
		return "", fmt.Errorf("ask for the manifest: %w", err)
	}
	res, err := d.client().Do(req)
	if err != nil {
		return "", fmt.Errorf("ask for the manifest: %w", err)
	}
	return res.Header.Get("X-Slipstream-Manifest"), res.Body.Close()
}

// KeySize is the size of a key of Encrypt and Decrypt, in bytes.
const KeySize = 32

// Encrypt seals a patch under a key that the app holds: AES-256-GCM (NIST SP 800-38D), a nonce of 12 bytes, then the
// ciphertext with its tag of 16. The nonce is the beginning of HMAC-SHA-256 of the patch, so that the same patch makes the
// same file again and no two patches share a nonce. What is published, signed and named by its hash is the sealed file.
func Encrypt(key, plain []byte) ([]byte, error) {
	aead, err := gcm(key)
	if err != nil {
		return nil, err
	}
	mac := hmac.New(sha256.New, key)
	_, _ = io.WriteString(mac, "slipstream patch nonce\x00")
	_, _ = mac.Write(plain)
	nonce := mac.Sum(nil)[:aead.NonceSize()]
	return aead.Seal(nonce[:len(nonce):len(nonce)], nonce, plain, nil), nil
}

// Decrypt opens what Encrypt sealed.
func Decrypt(key, sealed []byte) ([]byte, error) {
	aead, err := gcm(key)
	if err != nil {
		return nil, err
	}
	if len(sealed) < aead.NonceSize() {
		return nil, slipstream.Refuse(slipstream.ReasonFileMismatch, "patch", "too short to be an encrypted one")
	}
	plain, err := aead.Open(nil, sealed[:aead.NonceSize()], sealed[aead.NonceSize():], nil)
	if err != nil {
		return nil, slipstream.Refuse(slipstream.ReasonFileMismatch, "patch", "it does not open with this key")
	}
	return plain, nil
}

func gcm(key []byte) (cipher.AEAD, error) {
	if len(key) != KeySize {
		return nil, slipstream.Invalidf("a key of %d bytes: it must have %d", len(key), KeySize)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("open key: %w", err)
	}
	return cipher.NewGCM(block)
}
