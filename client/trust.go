package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/client/trial"
	"github.com/slipstream-ota/slipstream/sign"
)

const rootCheckEvery = 24 * time.Hour

// storedChain walks from the shipped root over the stored ones, oldest first. What lies in the directory is not trusted
// for being there: a root that no chain of signatures from the shipped one leads to is ignored, and what follows is asked
// for again.
func (c *Client) storedChain() []*sign.Trust {
	var chain []*sign.Trust
	trust := c.root
	for range maxStoredRoots {
		raw, err := c.disk.read(c.disk.rootFile(trust.Root().Version+1), slipstream.MaxRootBytes)
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		var next *sign.Trust
		if err == nil {
			next, err = trust.Next(raw)
		}
		if err != nil {
			c.log.Error("a stored root is ignored", "version", trust.Root().Version+1, "error", err)
			break
		}
		chain, trust = append(chain, next), next
	}
	return chain
}

// maxStoredRoots bounds the walk at the start: far more than keys are changed while one shell is in use.
const maxStoredRoots = 1024

// takeChain puts the newest root that can be trusted in force. mu is held.
func (c *Client) takeChain() {
	c.chain, c.trust = c.storedChain(), c.root
	if n := len(c.chain); n > 0 {
		c.trust = c.chain[n-1]
	}
}

// keepRoot puts the newest root where people and tools look for it.
func (c *Client) keepRoot() error {
	path := c.disk.path("trust", "root.json")
	if raw, err := c.disk.read(path, slipstream.MaxRootBytes); err == nil && bytes.Equal(raw, c.trust.Envelope()) {
		return nil
	}
	return c.disk.write(path, c.trust.Envelope())
}

// unstageRevoked takes out of the line what the newest root's release role did not sign: its key may have been stolen.
// When the publisher signed the release anew, the next check brings it back. mu is held.
func (c *Client) unstageRevoked() error {
	s := c.body.Trial
	for _, pkg := range c.cfg.Packages {
		r, waiting := s.StagedFor(pkg)
		if !waiting {
			continue
		}
		raw, err := c.disk.read(c.disk.manifestFile(r.Digest), slipstream.MaxManifestBytes)
		if err != nil {
			continue // a start finds out
		}
		if _, _, err := c.trust.Manifest(raw); err != nil {
			c.log.Warn("a staged release is not of the newest keys", "package", pkg, "version", r.Version, "error", err)
			s = trial.Unstage(s, c.env(), pkg)
		}
	}
	if len(s.Staged) == len(c.body.Trial.Staged) {
		return nil
	}
	return c.step(s, nil)
}

// roleKey is equal for equal state roles.
func roleKey(t *sign.Trust) string {
	role := t.Root().Roles.State
	keys := slices.Sorted(slices.Values(role.Keys))
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %s", role.Threshold, strings.Join(keys, " ")))
	return hex.EncodeToString(sum[:])
}

// walkRoots asks for the following roots until there is none, and keeps each before it is used.
func (c *Client) walkRoots(ctx context.Context) error {
	for range slipstream.MaxRootSteps {
		c.mu.Lock()
		trust := c.trust
		c.mu.Unlock()
		version := trust.Root().Version + 1
		var next *sign.Trust
		err := c.net.document(ctx, http.MethodGet, fmt.Sprintf("/v1/apps/%s/roots/%d", c.cfg.App, version), nil, slipstream.MaxRootBytes, func(raw []byte) error {
			var err error
			next, err = trust.Next(raw)
			return err
		})
		if errors.Is(err, slipstream.ErrNotFound) {
			break
		}
		if err != nil {
			return fmt.Errorf("fetch root %d: %w", version, err)
		}
		if err := c.adoptRoot(next); err != nil {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	next := c.body
	next.RootChecked = c.clock.Now().Unix()
	return c.commit(next)
}

// adoptRoot keeps a root. When the state role changed, states, epochs and signed times are forgotten: this heals a
// stolen state key that signed the highest epoch.
func (c *Client) adoptRoot(next *sign.Trust) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.own(); err != nil {
		return err
	}
	if err := c.disk.write(c.disk.rootFile(next.Root().Version), next.Envelope()); err != nil {
		return storage("keep root", err)
	}
	if err := c.disk.write(c.disk.path("trust", "root.json"), next.Envelope()); err != nil {
		return storage("keep root", err)
	}
	same := next.StateRoleEqual(c.trust)
	c.trust, c.chain = next, append(slices.Clip(c.chain), next)
	c.log.Info("root", "version", next.Root().Version)
	if err := c.unstageRevoked(); err != nil {
		return err
	}
	if same {
		return nil
	}
	if err := c.forgetStates(); err != nil {
		return err
	}
	return c.commit(c.body)
}

// forgetStates drops everything that was learned under another state role. mu is held.
func (c *Client) forgetStates() error {
	entries, err := c.disk.ReadDir(c.disk.path("trust"))
	if err != nil {
		return fmt.Errorf("list states: %w", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "state-") {
			if err := ignoreMissing(c.disk.Remove(c.disk.path("trust", e.Name()))); err != nil {
				return fmt.Errorf("forget state: %w", err)
			}
		}
	}
	c.body.Channels, c.body.Left, c.body.StateRole = nil, nil, roleKey(c.trust)
	clear(c.states)
	return storage("forget states", c.disk.SyncDir(c.disk.path("trust")))
}

func (c *Client) rootsDue() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	since := c.clock.Now().Unix() - c.body.RootChecked
	return since < 0 || since >= int64(rootCheckEvery/time.Second)
}

// heldState is an accepted state and the envelope that said it.
type heldState struct {
	*slipstream.State
	envelope []byte
}

// lastState is the state that was accepted last for the channel, opened again from its envelope. mu is held.
func (c *Client) lastState() (*slipstream.State, seen) {
	known := c.body.Channels[c.channel]
	if held := c.states[c.channel]; held.State != nil {
		return held.State, known
	}
	raw, err := c.disk.read(c.disk.stateEnvelope(c.channel), slipstream.MaxStateBytes)
	if err != nil {
		known.ETag = ""
		return nil, known
	}
	s, err := c.trust.State(raw)
	if err != nil || s.App != c.cfg.App || s.Channel != c.channel || s.Platform != c.cfg.Platform {
		known.ETag = ""
		return nil, known
	}
	if known.Envelope != envelopeSum(raw) {
		known.ETag = "" // kept just before a crash: the bytes are newer than what is known of them
	}
	known.Epoch, known.Signed = max(known.Epoch, s.Epoch), max(known.Signed, s.Issued.Unix())
	c.states[c.channel] = heldState{s, raw}
	return s, known
}

func envelopeSum(raw []byte) string {
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}

// refreshState gets the channel's state and accepts it, in the order of the trust rules. What comes back is durable.
// A server whose answer is refused is put behind the others, which are asked in turn: one bad mirror hides no good one.
func (c *Client) refreshState(ctx context.Context, now time.Time) (*slipstream.State, error) {
	for tried := 1; ; tried++ {
		s, err := c.refreshOnce(ctx, now)
		var refusal *slipstream.Refusal
		if err == nil || tried >= len(c.cfg.Servers) || !errors.As(err, &refusal) || refusal.Reason == slipstream.ReasonNetwork || hopeless(err) || ctx.Err() != nil {
			return s, err
		}
		c.log.Warn("a server's answer is refused: the next one is asked", "error", err)
	}
}

func (c *Client) refreshOnce(ctx context.Context, now time.Time) (*slipstream.State, error) {
	if c.rootsDue() {
		if err := c.walkRoots(ctx); err != nil {
			c.log.Warn("newer roots not asked for", "error", err)
		}
	}
	raw, etag, err := c.getState(ctx)
	if err != nil {
		return nil, err
	}
	from := c.net.answered()
	s, err := c.acceptState(raw, now)
	walk := slipstream.ReasonOf(err, "") == slipstream.ReasonSignatureInvalid || slipstream.ReasonOf(err, "") == slipstream.ReasonExpiredRoot
	if s != nil {
		walk = s.RootVersion > c.rootVersion()
	}
	if walk {
		if err := c.walkRoots(ctx); err != nil {
			c.log.Warn("newer roots not reached", "error", err)
		}
		s, err = c.acceptState(raw, now)
	}
	if err != nil {
		c.net.demote(from)
		return nil, err
	}
	return s, c.keepState(raw, etag, s)
}

func (c *Client) rootVersion() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.trust.Root().Version
}

func (c *Client) acceptState(raw []byte, now time.Time) (*slipstream.State, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, known := c.lastState()
	s, err := c.trust.AcceptState(raw, sign.ExpectState{
		App: c.cfg.App, Channel: c.channel, Platform: c.cfg.Platform, Last: c.states[c.channel].envelope, Now: now, HighestSigned: time.Unix(known.Signed, 0),
	})
	if err == nil && s.Epoch < known.Epoch { // the envelope that it was learned from is gone
		return nil, slipstream.Refuse(slipstream.ReasonStaleState, "state", "epoch %d after %d", s.Epoch, known.Epoch)
	}
	return s, err
}

// getState gives the newest envelope: the server's, or the stored one when the server says that nothing changed.
func (c *Client) getState(ctx context.Context) (raw []byte, etag string, err error) {
	c.mu.Lock()
	_, known := c.lastState()
	channel := c.channel
	c.mu.Unlock()
	header := func() http.Header {
		h := http.Header{}
		if known.ETag != "" {
			h.Set("If-None-Match", known.ETag)
		}
		return h
	}
	path := fmt.Sprintf("/v1/apps/%s/channels/%s/state/%s", c.cfg.App, channel, c.cfg.Platform)
	unchanged := false
	err = c.net.do(ctx, call{path: path, header: header, accept: []int{http.StatusOK, http.StatusNotModified}}, func(r *http.Response) error {
		var err error
		if unchanged = r.StatusCode == http.StatusNotModified; unchanged {
			return nil
		}
		etag = r.Header.Get("ETag")
		raw, err = readCapped(r.Body, slipstream.MaxStateBytes, "state")
		return err
	})
	if err != nil {
		return nil, "", fmt.Errorf("fetch state of %s/%s: %w", c.cfg.App, channel, err)
	}
	if unchanged {
		raw, err = c.disk.read(c.disk.stateEnvelope(channel), slipstream.MaxStateBytes)
		return raw, known.ETag, err
	}
	return raw, etag, nil
}

// keepState makes an accepted envelope durable before anybody acts on it. Only the channel for which it was asked for
// can be in force here: ChangeChannel waits for the turn.
func (c *Client) keepState(raw []byte, etag string, s *slipstream.State) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.own(); err != nil {
		return err
	}
	sum := envelopeSum(raw)
	known := c.body.Channels[c.channel]
	c.states[c.channel] = heldState{s, raw}
	if known.Envelope == sum && known.ETag == etag {
		return nil
	}
	if known.Envelope != sum {
		if err := c.disk.write(c.disk.stateEnvelope(c.channel), raw); err != nil {
			return storage("keep state", err)
		}
	}
	next := seen{Epoch: max(known.Epoch, s.Epoch), Signed: max(known.Signed, s.Issued.Unix()), ETag: etag, Envelope: sum}
	return c.remember(next)
}

// remember persists what is known of the channel. mu is held.
func (c *Client) remember(s seen) error {
	b := c.body
	b.Channels = cloneWith(b.Channels, c.channel, s)
	return c.commit(b)
}
