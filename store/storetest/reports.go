package storetest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/store"
)

// event is number n, of device, about shop's release "r".
func event(n int, device string, kind slipstream.Kind) store.StoredEvent {
	return store.StoredEvent{
		Event: slipstream.Event{
			ID: fmt.Sprintf("event-%d", n), Kind: kind, App: "shop", Channel: "production", Package: "main",
			Device: string(digest(device)), Release: digest("r"),
		},
		Received: at(n), Network: "net",
	}
}

func (e *env) append(batch ...store.StoredEvent) []bool {
	e.Helper()
	fresh, err := e.s.Reports().Append(e.Context(), batch)
	e.must(err)
	return fresh
}

func (e *env) events(q store.EventQuery) []store.StoredEvent {
	e.Helper()
	events, err := e.s.Reports().Events(e.Context(), q)
	e.must(err)
	return events
}

// counts prints the counts of shop as "channel/package kind devices" in the order given by the store.
func (e *env) counts() string {
	e.Helper()
	counts, err := e.s.Reports().Counts(e.Context(), "shop")
	e.must(err)
	var lines []string
	for _, c := range counts {
		if c.App != "shop" {
			e.Errorf("a count of app %q", c.App)
		}
		lines = append(lines, fmt.Sprintf("%s/%s %s %s %d", c.Channel, c.Package, c.Release.Short()[:4], c.Kind, c.Devices))
	}
	slices.Sort(lines)
	return strings.Join(lines, "; ")
}

func ids(events []store.StoredEvent) (out string) {
	for _, v := range events {
		out += strings.TrimPrefix(v.ID, "event-") + " "
	}
	return out
}

var short = digest("r").Short()[:4]

var reportCases = []contract{
	{"an event comes back with every field", func(e *env) {
		when := slipstream.At(at(3))
		full := event(1, "d", slipstream.KindMetric)
		full.Running, full.Rollout, full.Arm, full.Epoch, full.At = digest("old"), "r1", slipstream.ArmControl, 7, &when
		full.Platform, full.Runtime, full.Stage, full.Reason, full.Detail = "ios", "3.2", "fetch", slipstream.ReasonNetwork, "<é> \"quoted\""
		full.Attempt, full.Bytes, full.Codec, full.Metric, full.Value = 2, 1<<40, "full/1", "fps", json.RawMessage(`59.5`)
		e.append(full)
		e.same(e.events(store.EventQuery{}), []store.StoredEvent{full}, "events")
	}},
	{"an empty batch is no error", func(e *env) { e.same(len(e.append()), 0, "answers") }},
	{"a repeated id is not fresh, also within the batch", func(e *env) {
		one, two := event(1, "d", slipstream.KindConfirmed), event(2, "d", slipstream.KindCrashed)
		e.same(e.append(one, two, one), []bool{true, true, false}, "fresh")
		changed := one
		changed.Kind = slipstream.KindCrashed
		e.same(e.append(changed, event(3, "d", slipstream.KindHung)), []bool{false, true}, "fresh of the second batch")
		e.same(ids(e.events(store.EventQuery{})), "3 2 1 ", "stored events")
		e.same(e.events(store.EventQuery{Kind: slipstream.KindConfirmed}), []store.StoredEvent{one}, "the first report stays")
	}},
	{"two devices may use the same id", func(e *env) {
		e.same(e.append(event(1, "d", slipstream.KindConfirmed), event(1, "e", slipstream.KindConfirmed)), []bool{true, true}, "fresh")
		other := event(1, "d", slipstream.KindConfirmed)
		other.App = "art"
		e.same(e.append(other), []bool{true}, "the same device id in another app")
	}},
	{"what a stranger writes cannot fail the batch", func(e *env) {
		hostile := event(1, "d", "x\x00\xffy")
		hostile.Detail, hostile.Network, hostile.Channel, hostile.Device = "\x00\xff", "\x00", "\x00", "\x00"
		e.same(e.append(hostile, event(2, "d", slipstream.KindConfirmed)), []bool{true, true}, "fresh")
		e.same(e.append(hostile), []bool{false}, "fresh when repeated")
		e.same(len(e.events(store.EventQuery{})), 2, "stored events")
	}},
	{"Events filters, newest first", func(e *env) {
		other := event(4, "e", slipstream.KindCrashed)
		other.Release = digest("s")
		art := event(5, "d", slipstream.KindConfirmed)
		art.App = "art"
		e.append(event(1, "d", slipstream.KindStarted), event(2, "d", slipstream.KindConfirmed), event(3, "e", slipstream.KindConfirmed))
		e.append(other, art)
		for _, c := range []struct {
			query store.EventQuery
			want  string
		}{
			{store.EventQuery{}, "5 4 3 2 1 "},
			{store.EventQuery{Limit: 2}, "5 4 "},
			{store.EventQuery{App: "shop"}, "4 3 2 1 "},
			{store.EventQuery{App: "shop", Device: string(digest("d"))}, "2 1 "},
			{store.EventQuery{Device: string(digest("d"))}, "5 2 1 "},
			{store.EventQuery{App: "shop", Release: digest("s")}, "4 "},
			{store.EventQuery{App: "shop", Kind: slipstream.KindConfirmed, Device: string(digest("e"))}, "3 "},
			{store.EventQuery{App: "none"}, ""},
		} {
			e.same(ids(e.events(c.query)), c.want, fmt.Sprintf("%+v", c.query))
		}
	}},
	{"a limit of 0 is 1000", func(e *env) {
		batch := make([]store.StoredEvent, 1100)
		for i := range batch {
			batch[i] = event(i, itoa(int64(i%7)), slipstream.KindMetric)
		}
		e.append(batch...)
		e.same(len(e.events(store.EventQuery{})), 1000, "events")
		e.same(len(e.events(store.EventQuery{Limit: 1050})), 1050, "events with a limit")
	}},
	{"Counts counts a device once in each row", countsOnce},
	{"an uncounted event is kept, but makes no count", func(e *env) {
		invented := event(1, "d", "invented")
		invented.Uncounted = true
		e.same(e.append(invented, event(2, "d", slipstream.KindConfirmed)), []bool{true, true}, "fresh")
		e.same(len(e.events(store.EventQuery{})), 2, "events")
		e.same(e.counts(), "production/main "+short+" confirmed 1", "counts")
	}},
	{"Forget deletes all of one device and says how many events", func(e *env) {
		e.append(event(1, "d", slipstream.KindStarted), event(2, "d", slipstream.KindConfirmed), event(3, "e", slipstream.KindConfirmed))
		n, err := e.s.Reports().Forget(e.Context(), "shop", string(digest("d")))
		e.must(err)
		e.same(n, int64(2), "forgotten events")
		e.same(ids(e.events(store.EventQuery{})), "3 ", "events")
		e.same(e.counts(), "production/main "+short+" confirmed 1", "counts")
		e.append(event(4, "d", slipstream.KindConfirmed))
		e.same(e.counts(), "production/main "+short+" confirmed 2", "counts after it came back")
		n, err = e.s.Reports().Forget(e.Context(), "shop", "nobody")
		e.must(err)
		e.same(n, int64(0), "events of nobody")
	}},
	{"Expire deletes old events, counts stay", func(e *env) {
		var batch []store.StoredEvent
		for i := range 10 {
			batch = append(batch, event(i, itoa(int64(i)), slipstream.KindConfirmed))
		}
		e.append(batch...)
		n, err := e.s.Reports().Expire(e.Context(), at(7))
		e.must(err)
		e.same(n, int64(7), "expired events")
		e.same(ids(e.events(store.EventQuery{})), "9 8 7 ", "events")
		e.same(e.counts(), "production/main "+short+" confirmed 10", "counts")
		again := event(100, "3", slipstream.KindConfirmed)
		again.Received = at(100)
		e.append(again)
		e.same(e.counts(), "production/main "+short+" confirmed 10", "counts after a known device reported again")
	}},
	{"sixteen goroutines on two nodes append the same events: each is fresh once", func(e *env) {
		nodes := []store.Store{e.s, e.node()}
		var fresh atomic.Int64
		var wg sync.WaitGroup
		for w := range 16 {
			wg.Go(func() {
				var batch []store.StoredEvent
				for i := range 50 {
					batch = append(batch, event((i*7+w*13)%50, itoa(int64((i*7+w*13)%50)), slipstream.KindConfirmed))
				}
				got, err := nodes[w%2].Reports().Append(e.Context(), batch)
				if err != nil {
					e.Error(err)
				}
				for _, f := range got {
					if f {
						fresh.Add(1)
					}
				}
			})
		}
		wg.Wait()
		e.same(fresh.Load(), int64(50), "fresh answers")
		e.same(e.counts(), "production/main "+short+" confirmed 50", "counts")
	}},
	{"Append and Update go on beside each other", func(e *env) {
		e.shop()
		var wg sync.WaitGroup
		wg.Go(func() {
			for i := range 30 {
				if _, err := e.s.Reports().Append(e.Context(), []store.StoredEvent{event(i, "d", slipstream.KindMetric)}); err != nil {
					e.Error(err)
				}
			}
		})
		countUp(e, e.s)
		wg.Wait()
		e.same(len(e.events(store.EventQuery{})), 30, "events")
	}},
}

func countsOnce(e *env) {
	beta := event(5, "d", slipstream.KindConfirmed)
	beta.Channel = "beta"
	without := event(6, "d", slipstream.KindFailed)
	without.Release = ""
	art := event(7, "d", slipstream.KindConfirmed)
	art.App = "art"
	e.append(event(1, "d", slipstream.KindConfirmed), event(2, "d", slipstream.KindConfirmed), event(3, "e", slipstream.KindConfirmed))
	e.append(event(4, "d", slipstream.KindConfirmed), event(1, "d", slipstream.KindConfirmed), beta, art, event(8, "d", slipstream.KindCrashed))
	e.same(e.counts(), "beta/main "+short+" confirmed 1; production/main "+short+" confirmed 2; production/main "+short+" crashed 1", "counts")
	all, err := e.s.Reports().Counts(e.Context(), "")
	e.must(err)
	e.same(len(all), 4, "counts of all apps")
	e.append(without)
	counts, err := e.s.Reports().Counts(e.Context(), "shop")
	e.must(err)
	e.same(len(counts), 4, "counts with an event that names no release")
}
