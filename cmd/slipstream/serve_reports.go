//go:build !device

package main

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/store"
)

// retentionSetting is one age at which something that devices reported is deleted.
type retentionSetting struct{ name, otherwise, about string }

func retentionSettings() [6]retentionSetting {
	return [6]retentionSetting{
		{"report-retention", "90d", "how long single reports are kept, counts stay"},
		{"device-retention", "180d", "how long it is kept what a silent device runs"},
		{"trial-retention", "400d", "how long enrolments and outcomes are kept after the last of a rollout"},
		{"minute-retention", "2d", "how long series by the minute are kept"},
		{"hour-retention", "60d", "how long series by the hour are kept"},
		{"day-retention", "1100d", "how long series by the day are kept"},
	}
}

// reportFlags are the flags of serve about reports, as given.
type reportFlags struct {
	ages [6]string
	rate string
}

func (f *reportFlags) define(c *cobra.Command) {
	for i, s := range retentionSettings() {
		c.Flags().StringVar(&f.ages[i], s.name, "", s.about+" (default "+s.otherwise+")")
	}
	c.Flags().StringVar(&f.rate, "report-rate", "", "events per second that one network (/24 or /48) may report, 0 for no bound (default 500)")
}

// reportSettings are the ages in the order of retentionSettings, and the rate as package deliver takes it.
type reportSettings struct {
	ages [6]time.Duration
	rate int
}

func (f *reportFlags) settings(t *tool) (reportSettings, error) {
	var out reportSettings
	for i, s := range retentionSettings() {
		var err error
		if out.ages[i], err = parseAge(first(f.ages[i], t.env.Get(s.name, s.otherwise))); err != nil {
			return out, usageError{fmt.Errorf("%s: %w", strings.ReplaceAll(s.name, "-", " "), err)}
		}
	}
	n, err := strconv.Atoi(first(f.rate, t.env.Get("report-rate", "500")))
	if err != nil || n < 0 || n > 1_000_000 {
		return out, usageError{slipstream.Hint(fmt.Errorf("report rate: %q is no number of events per second", first(f.rate, t.env.Get("report-rate", ""))), "use a number from 0, which means no bound, to 1000000")}
	}
	if out.rate = n; n == 0 {
		out.rate = -1
	}
	return out, nil
}

// expire deletes what is older than it may be, until ctx ends. A failure is told and tried again.
func (r reportSettings) expire(ctx context.Context, reports store.Reports, log *slog.Logger) error {
	return every(ctx, expireEvery, func() {
		now := time.Now()
		before := func(i int) time.Time { return now.Add(-r.ages[i]) }
		if _, err := reports.Expire(ctx, before(0)); err != nil && ctx.Err() == nil {
			log.LogAttrs(ctx, slog.LevelError, "old reports could not be removed", slog.Any("error", err))
		}
		old := store.Retention{Devices: before(1), Trials: before(2), Minutes: before(3), Hours: before(4), Days: before(5)}
		if _, err := reports.Fleet().Expire(ctx, old); err != nil && ctx.Err() == nil {
			log.LogAttrs(ctx, slog.LevelError, "what old reports led to could not be removed", slog.Any("error", err))
		}
	})
}
