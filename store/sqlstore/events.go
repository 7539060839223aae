package sqlstore

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/store"
)

// EventRow is an event as the table events holds it. Key is the unique one: 8 bytes of the hash of app and device, then
// 8 of the hash of the event's id. So one index finds repeated events and everything of a device, a device cannot
// swallow another one's events by guessing ids, and neighbouring writes touch the same pages.
type EventRow struct {
	Key                        []byte
	App, Device, Release, Kind string
	Received                   int64
	Network                    string
	Body                       []byte // the rest of the event as JSON
}

// CountKey names a row of table counts.
type CountKey struct{ App, Channel, Package, Release, Kind string }

// Compare orders keys the same on every node, so that concurrent appends take row locks in one order.
func (k CountKey) Compare(o CountKey) int {
	return cmp.Or(strings.Compare(k.App, o.App), strings.Compare(k.Channel, o.Channel), strings.Compare(k.Package, o.Package),
		strings.Compare(k.Release, o.Release), strings.Compare(k.Kind, o.Kind))
}

// Row makes the row of an event.
func Row(e *store.StoredEvent) (EventRow, error) {
	r := EventRow{
		Key: eventKey(e.App, e.Device, e.ID), App: text(e.App), Device: text(e.Device), Release: text(string(e.Release)),
		Kind: text(string(e.Kind)), Received: micros(e.Received), Network: text(e.Network),
	}
	rest := e.Event
	rest.App, rest.Device, rest.Release, rest.Kind = "", "", "", ""
	body, err := json.Marshal(body{Event: rest})
	if err != nil {
		return r, fmt.Errorf("encode event %s: %w", e.ID, err)
	}
	r.Body = body
	return r, nil
}

// body leaves out what has its own column.
type body struct {
	slipstream.Event
	App    string `json:"app,omitempty"`
	Device string `json:"device,omitempty"`
	Kind   string `json:"kind,omitempty"`
}

// CountKeyOf names the row of counts that e belongs to.
func CountKeyOf(e *store.StoredEvent) CountKey {
	return CountKey{App: text(e.App), Channel: text(e.Channel), Package: text(e.Package), Release: text(string(e.Release)), Kind: text(string(e.Kind))}
}

// text is s without what PostgreSQL refuses in a text column: a stranger's NUL must not fail a whole batch.
func text(s string) string {
	if strings.IndexByte(s, 0) >= 0 {
		s = strings.ReplaceAll(s, "\x00", "\uFFFD")
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// DeviceKey is the first 8 bytes of the hash of app and device, as a signed number.
func DeviceKey(app, device string) int64 {
	return int64(binary.BigEndian.Uint64(deviceHash(app, device)))
}

func deviceHash(app, device string) []byte {
	h := sha256.Sum256([]byte(app + "\x00" + device))
	return h[:8]
}

func eventKey(app, device, id string) []byte {
	h := sha256.Sum256([]byte(id))
	return append(deviceHash(app, device), h[:8]...)
}

// deviceRange gives the first and the last key that an event of device can have.
func deviceRange(app, device string) (first, last []byte) {
	h := deviceHash(app, device)
	return append(slices.Clone(h), 0, 0, 0, 0, 0, 0, 0, 0), append(slices.Clone(h), 255, 255, 255, 255, 255, 255, 255, 255)
}

func scanEvent(s scanner) (store.StoredEvent, error) {
	var e store.StoredEvent
	var app, device, release, kind string
	var received int64
	var doc []byte
	if err := s.Scan(&app, &device, &release, &kind, &received, &e.Network, &doc); err != nil {
		return e, err
	}
	if err := json.Unmarshal(doc, &e.Event); err != nil {
		return e, fmt.Errorf("stored event: %w", err)
	}
	e.App, e.Device, e.Release, e.Kind = app, device, slipstream.Digest(release), slipstream.Kind(kind)
	e.Received = instant(received)
	return e, nil
}

// rawDigest gives the 32 bytes that s names in hex; nil when it names none.
func rawDigest(s string) []byte {
	if !slipstream.Digest(s).Valid() {
		return nil
	}
	raw, err := hex.DecodeString(s)
	if err != nil {
		return nil
	}
	return raw
}

// releaseBytes is a release as the derived tables hold it: 32 bytes, or none at all.
func releaseBytes(d slipstream.Digest) []byte { return bytesOf(rawDigest(string(d))) }

func releaseOf(raw []byte) slipstream.Digest { return slipstream.Digest(hex.EncodeToString(raw)) }

// maxCountIDs bounds what CountIDs remembers; strangers choose the keys.
const maxCountIDs = 10000

// CountIDs remembers the ids of rows of table counts. Only ids of committed rows may be put in; rows are never deleted.
type CountIDs struct {
	mu  sync.Mutex
	ids map[CountKey]int64
}

// Get finds the id of k.
func (c *CountIDs) Get(k CountKey) (int64, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	id, ok := c.ids[k]
	return id, ok
}

// Put remembers ids.
func (c *CountIDs) Put(ids map[CountKey]int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ids == nil || len(c.ids)+len(ids) > maxCountIDs {
		c.ids = map[CountKey]int64{}
	}
	maps.Copy(c.ids, ids)
}
