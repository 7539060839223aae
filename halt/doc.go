// Package halt is the guard's rule: it judges from the outcomes of devices whether a release does harm and must be
// halted. It is a pure function of a log: [Rule.Step] takes in what arrived, [Rule.Verdict] judges, [Rule.Replay] runs
// any past decision again from the stored log, [Rule.Enough] says whether a plan may advance.
//
// # What is compared
//
// Two arms join at the check, before any download: devices that get the release, and the control group, devices that
// asked at the same time, could have got it and were hashed out; those are judged on what they run. Three parts of
// evidence are gathered, and the rollout is halted when their mean E reaches 1/alpha.
//
//   - Relative: does it fail more often than allowed beside the control? At each failure the chance that a treated
//     device is the one is q0 = theta0 t/(theta0 t + c) at most, where t and c devices of the same cohort had not
//     failed. For eight ratios a, from 1.3 to 100, a weight is multiplied by p/q0 when it is a treated one and by
//     (1-p)/(1-q0) when it is not, where p = a theta0 t/(a theta0 t + c). Devices that do not fail change nothing.
//     The part is the weighted mean of the eight. This is the safe log-rank test of ter Schure, Pérez-Ortiz, Ly and
//     Grünwald (2020), in strata.
//   - Absolute, which works without a control: does it fail more often than a ceiling c? For each alternative share p of
//     {2c, 4c, 8c, 25 %, 50 %, 90 %}, only those above 1.5 c, a weight is multiplied by (1-p)/(1-c) for a device and by
//     p/c instead when it fails. The part is their mean.
//   - Silence: the relative part again, with "was not heard of for SilenceAfter" in the place of "failed".
//
// # Why it may be looked at all the time
//
// Each weight begins at 1 and is multiplied by factors that are worth at most 1 on average while the release is no
// worse than allowed, given all that was known before. So is any fixed mean of weights. By Ville's inequality the chance that
// such a process ever reaches 1/alpha is at most alpha, however often one looks, whatever the stages are and whenever
// one stops. Four things are done so that this holds of devices and not only on paper.
//
//   - Delay. Failures may be heard of long before confirmations, or after them. In the absolute part a device counts as
//     good from the moment it joins, until told otherwise: its factor never exceeds what it is worth in the end, so
//     early failures by themselves prove nothing. In the relative part the shares are those of who joined and never
//     those of who was heard of.
//   - Shares that change. A stage of a plan changes the share of treatment tenfold in a moment. Devices are compared
//     within a cohort only: about a hundred that joined one after the other in one stage, or a sixteenth of what joined
//     before when that is more, so that the number of cohorts stays small.
//   - An alternative that is no worse than the ceiling would grow on good releases; none is used.
//   - Settings. The first line fixes theta0 and the ceiling of a state.
//
// # Liars and crowds
//
// One network, a /24 or /48, weighs at most a quarter, in two ways.
//
// Against a release: the evidence must also reach (1/alpha)^(3/4) without the lines of any one network that speak
// against the release. One network then brings at most a quarter of what is needed, on the scale on which the evidence of
// independent devices adds up, and in particular never halts alone. This is one more condition on a halt, so it can only make
// wrong halts rarer; and for a good release and a network of liars it bounds their success by alpha^(3/4), 3.2 %,
// because what is left without them is again worth at most 1 on average.
//
// For a release: a test farm of ten thousand devices behind one address must not outvote people. When a cohort is
// opened, a network that has more than a quarter of the devices that counted so far is thinned: only a part of its
// devices, in both arms alike, counts in the next cohort. Which part is settled by what joined earlier, and which
// devices by their place in the log, before anything is known of them. Leaving devices out by such a predictable rule
// multiplies by 1 in their place and changes no argument above. A network whose control devices claim more than a
// quarter of all harm in the control, and so would make any release look good, is left out in the same way; so is one
// that fills one arm more than the others do, because devices that never fail, put into the control, would make any
// release look bad. A fleet of two or three networks may have half or a third from each. The first eight devices of a
// network always count.
//
// A fleet behind one address is therefore never halted; the verdict says so in words. Who owns such a fleet sets
// NetworkShare and MinNetworks to 1.
package halt
