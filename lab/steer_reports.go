package lab

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/api"
	"github.com/slipstream-ota/slipstream/internal/simfleet"
)

// reportsOfADyingServer has a fleet report to a server that is killed again and again.
func reportsOfADyingServer() Proof {
	return Proof{
		Name: "reports to a dying server", Claim: "what devices tell while the server is killed and started again is counted to the last device, and nothing is counted twice",
		Quick: time.Minute, Full: 15 * time.Minute, Needs: []Need{NeedProcesses()},
		Run: reportToTheDying,
	}
}

func reportToTheDying(ctx context.Context, env Env) (_ Result, err error) {
	devices, kills := 3000, 60
	if env.Quick {
		devices, kills = 250, 5
	}
	a, err := serve(ctx, env, "dying", "--trusted-proxies", "127.0.0.1")
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, a.service.kill()) }()
	if _, err := a.server.CreateChannel(ctx, serviceApp, api.NewChannel{Name: beta}); err != nil {
		return Result{}, err
	}
	e, err := a.release(ctx, slipstream.DefaultChannel, goodFiles)
	if err != nil {
		return Result{}, err
	}
	half := slipstream.FullShare / 2
	started, err := a.server.StartRollout(ctx, serviceApp, beta, api.StartRollout{Release: string(e.digest), To: &half})
	if err != nil {
		return Result{}, err
	}
	if err := a.service.awaitEpoch(ctx, a.trust, beta, started.Epoch); err != nil {
		return Result{}, err
	}
	fleet, err := simfleet.New(simfleet.Config{App: serviceApp, Channel: beta, Servers: []string{a.service.url}, Root: a.root, Devices: devices, Seed: env.Seed,
		Arrive: time.Duration(kills) * 800 * time.Millisecond, Poll: time.Second, Restart: 100 * time.Millisecond, Confirm: 100 * time.Millisecond,
		Rates: map[string]simfleet.Rates{"": {Crash: 0.1, Hang: 0.05, Silent: 0.03}}}, nil)
	if err != nil {
		return Result{}, err
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		fleet.Run(running)
	}()
	t := &tally{}
	random := rand.New(rand.NewPCG(env.Seed, 11))
	err = killUnder(ctx, a.service, kills, random)
	for err == nil && fleet.Now().Settled < devices {
		err = sleepFor(ctx, 10*time.Millisecond)
	}
	stop()
	<-done
	if err != nil {
		return t.result("stopped"), err
	}
	report := fleet.Report()
	if err := judgeTold(ctx, t, a, e, started.Rollout.ID, report); err != nil {
		return Result{}, err
	}
	var told int64
	for _, one := range report.Told {
		told += one.Devices
	}
	return t.result("counts of %d devices that told %d things over %d kills", devices, told, kills), a.service.terminate(drainLimit)
}

// killUnder kills and starts a server again and again, at random times.
func killUnder(ctx context.Context, s *service, kills int, random *rand.Rand) error {
	for range kills {
		if err := sleepFor(ctx, time.Duration(200+random.IntN(600))*time.Millisecond); err != nil {
			return err
		}
		if err := s.kill(); err != nil {
			return err
		}
		if _, err := s.start(ctx); err != nil {
			return err
		}
	}
	return nil
}

// judgeTold holds what devices told against what the server counted.
func judgeTold(ctx context.Context, t *tally, a *author, e *edition, rollout string, report simfleet.Report) error {
	status, err := a.server.Status(ctx, serviceApp)
	if err != nil {
		return err
	}
	counted := map[slipstream.Kind]int64{}
	for _, c := range status.Apps[0].Channels {
		if c.Name == beta {
			for _, r := range c.Packages[0].Rollouts {
				counted = r.Devices
			}
		}
	}
	for _, one := range report.Told {
		if one.Release != e.digest {
			continue
		}
		t.try(1)
		if got := counted[one.Kind]; got != one.Devices {
			t.wrongf("%d devices told %s, %d are counted", one.Devices, one.Kind, got)
		}
	}
	compared, err := a.server.Compare(ctx, serviceApp, beta, api.CompareQuery{Rollouts: []string{rollout}})
	if err != nil {
		return err
	}
	for _, one := range report.Tallies {
		for _, arm := range compared.Arms {
			if arm.Arm != one.Arm {
				continue
			}
			t.try(1)
			if arm.Enrolled != one.Enrolled || arm.Confirmed != one.Confirmed || arm.Failed != one.Failed {
				t.wrongf("of the %s the log has %d enrolled, %d confirmed, %d failed; the devices told %d, %d, %d", one.Arm, arm.Enrolled, arm.Confirmed, arm.Failed,
					one.Enrolled, one.Confirmed, one.Failed)
			}
		}
	}
	t.try(1)
	if report.Broken > 0 || len(report.Tallies) != 2 {
		t.wrongf("the fleet itself broke: %d devices, %+v", report.Broken, report.Errors)
	}
	return nil
}
