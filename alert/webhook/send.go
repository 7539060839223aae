package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/alert"
)

// maxAnswer is how much of an answer is read.
const maxAnswer = 16 << 10

// Ed25519 as the secret of a new target asks for a fresh private key instead of a shared secret.
const Ed25519 = "ed25519"

// Sender sends the JSON of an alert.Body to any receiver.
type Sender struct {
	guard  Guard
	client *http.Client
}

var _ alert.Sender = (*Sender)(nil)

// NewSender makes a Sender.
func NewSender(g Guard) *Sender { return &Sender{g, g.Client()} }

// Prepare implements alert.Sender.
func (s *Sender) Prepare(_ context.Context, a alert.Address) (alert.Address, string, string, error) {
	u, err := s.guard.parse(a.URL)
	if err != nil {
		return a, "", "", err
	}
	switch a.Secret {
	case "":
		a.Secret, err = NewSecret()
	case Ed25519:
		a.Secret, err = NewPrivate()
	}
	if err != nil {
		return a, "", "", err
	}
	if _, err := Sign(a.Secret, "x", time.Unix(0, 0), nil); err != nil {
		return a, "", "", err
	}
	public := ""
	if strings.HasPrefix(a.Secret, prefixPrivate) {
		if public, err = PublicOf(a.Secret); err != nil {
			return a, "", "", err
		}
	}
	return a, shown(u), public, nil
}

// Send implements alert.Sender.
func (s *Sender) Send(ctx context.Context, a alert.Address, m alert.Message) (alert.Sent, error) {
	signature, err := Sign(a.Secret, m.ID, m.At, m.Body)
	if err != nil {
		return alert.Sent{}, err
	}
	header := http.Header{}
	header.Set(HeaderID, m.ID)
	header.Set(HeaderTimestamp, strconv.FormatInt(m.At.Unix(), 10))
	header.Set(HeaderSignature, signature)
	sent, _, err := post(ctx, s.client, a.URL, m.Body, header)
	return sent, err
}

// post sends JSON and gives what was answered. An answer below 200 or above 299 is an error.
func post(ctx context.Context, client *http.Client, to string, body []byte, header http.Header) (alert.Sent, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return alert.Sent{}, nil, fmt.Errorf("make request: %w", bare(err))
	}
	for k, v := range header {
		req.Header[k] = v
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "slipstream-alert/1")
	res, err := client.Do(req)
	if err != nil {
		return alert.Sent{}, nil, fmt.Errorf("reach the receiver: %w", bare(err))
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	sent := alert.Sent{Status: res.StatusCode, Gone: res.StatusCode == http.StatusGone}
	if seconds, err := strconv.ParseUint(res.Header.Get("Retry-After"), 10, 31); err == nil {
		sent.RetryAfter = time.Duration(seconds) * time.Second
	}
	switch {
	case res.StatusCode < 200 || res.StatusCode > 299:
		return sent, answer, fmt.Errorf("the receiver answered %s", res.Status)
	case err != nil:
		return sent, answer, fmt.Errorf("read the receiver's answer: %w", err)
	}
	return sent, answer, nil
}

// bare takes the URL, which may hold a token, out of an error of net/http.
func bare(err error) error {
	if e, ok := err.(*url.Error); ok {
		return e.Err
	}
	return err
}

// DingTalk sends text to a robot of a DingTalk group. Where the robot wants signatures, the secret is its own (SEC…):
// timestamp and sign = base64(HMAC-SHA256(secret, timestamp "\n" secret)) go into the query
// (https://open.dingtalk.com/document/robots/customize-robot-security-settings).
type DingTalk struct {
	guard  Guard
	client *http.Client
}

var _ alert.Sender = (*DingTalk)(nil)

// NewDingTalk makes a DingTalk.
func NewDingTalk(g Guard) *DingTalk { return &DingTalk{g, g.Client()} }

// Prepare implements alert.Sender.
func (d *DingTalk) Prepare(_ context.Context, a alert.Address) (alert.Address, string, string, error) {
	u, err := d.guard.parse(a.URL)
	if err != nil {
		return a, "", "", err
	}
	if u.Query().Get("access_token") == "" {
		return a, "", "", slipstream.Hint(slipstream.Invalidf("the robot's URL has no access_token"), "copy the whole webhook address from the robot's page")
	}
	return a, shown(u), "", nil
}

// Send implements alert.Sender.
func (d *DingTalk) Send(ctx context.Context, a alert.Address, m alert.Message) (alert.Sent, error) {
	u, err := url.Parse(a.URL)
	if err != nil {
		return alert.Sent{}, fmt.Errorf("read address: %w", bare(err))
	}
	if a.Secret != "" {
		at := strconv.FormatInt(m.At.UnixMilli(), 10)
		h := hmac.New(sha256.New, []byte(a.Secret))
		h.Write([]byte(at + "\n" + a.Secret))
		q := u.Query()
		q.Set("timestamp", at)
		q.Set("sign", base64.StdEncoding.EncodeToString(h.Sum(nil)))
		u.RawQuery = q.Encode()
	}
	body, err := json.Marshal(map[string]any{"msgtype": "text", "text": map[string]string{"content": "Slipstream: " + m.Text}})
	if err != nil {
		return alert.Sent{}, fmt.Errorf("encode message: %w", err)
	}
	sent, answer, err := post(ctx, d.client, u.String(), body, nil)
	if err != nil {
		return sent, err
	}
	var said struct {
		Code    *int64 `json:"errcode"`
		Message string `json:"errmsg"`
	}
	if err := json.Unmarshal(answer, &said); err != nil || said.Code == nil {
		return sent, fmt.Errorf("the robot's answer is not understood")
	}
	if *said.Code != 0 {
		return sent, fmt.Errorf("the robot refused: %d %.200s", *said.Code, said.Message)
	}
	return sent, nil
}
