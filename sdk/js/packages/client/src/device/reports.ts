// What the client tells of itself beside what the state machine tells: failures, measurements, that it is alive.
import { only, withEntry } from "../words/dict.js";
import type { Event } from "../words/documents.js";
import type { Failure } from "./api.js";
import type { Device } from "./device.js";
import { classify, messageOf, several } from "./failure.js";
import { failureKey, failureNote, metricEvent, quiet, sendReports } from "./outbox.js";
import type { Stop } from "./stop.js";

type About = Pick<Event, "stage" | "package" | "release" | "rollout" | "arm"> & { stage: Failure["stage"] };

/** Reports a failure once, until the same thing works again or fails for another reason, and gives the error to throw. */
export async function failed(d: Device, about: About, err: unknown): Promise<unknown> {
  const reason = classify(err);
  if (d.ending(err)) return err;
  d.emit("failed", { stage: about.stage, package: about.package, reason, error: err });
  if (reason === "locked") return err;
  const { key, note } = failureNote(about, reason);
  return d.mu.run(async () => {
    if (!d.lock || d.body.failed && d.body.failed[key] === note) return err;
    try {
      await d.commit({ ...d.body, failed: withEntry(d.body.failed, key, note) },
        [{ ...about, kind: "failed", reason, detail: messageOf(err), running: about.package ? d.running(about.package).digest : undefined }]);
    } catch (e) {
      return several(about.stage, [err, e]);
    }
    return err;
  });
}

/** Forgets a failure, so that the next one is reported again. */
export function succeeded(d: Device, stage: Failure["stage"], pkg: string): Promise<void> {
  return d.mu.run(async () => {
    const key = failureKey(stage, pkg);
    if (!d.body.failed || !(key in d.body.failed)) return;
    await d.commit({ ...d.body, failed: only(d.body.failed, (k) => k !== key) }).catch((e) => d.log("a healed failure is not noted", e));
  });
}

/** Reports what runs of the packages that nothing was told of for a day. In mu. */
export async function tellAlive(d: Device, now: number): Promise<void> {
  const silent = quiet(d.o.packages, d.body.told || {}, Math.floor(d.identity.firstSeen / 1000), now);
  if (silent.length > 0 && d.lock) await d.commit(d.body, silent.map((pkg) => ({ kind: "alive" as const, package: pkg, running: d.running(pkg).digest })));
}

/** Puts a measurement into the outbox. */
export function metric(d: Device, name: string, value: number | boolean, pkg = d.o.packages.length === 1 ? d.o.packages[0] : ""): Promise<void> {
  return d.mu.run(async () => {
    await d.own();
    await d.commit(d.body, [metricEvent(name, value, pkg, pkg ? d.running(pkg).digest || "" : "")]);
  });
}

/** Sends the reports that wait. */
export function report(d: Device, signal?: Stop): Promise<void> {
  return d.sending.run(() => sendReports(d.net, {
    pending: () => d.body.outbox || [],
    sent: (ids) => d.mu.run(async () => {
      await d.own();
      await d.commit({ ...d.body, outbox: (d.body.outbox || []).filter((e) => !ids.has(e.id)) });
    }),
  }, { signal, log: (text, e) => d.log(text, e) }), signal);
}

/** Sends reports; what cannot be sent stays. */
export async function flush(d: Device, signal?: Stop): Promise<void> {
  await report(d, signal).catch((e) => d.ending(e) || d.log("reports wait", e));
}
