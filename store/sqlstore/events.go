package sqlstore

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

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
