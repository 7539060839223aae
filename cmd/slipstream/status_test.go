//go:build !device

package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/api"
	"github.com/slipstream-ota/slipstream/halt"
	"github.com/slipstream-ota/slipstream/rollout"
)

func exampleStatus() api.Status {
	began := time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)
	entry := func(version string, from, to int, plan *rollout.Plan) rollout.Entry {
		return rollout.Entry{Rollout: slipstream.Rollout{ID: "r" + version, Version: version, From: from, To: to}, Plan: plan}
	}
	plan := &rollout.Plan{Stages: []rollout.Stage{{Share: 1000, Soak: 600}, {Share: 10000}}, Began: []slipstream.Time{slipstream.At(began)}}
	bad := entry("1.2.0", 0, 500, nil)
	bad.Hold = slipstream.HoldHalted
	return api.Status{Apps: []api.AppStatus{{Name: "shop", Warnings: []string{"the root expires soon"}, Channels: []api.ChannelStatus{
		{Name: "beta"},
		{Name: "production", Packages: []api.PackageStatus{{Name: "main", Rollouts: []api.RolloutStatus{
			{Entry: bad, Devices: map[slipstream.Kind]int64{slipstream.KindStarted: 40, slipstream.KindRolledBack: 30},
				Guard: &api.Look{Verdict: halt.Verdict{Level: halt.Alarm, E: 5812.3, Threshold: 100, Reason: "30 of 40 devices failed."}}},
			{Entry: entry("1.1.0", 0, 1000, plan), Devices: map[slipstream.Kind]int64{slipstream.KindStarted: 90, slipstream.KindConfirmed: 80},
				Guard: &api.Look{Verdict: halt.Verdict{Level: halt.Clean, E: 0.8, Threshold: 100}}},
			{Entry: entry("1.0.0", 0, 10000, nil)},
		}}}},
	}}}}
}

func TestLiveStatusShowsSharesStagesAndHealth(t *testing.T) {
	t.Parallel()
	var page bytes.Buffer
	before := exampleStatus()
	before.Apps[0].Channels[1].Packages[0].Rollouts[1].Devices = map[slipstream.Kind]int64{slipstream.KindStarted: 70, slipstream.KindConfirmed: 80}
	writeStatusPage(&page, exampleStatus(), before, 2*time.Second, time.Date(2026, 11, 21, 10, 4, 0, 0, time.UTC))
	want := `slipstream status   10:04:00   every 2s, Ctrl-C ends

shop
  CHANNEL     PACKAGE  VERSION  SHARE                                 STAGE              TAKEN      CONFIRMED  WENT BACK   GUARD                        
  beta        -   -             nothing offered                                                                                                         
  production  main     1.2.0    ▒░░░░░░░░░░░░░░░░░░░  5%              halted             40         0          30 (75.0%)  alarm, evidence 5812 of 100  
  production  main     1.1.0    ██░░░░░░░░░░░░░░░░░░  10%             1 of 2, 6m0s to go 90 +10/s   80         0           clean                        
  production  main     1.0.0    ████████████████████  100%            -                  0          0          0           -                            
  ! the root expires soon
  production, 1.2.0: 30 of 40 devices failed.
`
	if got := page.String(); strings.Join(strings.Fields(got), " ") != strings.Join(strings.Fields(want), " ") {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestLiveStatusFitsTheTerminal(t *testing.T) {
	t.Parallel()
	var screen bytes.Buffer
	tool := &tool{stdout: &screen}
	tool.showPage("one\nzwei drei vier\n3\n4\n5\n", 8, 4)
	if want := screenTop + "one" + lineEnd + "\r\nzwei dr…" + lineEnd + "\r\n3" + lineEnd + screenEnd; screen.String() != want {
		t.Errorf("%q", screen.String())
	}
}

func TestStatusPrintsOnceWhereThereIsNoTerminal(t *testing.T) {
	s := newShopper(t)
	s.publish("1.0.0")
	for _, text := range []string{s.run("status"), s.run("status", "--once", "--app", "shop")} {
		if !strings.Contains(text, "GUARD") || !strings.Contains(text, "1.0.0") || strings.Contains(text, "\x1b") {
			t.Error(text)
		}
	}
	if all := decodeJSON[api.Status](s, s.run("status", "--json")); len(all.Apps) != 1 {
		t.Errorf("%+v", all)
	}
	var none bytes.Buffer
	if code := run(t.Context(), []string{"status", "--every", "1ms"}, s.tool.environ, strings.NewReader(""), &none, &none); code != exitUsage {
		t.Errorf("exit code %d: %s", code, none.String())
	}
}
