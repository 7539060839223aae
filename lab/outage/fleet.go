package outage

import (
	"context"
	"time"

	"github.com/slipstream-ota/slipstream/store"
)

// Trials fail while the database is away, and Fleet too.
func (r reports) Trials() store.Trials { return trials{r.Reports.Trials(), r.s} }
func (r reports) Fleet() store.Fleet   { return fleet{r.Reports.Fleet(), r.s} }

type trials struct {
	of store.Trials
	s  *Store
}

type fleet struct {
	of store.Fleet
	s  *Store
}

// while runs fn if the database is there.
func while[T any](ctx context.Context, s *Store, fn func() (T, error)) (T, error) {
	if err := s.gone(ctx); err != nil {
		var zero T
		return zero, err
	}
	return fn()
}

func (t trials) Outcomes(ctx context.Context, rollout string, after int64, limit int) ([]store.Outcome, error) {
	return while(ctx, t.s, func() ([]store.Outcome, error) { return t.of.Outcomes(ctx, rollout, after, limit) })
}

func (t trials) Silent(ctx context.Context, rollout string, after, upTo time.Time, asOf int64) ([]store.Outcome, error) {
	return while(ctx, t.s, func() ([]store.Outcome, error) { return t.of.Silent(ctx, rollout, after, upTo, asOf) })
}

func (t trials) Tally(ctx context.Context, rollout string) (map[string]store.Tally, error) {
	return while(ctx, t.s, func() (map[string]store.Tally, error) { return t.of.Tally(ctx, rollout) })
}

func (t trials) Delays(ctx context.Context, rollout, arm string, limit int) ([]time.Duration, error) {
	return while(ctx, t.s, func() ([]time.Duration, error) { return t.of.Delays(ctx, rollout, arm, limit) })
}

func (t trials) BaseRate(ctx context.Context, app, channel, pkg string, since time.Time) (outcomes, failed int64, err error) {
	if err := t.s.gone(ctx); err != nil {
		return 0, 0, err
	}
	return t.of.BaseRate(ctx, app, channel, pkg, since)
}

func (t trials) Metrics(ctx context.Context, rollout string) ([]store.MetricRow, error) {
	return while(ctx, t.s, func() ([]store.MetricRow, error) { return t.of.Metrics(ctx, rollout) })
}

func (f fleet) Devices(ctx context.Context, q store.DeviceQuery) ([]store.DeviceRow, error) {
	return while(ctx, f.s, func() ([]store.DeviceRow, error) { return f.of.Devices(ctx, q) })
}

func (f fleet) Device(ctx context.Context, app, device string) (store.Device, error) {
	return while(ctx, f.s, func() (store.Device, error) { return f.of.Device(ctx, app, device) })
}

func (f fleet) Spread(ctx context.Context, app string) ([]store.Spread, error) {
	return while(ctx, f.s, func() ([]store.Spread, error) { return f.of.Spread(ctx, app) })
}

func (f fleet) Running(ctx context.Context, app, pkg string) ([]store.Running, error) {
	return while(ctx, f.s, func() ([]store.Running, error) { return f.of.Running(ctx, app, pkg) })
}

func (f fleet) Series(ctx context.Context, q store.SeriesQuery) ([]store.Point, error) {
	return while(ctx, f.s, func() ([]store.Point, error) { return f.of.Series(ctx, q) })
}

func (f fleet) Reasons(ctx context.Context, q store.ReasonQuery) ([]store.ReasonCount, error) {
	return while(ctx, f.s, func() ([]store.ReasonCount, error) { return f.of.Reasons(ctx, q) })
}

func (f fleet) Expire(ctx context.Context, r store.Retention) (int64, error) {
	return while(ctx, f.s, func() (int64, error) { return f.of.Expire(ctx, r) })
}
