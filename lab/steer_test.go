package lab

import (
	"strings"
	"testing"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/api"
	"github.com/slipstream-ota/slipstream/rollout"
)

// What the proofs of steering look for is found when it is there.
func TestSteeringProofsNoticeWhatIsHalfThere(t *testing.T) {
	t.Parallel()
	yes, no := true, false
	whole := func() (*rollout.Entry, api.EvidenceList, []api.AuditEntry) {
		stages, err := rollout.ParsePlan(steerPlan)
		if err != nil {
			t.Fatal(err)
		}
		e := &rollout.Entry{Plan: &rollout.Plan{Stages: stages, At: 1, Began: make([]slipstream.Time, 2)}}
		e.ID, e.To, e.Hold = "r1", 5000, slipstream.HoldHalted
		looks := api.EvidenceList{Looks: []api.Look{{N: 1, Same: &yes}, {N: 2, Action: rollout.ActionAdvance, Same: &yes}, {N: 3, Action: rollout.ActionHalt, Same: &yes}}}
		return e, looks, []api.AuditEntry{{Action: "rollout.halt", Target: "r1"}, {Action: "rollout.advance", Target: "r1"}, {Action: "rollout.halt", Target: "another"}}
	}
	for what, spoil := range map[string]func(*rollout.Entry, *api.EvidenceList, *[]api.AuditEntry){
		"":                        func(*rollout.Entry, *api.EvidenceList, *[]api.AuditEntry) {},
		"halts are in force":      func(e *rollout.Entry, _ *api.EvidenceList, _ *[]api.AuditEntry) { e.Hold = "" },
		"1 halts are in force, 0": func(_ *rollout.Entry, l *api.EvidenceList, _ *[]api.AuditEntry) { l.Looks = l.Looks[:2] },
		"in the evidence, 0":      func(_ *rollout.Entry, _ *api.EvidenceList, a *[]api.AuditEntry) { *a = (*a)[1:] },
		"1 stages are in force, 2": func(_ *rollout.Entry, l *api.EvidenceList, _ *[]api.AuditEntry) {
			l.Looks[0].Action = rollout.ActionAdvance
		},
		"2 in the audit log":            func(_ *rollout.Entry, _ *api.EvidenceList, a *[]api.AuditEntry) { *a = append(*a, (*a)[1]) },
		"positions have the release":    func(e *rollout.Entry, _ *api.EvidenceList, _ *[]api.AuditEntry) { e.To = 1000 },
		"look 2 of the guard is number": func(_ *rollout.Entry, l *api.EvidenceList, _ *[]api.AuditEntry) { l.Looks[1].N = 3 },
		"comes out otherwise":           func(_ *rollout.Entry, l *api.EvidenceList, _ *[]api.AuditEntry) { l.Looks[2].Same = &no },
	} {
		g := &steering{tally: &tally{}}
		e, looks, audit := whole()
		spoil(e, &looks, &audit)
		if err := g.agree(t.Context(), "beta", e, looks, audit); err != nil {
			t.Fatal(err)
		}
		found := strings.Join(g.notes, "\n")
		if (what == "") != (g.wrong == 0) || !strings.Contains(found, what) {
			t.Errorf("%q: %d wrong: %s", what, g.wrong, found)
		}
	}
}
