package storetest

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/store"
)

// told is an event of a device about the rollout "ro" of release "r"; edit changes it.
func told(n int, device string, kind slipstream.Kind, edit func(*store.StoredEvent)) store.StoredEvent {
	e := event(n, device, kind)
	e.Rollout, e.Arm, e.Running, e.Platform, e.Runtime = "ro", slipstream.ArmTreatment, digest("old"), "android", "3.2.0"
	if edit != nil {
		edit(&e)
	}
	return e
}

func enrolled(n int, device string) store.StoredEvent {
	return told(n, device, slipstream.KindEnrolled, nil)
}

// control is an event of a device of the control group, which runs release "old".
func control(n int, device string, kind slipstream.Kind) store.StoredEvent {
	return told(n, device, kind, func(e *store.StoredEvent) {
		if e.Arm = slipstream.ArmControl; kind != slipstream.KindEnrolled {
			e.Release = e.Running
		}
	})
}

func rolledBack(n int, device string, reason slipstream.Reason) store.StoredEvent {
	return told(n, device, slipstream.KindRolledBack, func(e *store.StoredEvent) { e.Reason = reason })
}

func metric(n int, device, name, value string) store.StoredEvent {
	return told(n, device, slipstream.KindMetric, func(e *store.StoredEvent) {
		e.Metric, e.Value, e.Rollout, e.Arm, e.Release, e.Running = name, json.RawMessage(value), "", "", "", ""
	})
}

func (e *env) outcomes(rollout string, after int64, limit int) []store.Outcome {
	e.Helper()
	out, err := e.s.Reports().Trials().Outcomes(e.Context(), rollout, after, limit)
	e.must(err)
	return out
}

// log prints lines as "seq+device" for a joining one, and "seq=device" with the reason of a failure for an end.
func logText(lines []store.Outcome) string {
	names := map[string]string{}
	for _, n := range []string{"d", "e", "f", "g", "h"} {
		names[string(digest(n))] = n
	}
	var out []string
	for _, o := range lines {
		sign := "="
		if o.Joined {
			sign = "+"
		}
		text := fmt.Sprintf("%d%s%s", o.Seq, sign, names[o.Device])
		if o.Failed {
			text += ":" + string(o.Reason)
		}
		if o.Arm == slipstream.ArmControl {
			text += "(control)"
		}
		out = append(out, text)
	}
	return strings.Join(out, " ")
}

func (e *env) tally(rollout string) map[string]store.Tally {
	e.Helper()
	t, err := e.s.Reports().Trials().Tally(e.Context(), rollout)
	e.must(err)
	return t
}

var trialCases = []contract{
	{"a log begins with the enrolments and ends each trial once", func(e *env) {
		e.append(enrolled(1, "d"), control(2, "e", slipstream.KindEnrolled))
		e.append(told(3, "d", slipstream.KindStarted, nil), told(4, "d", slipstream.KindCrashed, nil), rolledBack(5, "d", slipstream.ReasonCrashed))
		e.append(control(6, "e", slipstream.KindConfirmed), told(7, "d", slipstream.KindConfirmed, nil), enrolled(8, "d"))
		e.same(logText(e.outcomes("ro", 0, 0)), "1+d 2+e(control) 3=d:crashed 4=e(control)", "log")
		e.same(logText(e.outcomes("ro", 2, 1)), "3=d:crashed", "one line above 2")
		e.same(logText(e.outcomes("other", 0, 0)), "", "log of a rollout that nobody told of")
		line := e.outcomes("ro", 2, 1)[0]
		e.same(line, store.Outcome{Seq: 3, Rollout: "ro", Device: string(digest("d")), Arm: slipstream.ArmTreatment, Network: "net", EnrolledSeq: 1,
			Failed: true, Reason: slipstream.ReasonCrashed, Enrolled: at(1), At: at(5)}, "a line")
	}},
	{"the first arm wins, and an outcome of the other arm or of another release is none", func(e *env) {
		e.append(enrolled(1, "d"), control(2, "d", slipstream.KindEnrolled), control(3, "d", slipstream.KindConfirmed))
		other := told(4, "d", slipstream.KindConfirmed, func(e *store.StoredEvent) { e.Release = digest("s") })
		e.append(other)
		e.same(logText(e.outcomes("ro", 0, 0)), "1+d", "log")
		e.append(told(5, "d", slipstream.KindConfirmed, func(e *store.StoredEvent) { e.Arm = "" }))
		e.same(logText(e.outcomes("ro", 0, 0)), "1+d 2=d", "log with the outcome that tells no arm")
	}},
	{"an outcome without an earlier enrolment is no evidence", func(e *env) {
		e.append(told(1, "d", slipstream.KindConfirmed, nil), rolledBack(2, "e", slipstream.ReasonHung), enrolled(3, "f"))
		e.append(told(4, "d", slipstream.KindConfirmed, nil), enrolled(5, "d"))
		e.same(logText(e.outcomes("ro", 0, 0)), "1+f 2+d", "log")
		e.same(e.tally("ro")[slipstream.ArmTreatment], store.Tally{Enrolled: 2, Networks: 1}, "tally")
	}},
	{"each way to end a trial counts as what it is", trialEndings},
	{"an uncounted, a repeated and a broken event change nothing", func(e *env) {
		unknown := enrolled(1, "d")
		unknown.Uncounted = true
		armless := told(2, "d", slipstream.KindEnrolled, func(e *store.StoredEvent) { e.Arm = "" })
		nobody := told(3, "d", slipstream.KindEnrolled, func(e *store.StoredEvent) { e.Device = "x" })
		e.append(unknown, armless, nobody, enrolled(4, "e"), enrolled(4, "e"))
		e.append(enrolled(4, "e"))
		unpublished := told(7, "e", slipstream.KindConfirmed, nil)
		unpublished.Uncounted = true
		foreign := enrolled(5, "f")
		foreign.App = "art"
		elsewhere := told(6, "g", slipstream.KindEnrolled, func(e *store.StoredEvent) { e.Channel = "beta" })
		e.append(foreign, elsewhere)
		e.same(logText(e.outcomes("ro", 0, 0)), "1+e", "log")
		e.append(unpublished)
		e.same(logText(e.outcomes("ro", 0, 0)), "1+e 2=e", "log with the end of a trial whose release is not published here")
	}},
	{"Silent gives who enrolled then and was not heard of up to a seq", func(e *env) {
		e.append(enrolled(1, "d"), enrolled(2, "e"), control(3, "f", slipstream.KindEnrolled), enrolled(4, "g"))
		e.append(told(5, "e", slipstream.KindConfirmed, nil), rolledBack(6, "g", slipstream.ReasonWithdrawn))
		silent := func(after, upTo int, asOf int64) string {
			out, err := e.s.Reports().Trials().Silent(e.Context(), "ro", at(after), at(upTo), asOf)
			e.must(err)
			for i := range out {
				out[i].Seq = out[i].EnrolledSeq
				if !out[i].At.IsZero() || out[i].Enrolled.IsZero() {
					e.Errorf("a silent device has a time %v or no enrolment", out[i].At)
				}
			}
			return strings.ReplaceAll(logText(out), "=", "?")
		}
		e.same(silent(0, 9, 0), "1?d 3?f(control)", "silent now")
		e.same(silent(1, 9, 0), "3?f(control)", "enrolled after the first minute")
		e.same(silent(0, 2, 4), "1?d 2?e", "as of the last enrolment")
		e.same(silent(0, 9, 5), "1?d 3?f(control) 4?g", "before g left")
		e.same(silent(0, 9, 2), "1?d 2?e", "before the others joined")
	}},
	{"Tally counts devices and networks by arm", func(e *env) {
		e.same(len(e.tally("ro")), 0, "arms of an unknown rollout")
		far := enrolled(1, "d")
		far.Network = "far"
		e.append(far, enrolled(2, "e"), enrolled(3, "f"), control(4, "g", slipstream.KindEnrolled))
		e.append(told(5, "d", slipstream.KindConfirmed, nil), rolledBack(6, "e", slipstream.ReasonCrashed), rolledBack(7, "f", slipstream.ReasonDisplaced))
		e.same(e.tally("ro"), map[string]store.Tally{
			slipstream.ArmTreatment: {Enrolled: 3, Confirmed: 1, Failed: 1, Left: 1, Networks: 2}, slipstream.ArmControl: {Enrolled: 1, Networks: 1},
		}, "tally")
	}},
	{"Delays are the times from enrolment to outcome, newest first", func(e *env) {
		e.append(enrolled(1, "d"), enrolled(2, "e"), control(3, "f", slipstream.KindEnrolled), enrolled(4, "g"))
		e.append(told(11, "d", slipstream.KindConfirmed, nil), rolledBack(15, "e", slipstream.ReasonCrashed), control(16, "f", slipstream.KindConfirmed), rolledBack(17, "g", slipstream.ReasonWithdrawn))
		delays, err := e.s.Reports().Trials().Delays(e.Context(), "ro", slipstream.ArmTreatment, 0)
		e.must(err)
		e.same(delays, []time.Duration{13 * time.Minute, 10 * time.Minute}, "delays")
		delays, err = e.s.Reports().Trials().Delays(e.Context(), "ro", slipstream.ArmTreatment, 1)
		e.must(err)
		e.same(delays, []time.Duration{13 * time.Minute}, "the newest")
	}},
	{"BaseRate counts the outcomes of a channel's rollouts since a day", func(e *env) {
		late := func(v store.StoredEvent) store.StoredEvent {
			v.Received = v.Received.AddDate(0, 0, 3)
			return v
		}
		next := func(v store.StoredEvent) store.StoredEvent { v.Rollout = "next"; return v }
		e.append(enrolled(1, "d"), enrolled(2, "e"), next(enrolled(3, "d")), next(control(4, "e", slipstream.KindEnrolled)))
		e.append(told(5, "d", slipstream.KindConfirmed, nil), rolledBack(6, "e", slipstream.ReasonCrashed))
		e.append(late(next(rolledBack(7, "d", slipstream.ReasonHung))), late(next(control(8, "e", slipstream.KindConfirmed))))
		rate := func(channel string, days int) string {
			n, failed, err := e.s.Reports().Trials().BaseRate(e.Context(), "shop", channel, "main", at(0).AddDate(0, 0, days))
			e.must(err)
			return fmt.Sprintf("%d of %d", failed, n)
		}
		e.same(rate("production", 0), "2 of 4", "all")
		e.same(rate("production", 1), "1 of 2", "since the next day")
		e.same(rate("beta", 0), "0 of 0", "of another channel")
	}},
	{"metrics are summed up by device, arm and name", metricsPerArm},
	{"a metric counts for the trials that it does not exclude", func(e *env) {
		e.append(metric(1, "d", "fps", "1"), enrolled(2, "d"))
		running := func(n int, release slipstream.Digest) store.StoredEvent {
			m := metric(n, "d", "fps", "3")
			m.Release = release
			return m
		}
		elsewhere := metric(5, "d", "fps", "7")
		elsewhere.Package = "cart"
		of := metric(6, "d", "fps", "9")
		of.Rollout = "other"
		e.append(running(3, digest("r")), running(4, digest("old")), elsewhere, of)
		rows, err := e.s.Reports().Trials().Metrics(e.Context(), "ro")
		e.must(err)
		e.same(rows, []store.MetricRow{{Arm: slipstream.ArmTreatment, Metric: "fps", Devices: 1, Sum: 3, Squares: 9, Mean: 3}}, "metrics")
	}},
	{"a device measures at most 64 things", func(e *env) {
		e.append(enrolled(1, "d"))
		for i := range 70 {
			e.append(metric(10+i, "d", fmt.Sprintf("m%d", i), "1"))
		}
		rows, err := e.s.Reports().Trials().Metrics(e.Context(), "ro")
		e.must(err)
		e.same(len(rows), 64, "metrics")
	}},
	{"who reads the log while others append misses nothing and sees every line in order", logIsGapSafe},
	{"Forget takes a device out of the log and of every sum", forgetTrials},
	{"Expire takes whole rollouts out that rest", func(e *env) {
		e.append(enrolled(1, "d"), told(2, "d", slipstream.KindConfirmed, nil), metric(3, "d", "fps", "60"))
		live := enrolled(50, "e")
		live.Rollout = "live"
		e.append(live)
		n, err := e.s.Reports().Fleet().Expire(e.Context(), store.Retention{Trials: at(40)})
		e.must(err)
		e.same(n, int64(1), "expired rollouts")
		e.same(logText(e.outcomes("ro", 0, 0))+"|"+logText(e.outcomes("live", 0, 0)), "|3+e", "logs")
		e.same(len(e.tally("ro")), 0, "arms of the expired one")
		e.append(enrolled(60, "d"))
		e.same(logText(e.outcomes("ro", 0, 0)), "4+d", "log of the rollout that came back")
		rows, err := e.s.Reports().Trials().Metrics(e.Context(), "ro")
		e.must(err)
		e.same(len(rows), 0, "old metrics")
	}},
}

func trialEndings(e *env) {
	failed := func(stage string, reason slipstream.Reason) func(*store.StoredEvent) {
		return func(e *store.StoredEvent) { e.Stage, e.Reason = stage, reason }
	}
	back := func(reason slipstream.Reason) func(*store.StoredEvent) { return failed("", reason) }
	for i, c := range []struct {
		kind slipstream.Kind
		edit func(*store.StoredEvent)
		want string
	}{
		{slipstream.KindConfirmed, nil, "confirmed"},
		{slipstream.KindRolledBack, back(slipstream.ReasonCrashed), "failed"},
		{slipstream.KindRolledBack, back(slipstream.ReasonHung), "failed"},
		{slipstream.KindRolledBack, back(slipstream.ReasonUnknownEnd), "failed"},
		{slipstream.KindRolledBack, back(slipstream.ReasonStorageCorrupted), "failed"},
		{slipstream.KindRolledBack, back(slipstream.ReasonDisplaced), "left"},
		{slipstream.KindRolledBack, back(slipstream.ReasonWithdrawn), "left"},
		{slipstream.KindFailed, failed("trial", slipstream.ReasonCrashed), "failed"},
		{slipstream.KindFailed, failed("trial", slipstream.ReasonDisplaced), "left"},
		{slipstream.KindFailed, failed("fetch", slipstream.ReasonFileMismatch), "failed"},
		{slipstream.KindFailed, failed("stage", slipstream.ReasonManifestMismatch), "failed"},
		{slipstream.KindFailed, failed("fetch", slipstream.ReasonNetwork), "open"},
		{slipstream.KindFailed, failed("fetch", slipstream.ReasonDiskFull), "open"},
		{slipstream.KindFailed, failed("start", slipstream.ReasonUnknownEnd), "open"},
		{slipstream.KindFailed, failed("check", slipstream.ReasonSignatureInvalid), "open"},
		{slipstream.KindCrashed, failed("start", slipstream.ReasonCrashed), "open"},
		{slipstream.KindHung, failed("start", slipstream.ReasonHung), "open"},
		{slipstream.KindStaged, nil, "open"}, {slipstream.KindStarted, nil, "open"}, {slipstream.KindFetched, nil, "open"},
		{slipstream.KindRefused, back(slipstream.ReasonRefusedAfterCrash), "open"}, {"unheard", nil, "open"},
	} {
		rollout := fmt.Sprintf("ro%d", i)
		of := func(v store.StoredEvent) store.StoredEvent { v.Rollout = rollout; return v }
		e.append(of(enrolled(2*i, "d")), of(told(2*i+1, "d", c.kind, c.edit)))
		want := map[string]store.Tally{"confirmed": {Confirmed: 1}, "failed": {Failed: 1}, "left": {Left: 1}, "open": {}}[c.want]
		want.Enrolled, want.Networks = 1, 1
		e.same(e.tally(rollout)[slipstream.ArmTreatment], want, fmt.Sprintf("tally after %s number %d", c.kind, i))
		lines := map[string]int{"confirmed": 2, "failed": 2, "left": 1, "open": 1}[c.want]
		e.same(len(e.outcomes(rollout, 0, 0)), lines, fmt.Sprintf("lines after %s number %d", c.kind, i))
	}
}

func metricsPerArm(e *env) {
	e.append(enrolled(1, "d"), enrolled(2, "e"), control(3, "f", slipstream.KindEnrolled), control(4, "g", slipstream.KindEnrolled))
	e.append(metric(5, "d", "fps", "50"), metric(6, "d", "fps", "60"), metric(7, "e", "fps", "1000000001"), metric(8, "f", "bought", "true"),
		metric(9, "f", "bought", "false"), metric(10, "g", "bought", "true"), metric(11, "nobody", "fps", "7"))
	e.append(metric(12, "e", "huge", "1e300"), metric(13, "e", "tiny", "-1e-300"), metric(14, "e", "fps", "999999999"))
	rows, err := e.s.Reports().Trials().Metrics(e.Context(), "ro")
	e.must(err)
	e.same(rows, []store.MetricRow{
		{Arm: slipstream.ArmControl, Metric: "bought", Devices: 2, Sum: 1.5, Squares: 1.25, Mean: 0.75, M2: 0.125, Binary: true},
		{Arm: slipstream.ArmTreatment, Metric: "fps", Devices: 2, Sum: 1e9 + 55, Squares: 1e18 + 55*55, Mean: (1e9 + 55) / 2, M2: math.Pow(1e9-55, 2) / 2},
		{Arm: slipstream.ArmTreatment, Metric: "tiny", Devices: 1},
	}, "metrics")
	e.append(metric(20, "f", "bought", "3"))
	rows, err = e.s.Reports().Trials().Metrics(e.Context(), "ro")
	e.must(err)
	e.same(rows[0].Binary, false, "binary after a number")
}

// logIsGapSafe has two nodes append at once while a reader on a third follows the log as the guard does.
func logIsGapSafe(e *env) {
	const writers, each = 8, 40
	nodes := []store.Store{e.s, e.node()}
	reader := e.node()
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				d := fmt.Sprintf("device %d-%d", w, i)
				if _, err := nodes[w%2].Reports().Append(e.Context(), []store.StoredEvent{enrolled(i, d)}); err != nil {
					e.Error(err)
				}
				if _, err := nodes[(w+i)%2].Reports().Append(e.Context(), []store.StoredEvent{told(1000+i, d, slipstream.KindConfirmed, nil), told(2000+i, d, slipstream.KindStarted, nil)}); err != nil {
					e.Error(err)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	var followed []store.Outcome
	for last, after := false, int64(0); ; {
		lines, err := reader.Reports().Trials().Outcomes(e.Context(), "ro", after, 7)
		e.must(err)
		for _, l := range lines {
			if l.Seq <= after {
				e.Fatalf("line %d came after %d", l.Seq, after)
			}
			after = l.Seq
		}
		followed = append(followed, lines...)
		if len(lines) == 7 {
			continue
		}
		if last {
			break
		}
		select {
		case <-done:
			last = true
		default:
		}
	}
	e.same(len(followed), 2*writers*each, "lines followed")
	e.same(followed, e.outcomes("ro", 0, 0), "the log as it was followed, and as it is")
	e.same(e.tally("ro")[slipstream.ArmTreatment], store.Tally{Enrolled: writers * each, Confirmed: writers * each, Networks: 1}, "tally")
}

func forgetTrials(e *env) {
	alone := enrolled(1, "d")
	alone.Network = "alone"
	e.append(alone, enrolled(2, "e"), rolledBack(3, "d", slipstream.ReasonCrashed), told(4, "e", slipstream.KindConfirmed, nil), metric(5, "d", "fps", "1"), metric(6, "e", "fps", "2"))
	if _, err := e.s.Reports().Forget(e.Context(), "shop", string(digest("d"))); err != nil {
		e.Fatal(err)
	}
	e.same(logText(e.outcomes("ro", 0, 0)), "2+e 4=e", "log")
	e.same(e.tally("ro"), map[string]store.Tally{slipstream.ArmTreatment: {Enrolled: 1, Confirmed: 1, Networks: 1}}, "tally")
	n, failed, err := e.s.Reports().Trials().BaseRate(e.Context(), "shop", "production", "main", at(0))
	e.must(err)
	e.same([]int64{n, failed}, []int64{1, 0}, "outcomes and failures")
	rows, err := e.s.Reports().Trials().Metrics(e.Context(), "ro")
	e.must(err)
	e.same(rows, []store.MetricRow{{Arm: slipstream.ArmTreatment, Metric: "fps", Devices: 1, Sum: 2, Squares: 4, Mean: 2}}, "metrics")
	gone, err := e.s.Reports().Fleet().Device(e.Context(), "shop", string(digest("d")))
	e.must(err)
	e.same(gone, store.Device{}, "what is left of it")
	reasons, err := e.s.Reports().Fleet().Reasons(e.Context(), store.ReasonQuery{App: "shop"})
	e.must(err)
	e.same(len(reasons), 0, "reasons")
	e.append(enrolled(7, "d"))
	e.same(logText(e.outcomes("ro", 0, 0)), "2+e 4=e 5+d", "log after it came back")
}

var fleetCases = []contract{
	{"a device row says what the device runs, and when that was heard", func(e *env) {
		e.append(enrolled(1, "d"), told(2, "d", slipstream.KindStarted, nil))
		row := store.DeviceRow{App: "shop", Device: string(digest("d")), Package: "main", Channel: "production", Platform: "android", Runtime: "3.2.0",
			Release: digest("old"), FirstSeen: at(1), LastSeen: at(1).Truncate(time.Hour)}
		e.same(e.devices(store.DeviceQuery{App: "shop"}), []store.DeviceRow{row}, "rows")
		e.append(told(70, "d", slipstream.KindConfirmed, func(e *store.StoredEvent) { e.Channel = "beta" }))
		row.Release, row.LastSeen, row.Channel = digest("r"), at(70).Truncate(time.Hour), "beta"
		e.same(e.devices(store.DeviceQuery{App: "shop"}), []store.DeviceRow{row}, "rows after confirm")
		e.append(told(71, "d", slipstream.KindRolledBack, func(e *store.StoredEvent) { e.Running = "" }))
		row.Release, row.Channel = "", "production"
		e.same(e.devices(store.DeviceQuery{App: "shop"}), []store.DeviceRow{row}, "rows after it went back to what came with the app")
		e.append(told(200, "d", slipstream.KindAlive, nil))
		row.Release, row.LastSeen = digest("old"), at(200).Truncate(time.Hour)
		e.same(e.devices(store.DeviceQuery{App: "shop"}), []store.DeviceRow{row}, "rows after a sign of life")
	}},
	{"what is unknown, or has no package or device, makes no row", func(e *env) {
		unknown := enrolled(1, "d")
		unknown.Uncounted = true
		e.append(unknown, told(2, "d", slipstream.KindConfirmed, func(e *store.StoredEvent) { e.Package = "" }),
			told(3, "d", slipstream.KindConfirmed, func(e *store.StoredEvent) { e.Device = "\x00" }))
		e.same(len(e.devices(store.DeviceQuery{App: "shop"})), 0, "rows")
	}},
	{"Devices filters and goes on where it stopped", func(e *env) {
		var batch []store.StoredEvent
		for i := range 300 {
			batch = append(batch, told(i, itoa(int64(i)), slipstream.KindConfirmed, func(e *store.StoredEvent) {
				if e.Runtime = "1"; i%3 == 0 {
					e.Runtime, e.Release = "2", digest("s")
				}
				if i%100 == 0 {
					e.Package = "cart"
				}
			}))
		}
		e.append(batch...)
		for _, c := range []struct {
			query store.DeviceQuery
			want  int
		}{
			{store.DeviceQuery{App: "shop"}, 300}, {store.DeviceQuery{App: "art"}, 0}, {store.DeviceQuery{App: "shop", Runtime: "2"}, 100},
			{store.DeviceQuery{App: "shop", Release: digest("s")}, 100}, {store.DeviceQuery{App: "shop", Package: "cart"}, 3},
			{store.DeviceQuery{App: "shop", Channel: "beta"}, 0}, {store.DeviceQuery{App: "shop", Platform: "android", Limit: 7}, 7},
			{store.DeviceQuery{App: "shop", Prefix: string(digest("1"))[:8]}, 1},
		} {
			e.same(len(e.devices(c.query)), c.want, fmt.Sprintf("%+v", c.query))
		}
		seen := map[string]bool{}
		q := store.DeviceQuery{App: "shop", Limit: 64}
		for rows := e.devices(q); len(rows) > 0; rows = e.devices(q) {
			for _, r := range rows {
				seen[r.Device] = true
			}
			q.AfterDevice, q.AfterPackage = rows[len(rows)-1].Device, rows[len(rows)-1].Package
		}
		e.same(len(seen), 300, "devices in pages")
		_, err := e.s.Reports().Fleet().Devices(e.Context(), store.DeviceQuery{App: "shop", Prefix: "xyz"})
		e.want(err, slipstream.ErrInvalid, "a prefix that is no hex")
	}},
	{"Spread and Running count devices that look alike", func(e *env) {
		var batch []store.StoredEvent
		for i := range 10 {
			batch = append(batch, told(i, itoa(int64(i)), slipstream.KindConfirmed, func(e *store.StoredEvent) {
				if i < 3 {
					e.Platform, e.Release = "ios", digest("s")
				}
			}))
		}
		e.append(batch...)
		spread, err := e.s.Reports().Fleet().Spread(e.Context(), "shop")
		e.must(err)
		e.same(spread, []store.Spread{
			{Channel: "production", Package: "main", Platform: "android", Runtime: "3.2.0", Release: digest("r"), Devices: 7},
			{Channel: "production", Package: "main", Platform: "ios", Runtime: "3.2.0", Release: digest("s"), Devices: 3},
		}, "spread")
		running, err := e.s.Reports().Fleet().Running(e.Context(), "shop", "main")
		e.must(err)
		e.same(running, []store.Running{{Release: digest("r"), Devices: 7}, {Release: digest("s"), Devices: 3}}, "running")
	}},
	{"a series counts a device once, at the minute, hour and day of its first report", func(e *env) {
		e.append(event(1, "d", slipstream.KindConfirmed), event(2, "d", slipstream.KindConfirmed), event(2, "e", slipstream.KindConfirmed))
		e.append(event(61, "f", slipstream.KindConfirmed), event(3, "g", slipstream.KindCrashed), event(62, "d", slipstream.KindConfirmed))
		beta := event(5, "d", slipstream.KindConfirmed)
		beta.Channel = "beta"
		e.append(beta)
		q := store.SeriesQuery{App: "shop", Channel: "production", Step: store.StepMinute}
		e.same(e.series(q), "12:01 confirmed 1; 12:02 confirmed 1; 12:03 crashed 1; 13:01 confirmed 1", "minutes")
		q.From, q.To = at(2).Truncate(time.Minute), at(61).Truncate(time.Minute)
		e.same(e.series(q), "12:02 confirmed 1; 12:03 crashed 1", "some minutes")
		e.same(e.series(store.SeriesQuery{App: "shop", Step: store.StepHour, Kind: slipstream.KindConfirmed}), "12:00 confirmed 3; 13:00 confirmed 1", "hours of all channels")
		e.same(e.series(store.SeriesQuery{App: "shop", Step: store.StepDay, Release: digest("r"), Package: "main"}), "00:00 confirmed 4; 00:00 crashed 1", "days of a release")
		e.same(e.series(store.SeriesQuery{App: "art", Step: store.StepDay}), "", "of another app")
		_, err := e.s.Reports().Fleet().Series(e.Context(), store.SeriesQuery{App: "shop", Step: "week"})
		e.want(err, slipstream.ErrInvalid, "an unknown step")
	}},
	{"Reasons ranks what went wrong by devices", rankedReasons},
	{"a stranger cannot make reasons without end", func(e *env) {
		var batch []store.StoredEvent
		for i := range 150 {
			v := event(i, "d", slipstream.KindFailed)
			v.Stage, v.Reason = fmt.Sprintf("stage%d", i), "network"
			batch = append(batch, v)
		}
		shout := event(200, "d", slipstream.KindFailed)
		shout.Stage, shout.Reason = "LOOK", slipstream.Reason(strings.Repeat("x", 200))
		e.append(shout)
		e.append(batch...)
		reasons, err := e.s.Reports().Fleet().Reasons(e.Context(), store.ReasonQuery{App: "shop", Limit: 1000})
		e.must(err)
		if len(reasons) > 102 || !strings.Contains(fmt.Sprint(reasons), "other") {
			e.Errorf("%d reasons are kept: %+v", len(reasons), reasons)
		}
	}},
	{"Device tells all of one device", func(e *env) {
		e.append(enrolled(1, "d"), rolledBack(2, "d", slipstream.ReasonCrashed), metric(3, "d", "fps", "60"), metric(4, "d", "fps", "50"), enrolled(5, "e"))
		d, err := e.s.Reports().Fleet().Device(e.Context(), "shop", string(digest("d")))
		e.must(err)
		e.same(len(d.Rows), 1, "rows")
		e.same(d.Trials, []store.DeviceTrial{{Rollout: "ro", Channel: "production", Package: "main", Arm: slipstream.ArmTreatment, Network: "net", Release: digest("r"),
			Enrolled: at(1), Ended: at(2), Ending: store.TrialFailed, Reason: slipstream.ReasonCrashed, Metrics: []store.DeviceMetric{{Metric: "fps", Count: 2, Sum: 110}}}}, "trials")
	}},
	{"Expire deletes device rows that were not heard, and each step of series by its own age", func(e *env) {
		for i := range 5 {
			e.append(told(i*60, itoa(int64(i)), slipstream.KindConfirmed, nil))
		}
		fleet := e.s.Reports().Fleet()
		n, err := fleet.Expire(e.Context(), store.Retention{Devices: at(120).Truncate(time.Hour)})
		e.must(err)
		e.same([]int64{n, int64(len(e.devices(store.DeviceQuery{App: "shop"})))}, []int64{2, 3}, "expired and left rows")
		_, err = fleet.Expire(e.Context(), store.Retention{Minutes: at(180), Hours: at(60).Truncate(time.Hour)})
		e.must(err)
		e.same(e.series(store.SeriesQuery{App: "shop", Step: store.StepMinute}), "16:00 confirmed 1", "minutes")
		e.same(e.series(store.SeriesQuery{App: "shop", Step: store.StepHour}), "13:00 confirmed 1; 14:00 confirmed 1; 15:00 confirmed 1; 16:00 confirmed 1", "hours")
		e.same(e.series(store.SeriesQuery{App: "shop", Step: store.StepDay}), "00:00 confirmed 5", "days")
		n, err = fleet.Expire(e.Context(), store.Retention{})
		e.must(err)
		e.same(n, int64(0), "expired without an age")
	}},
	{"two nodes append about the same devices: every sum is right", fleetOfTwoNodes},
}

func (e *env) devices(q store.DeviceQuery) []store.DeviceRow {
	e.Helper()
	rows, err := e.s.Reports().Fleet().Devices(e.Context(), q)
	e.must(err)
	return rows
}

func (e *env) series(q store.SeriesQuery) string {
	e.Helper()
	points, err := e.s.Reports().Fleet().Series(e.Context(), q)
	e.must(err)
	var out []string
	for _, p := range points {
		out = append(out, fmt.Sprintf("%s %s %d", p.At.Format("15:04"), p.Kind, p.N))
	}
	return strings.Join(out, "; ")
}

func rankedReasons(e *env) {
	failed := func(n int, device, stage string, reason slipstream.Reason) store.StoredEvent {
		v := event(n, device, slipstream.KindFailed)
		v.Stage, v.Reason = stage, reason
		return v
	}
	e.append(failed(1, "d", "fetch", slipstream.ReasonNetwork), failed(2, "d", "fetch", slipstream.ReasonNetwork), failed(3, "e", "fetch", slipstream.ReasonNetwork),
		failed(4, "d", "stage", slipstream.ReasonDiskFull), rolledBack(5, "f", slipstream.ReasonCrashed), event(6, "f", slipstream.KindConfirmed))
	e.append(failed(7, "e", "fetch", slipstream.ReasonNetwork))
	ranked := func(q store.ReasonQuery) (out []string) {
		reasons, err := e.s.Reports().Fleet().Reasons(e.Context(), q)
		e.must(err)
		for _, r := range reasons {
			if r.Channel != "production" || r.Package != "main" || r.Release != digest("r") {
				e.Errorf("a reason of %s/%s %s", r.Channel, r.Package, r.Release)
			}
			out = append(out, fmt.Sprintf("%s %s %s %d %s", r.Kind, r.Stage, r.Reason, r.Devices, r.Last.Format("15:04")))
		}
		return out
	}
	e.same(ranked(store.ReasonQuery{App: "shop"}), []string{"failed fetch network 2 12:07", "rolled_back  crashed 1 12:05", "failed stage disk_full 1 12:04"}, "reasons")
	e.same(ranked(store.ReasonQuery{App: "shop", Kind: slipstream.KindFailed, Limit: 1}), []string{"failed fetch network 2 12:07"}, "the first of failures")
	e.same(len(ranked(store.ReasonQuery{App: "shop", Since: at(5)})), 1, "reasons told later")
	e.same(len(ranked(store.ReasonQuery{App: "shop", Channel: "beta"})), 0, "reasons of another channel")
}

func fleetOfTwoNodes(e *env) {
	nodes := []store.Store{e.s, e.node()}
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for round := range 10 {
				var batch []store.StoredEvent
				for i := range 30 {
					d := itoa(int64((i*7 + w*3 + round) % 30))
					n := w*10000 + round*100 + i
					batch = append(batch, enrolled(n, d), rolledBack(n+5000, d, slipstream.ReasonCrashed), metric(n+3000, d, "fps", "1"))
				}
				if _, err := nodes[w%2].Reports().Append(e.Context(), batch); err != nil {
					e.Error(err)
				}
			}
		})
	}
	wg.Wait()
	e.same(e.tally("ro")[slipstream.ArmTreatment], store.Tally{Enrolled: 30, Failed: 30, Networks: 1}, "tally")
	e.same(len(e.devices(store.DeviceQuery{App: "shop"})), 30, "rows")
	e.same(len(e.outcomes("ro", 0, 0)), 60, "lines")
	rows, err := e.s.Reports().Trials().Metrics(e.Context(), "ro")
	e.must(err)
	d, err := e.s.Reports().Fleet().Device(e.Context(), "shop", string(digest("0")))
	e.must(err)
	e.same([]int64{rows[0].Devices, d.Trials[0].Metrics[0].Count}, []int64{30, 80}, "devices that measured, and how often one did")
	reasons, err := e.s.Reports().Fleet().Reasons(e.Context(), store.ReasonQuery{App: "shop"})
	e.must(err)
	e.same(reasons[0].Devices, int64(30), "devices with the reason")
	points, err := e.s.Reports().Fleet().Series(e.Context(), store.SeriesQuery{App: "shop", Step: store.StepDay, Kind: slipstream.KindRolledBack})
	e.must(err)
	total := int64(0)
	for _, p := range points {
		total += p.N
	}
	e.same(total, int64(30), "devices in the series")
}
