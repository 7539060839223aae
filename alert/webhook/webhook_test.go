package webhook

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream/alert"
)

var moment = time.Unix(1700000000, 0)

// Made with another implementation of HMAC: other programs check our messages.
const (
	knownSecret    = "whsec_eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHg="
	knownSignature = "v1,KlkvCzMVllGq7RfNDYGqLlYm0xLli7mLh8wueNsYlcU="
)

func signed(t *testing.T, key, id string, at time.Time, body string) http.Header {
	t.Helper()
	s, err := Sign(key, id, at, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return http.Header{HeaderID: {id}, HeaderTimestamp: {"1700000000"}, HeaderSignature: {s}}
}

func TestSignaturesAreThoseOfTheStandard(t *testing.T) {
	t.Parallel()
	if got := signed(t, knownSecret, "msg_1", moment, `{"a":1}`).Get(HeaderSignature); got != knownSignature {
		t.Errorf("signature %s", got)
	}
}

func TestOnlyTheVeryMessageVerifies(t *testing.T) {
	t.Parallel()
	private, err := NewPrivate()
	if err != nil {
		t.Fatal(err)
	}
	public, err := PublicOf(private)
	if err != nil {
		t.Fatal(err)
	}
	other, err := NewSecret()
	if err != nil {
		t.Fatal(err)
	}
	for name, keys := range map[string][2]string{"hmac": {knownSecret, knownSecret}, "ed25519": {private, public}} {
		header := signed(t, keys[0], "msg_1", moment, "body")
		if err := Verify(keys[1], header, []byte("body"), moment.Add(Tolerance)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		several := header.Clone()
		several.Set(HeaderSignature, "v1,AAAA v2,x "+header.Get(HeaderSignature)) // keys overlap while they change
		if err := Verify(keys[1], several, []byte("body"), moment); err != nil {
			t.Errorf("%s, among several: %v", name, err)
		}
		change := func(k, v string) http.Header {
			h := header.Clone()
			h.Set(k, v)
			return h
		}
		for what, err := range map[string]error{
			"another body":     Verify(keys[1], header, []byte("bodY"), moment),
			"another id":       Verify(keys[1], change(HeaderID, "msg_2"), []byte("body"), moment),
			"another time":     Verify(keys[1], change(HeaderTimestamp, "1700000001"), []byte("body"), moment),
			"no time":          Verify(keys[1], change(HeaderTimestamp, ""), []byte("body"), moment),
			"no signature":     Verify(keys[1], change(HeaderSignature, ""), []byte("body"), moment),
			"another key":      Verify(other, header, []byte("body"), moment),
			"a replay":         Verify(keys[1], header, []byte("body"), moment.Add(Tolerance+time.Second)),
			"of the future":    Verify(keys[1], header, []byte("body"), moment.Add(-Tolerance-time.Second)),
			"the wrong family": Verify(keys[1], change(HeaderSignature, strings.Replace(header.Get(HeaderSignature), "v1", "v0", 1)), []byte("body"), moment),
		} {
			if !errors.Is(err, ErrSignature) {
				t.Errorf("%s, %s: %v", name, what, err)
			}
		}
	}
}

func TestWeakOrWrongKeysAreRefused(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"", "secret", "whsec_", "whsec_!!", "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 23)), "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 65)),
		"whsk_" + base64.StdEncoding.EncodeToString(make([]byte, 31)), "whpk_" + base64.StdEncoding.EncodeToString(make([]byte, 32))} {
		if _, err := Sign(key, "x", moment, nil); err == nil {
			t.Errorf("%q signs", key)
		}
	}
}

func TestTheGuardKnowsWhatIsNoReceiver(t *testing.T) {
	t.Parallel()
	for address, allowed := range map[string]bool{
		"169.254.169.254": false, "::ffff:169.254.169.254": false, "64:ff9b::a9fe:a9fe": false, "2002:a9fe:a9fe::1": false, "fe80::1": false, "fd00:ec2::254": false,
		"100.100.100.200": false, "192.0.0.192": false, "0.0.0.0": false, "::": false, "224.0.0.1": false, "255.255.255.255": false, "ff02::1": false, "fe80::1%eth0": false,
		"127.0.0.1": true, "10.1.2.3": true, "192.168.0.1": true, "::1": true, "fd00::1": true, "203.0.113.7": true, "2001:db8::1": true,
	} {
		if err := (Guard{}).Check(netip.MustParseAddr(address)); (err == nil) != allowed || err != nil && !errors.Is(err, ErrForbidden) {
			t.Errorf("%s: %v", address, err)
		}
	}
	g := Guard{Allow: []netip.Prefix{netip.MustParsePrefix("169.254.0.0/16")}}
	if err := g.Check(netip.MustParseAddr("169.254.1.1")); err != nil {
		t.Errorf("what is allowed: %v", err)
	}
}

// A name may be checked as one address and connected to as another: only the connection itself is safe to judge.
func TestTheConnectionItselfIsJudged(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("it was reached") }))
	defer server.Close()
	forbidding := Guard{}
	client := forbidding.Client()
	for _, url := range []string{"http://0.0.0.0:1/", strings.Replace(server.URL, "127.0.0.1", "0.0.0.0", 1)} {
		_, err := client.Get(url)
		if !errors.Is(err, ErrForbidden) {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func TestErrorsNameNoAddress(t *testing.T) {
	t.Parallel()
	s := NewSender(Guard{})
	_, err := s.Send(context.Background(), alert.Address{URL: "http://127.0.0.1:1/hook?token=hush", Secret: knownSecret}, alert.Message{ID: "x", At: moment})
	if err == nil || strings.Contains(err.Error(), "hush") {
		t.Errorf("error %v", err)
	}
}
