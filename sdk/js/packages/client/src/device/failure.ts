// What went wrong, told apart by what helps against it.
import { StorageFull } from "../host.js";
import { Refusal, reasonOf, type Reason } from "../words/reasons.js";

/** All servers that answered said that there is no such thing. */
export class NotServed extends Error {
  override readonly name = "NotServed";
}

/** Somebody else holds the directory, or the client was closed. */
export class Ended extends Error {
  override readonly name = "Ended";
}

/** Every error inside err, itself first. */
export function causes(err: unknown): unknown[] {
  if (Array.isArray(err)) return err.reduce<unknown[]>((all, e) => all.concat(causes(e)), []);
  const below = err instanceof Refusal ? err.source : undefined;
  return below === undefined ? [err] : [err].concat(causes(below));
}

export function isNotServed(err: unknown): boolean {
  return causes(err).some((e) => e instanceof NotServed);
}

/** Whether err only says that the client was told to stop: nobody needs to hear of it. */
export function isEnded(err: unknown): boolean {
  return causes(err).some((e) => e instanceof Ended);
}

const codes: Record<string, Reason> = { ENOSPC: "disk_full", EDQUOT: "disk_full", EROFS: "read_only", EACCES: "read_only", EPERM: "read_only" };

/** The reason of a failure: a full or read-only disk whatever is around it, else what a refusal says, else internal. */
export function classify(err: unknown): Reason {
  const all = causes(err);
  for (const e of all) {
    if (e instanceof StorageFull) return "disk_full";
    const code = e instanceof Error ? codes[String((e as { code?: unknown }).code)] : undefined;
    if (code) return code;
  }
  for (const e of all) if (e instanceof Refusal) return e.reason;
  return "internal";
}

/** err with what was being done in front of it; its reason stays. */
export function during(what: string, err: unknown): Refusal {
  return new Refusal(classify(err), what, messageOf(err), err);
}

/** One error for several: the reason is the first one's, the text tells all. */
export function several(what: string, errs: unknown[]): unknown {
  const all = errs.filter((e) => e !== undefined);
  if (all.length < 2) return all[0];
  return new Refusal(classify(all), what, all.map(messageOf).join("; "), all);
}

/** Failures that another way of fetching would meet as well. */
export function hopeless(err: unknown): boolean {
  const reason = classify(err);
  return reason === "disk_full" || reason === "read_only" || reason === "locked";
}

export function messageOf(err: unknown): string {
  return err instanceof Error ? err.message : String(err);
}

/** Whether a refusal anywhere in err has this reason. */
export function hasReason(err: unknown, reason: Reason): boolean {
  return causes(err).some((e) => reasonOf(e, "") === reason);
}
