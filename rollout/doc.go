// Package rollout decides over time what a channel offers. It is the only writer of epochs.
//
// A [Policy] is what people and the guard have decided for one channel: rollouts in order of priority, withdrawals,
// floors, timing. Its methods are the verbs and are pure. [Build] turns a policy into the states that are in force, one
// per platform. [Service] runs every change as one transaction: it reads the policy, applies a verb, builds and signs
// every state of the channel under a new epoch, and writes the audit entry; so what was decided, what is served and
// what was recorded never differ.
//
// Four verbs are never mixed: pause stops new devices taking a release; withdraw makes devices leave it; roll back puts
// an earlier release in force and withdraws every newer one that the channel offered; halt is the guard's pause.
package rollout
