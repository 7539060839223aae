// The reports of a device: written down in the same write as what they tell, sent in batches, dropped when a server took
// them, knew them already or refused them for good.
import type { AbortLike } from "../host.js";
import { hex, utf8, utf8Length } from "../verify/bytes.js";
import { integer, list, record, text } from "../verify/shape.js";
import { formatTime, type Event } from "../words/documents.js";
import { Refusal, type Reason } from "../words/reasons.js";
import { during, messageOf } from "./failure.js";
import { decodeAnswer, refusedWhole, type Network } from "./transport.js";

/** Events kept while no server is reached, the oldest are dropped; and bytes of their texts. */
const maxOutbox = 500;
const maxOutboxBytes = 1 << 20;
const reportBatch = 100;
const maxReportReply = 256 << 10;
/** Of an event's detail, in bytes of UTF-8. */
export const maxEventDetail = 2 << 10;
/** ms that a device may keep quiet about what it runs: without a word the server would forget it. */
export const aliveEvery = 24 * 3600_000;

/** What a step of the client says happened; the rest is filled in by complete. */
export type News = Pick<Event, "kind"> & Partial<Event>;

/** What every event carries. */
export type Teller = Pick<Event, "app" | "channel" | "device" | "platform" | "runtime" | "epoch">;

/** An event with an id nobody has had, the device's time, and what every event carries. */
export function complete(news: News, teller: Teller, random: (n: number) => Uint8Array, now: number): Event {
  const e: Event = { ...news, ...teller, id: hex(random(16)), at: formatTime(now) };
  if (e.detail) e.detail = cutDetail(e.detail);
  for (const name of Object.keys(e) as (keyof Event)[]) {
    const v = e[name];
    if (name !== "value" && (v === undefined || v === "" || v === 0)) delete e[name];
  }
  return e;
}

/** Makes a text fit for an event, never cut inside a character; lone surrogates become "?". */
export function cutDetail(s: string): string {
  s = s.replace(/[\ud800-\udbff][\udc00-\udfff]|[\ud800-\udfff]/g, (c) => c.length === 2 ? c : "?");
  if (utf8Length(s) <= maxEventDetail) return s;
  let n = 0, bytes = 0;
  for (;;) {
    const c = String.fromCodePoint(s.codePointAt(n)!);
    bytes += utf8Length(c);
    if (bytes > maxEventDetail) return s.slice(0, n);
    n += c.length;
  }
}

/** Drops the oldest events of an outbox that became too long. */
export function bounded(outbox: Event[]): Event[] {
  if (outbox.length > maxOutbox) outbox = outbox.slice(outbox.length - maxOutbox);
  let room = maxOutboxBytes;
  for (let i = outbox.length - 1; i >= 0; i--) {
    const e = outbox[i], value = e.value === undefined ? "" : JSON.stringify(e.value);
    room -= utf8Length((e.detail || "") + value + (e.metric || "") + (e.rollout || "") + (e.reason || ""));
    if (room < 0) return outbox.slice(i + 1);
  }
  return outbox;
}

/** A measurement about a package, or the app when pkg is ""; running is the digest of what runs of it. */
export function metricEvent(name: string, value: number | boolean, pkg: string, running: string): News {
  if (typeof value !== "boolean" && !(typeof value === "number" && isFinite(value))) throw new Error(`metric ${name}: a number or a boolean is needed`);
  if (utf8Length(name) + JSON.stringify(value).length > maxEventDetail) throw new Error(`metric ${name.slice(0, 40)}: more than ${maxEventDetail} bytes`);
  return { kind: "metric", package: pkg, metric: name, value, release: running, running };
}

/**
 * Under which key a failure is noted as told, and what is noted: the same failure is reported once, until the same thing
 * works again or fails for another reason or with another release.
 */
export function failureNote(e: Pick<Event, "stage" | "package" | "release">, reason: Reason): { key: string; note: string } {
  return { key: failureKey(e.stage || "", e.package || ""), note: e.release ? `${reason} ${e.release.slice(0, 12)}` : reason };
}

export const failureKey = (stage: string, pkg: string) => `${stage}/${pkg}`;

/** Notes in told, by package in Unix seconds, when it was told what runs. Gives told itself when nothing of events does. */
export function toldBy(told: Record<string, number>, events: Event[], now: number): Record<string, number> {
  const fresh = events.filter((e) => e.package && ["enrolled", "confirmed", "rolled_back", "alive"].indexOf(e.kind) >= 0);
  if (fresh.length === 0) return told;
  const out: Record<string, number> = Object.assign(Object.create(null), told);
  for (const e of fresh) out[e.package!] = Math.floor(now / 1000);
  return out;
}

/** The packages of which nothing was told for a day. Times in told and firstSeen in Unix seconds, now in ms. */
export function quiet(packages: string[], told: Record<string, number>, firstSeen: number, now: number): string[] {
  return packages.filter((pkg) => {
    const age = now - Math.max(told[pkg] || 0, firstSeen) * 1000;
    return age >= aliveEvery || age < -aliveEvery; // a clock far back was wrong then
  });
}

/** Where the reports that wait are kept. */
export interface Outbox {
  /** Oldest first. */
  pending(): Event[];
  /** Forgets the events with these ids, durably. */
  sent(ids: Set<string>): Promise<void>;
}

/**
 * Sends the outbox in order, in batches. What a server accepted, knew already or refused for good is dropped; the rest stays
 * for the next time. Rejects when no server took a batch.
 */
export async function sendReports(net: Network, outbox: Outbox, options: { log?(text: string, error?: unknown): void; signal?: AbortLike } = {}): Promise<void> {
  const log = options.log || (() => undefined);
  for (let size = reportBatch;;) {
    const batch = outbox.pending().slice(0, size);
    if (batch.length === 0) return;
    let results: { index: number; status: string; error?: string }[] = [];
    const done = new Set<string>();
    try {
      await net.document("/v1/reports", maxReportReply, (raw) => {
        results = decodeAnswer<{ results: typeof results }>(raw, "answer to reports", reply).results;
      }, { body: utf8(JSON.stringify(batch)), once: true, signal: options.signal });
    } catch (e) {
      if (!refusedWhole(e)) throw during("send reports", e);
      if (batch.length > 1) { // one of them must not keep the others back
        size = Math.floor(batch.length / 2);
        continue;
      }
      log(`a report that no server takes is dropped: ${batch[0].kind}`, e);
      done.add(batch[0].id);
    }
    for (const r of results) {
      if (r.index >= 0 && r.index < batch.length) done.add(batch[r.index].id);
      if (r.status === "refused") log(`a report was refused: ${messageOf(r.error)}`);
    }
    size = reportBatch;
    if (done.size === 0) throw new Refusal("server_error", "reports", `the server took none of ${batch.length}`);
    await outbox.sent(done);
  }
}

const reply = record({ results: [list(record({ index: [integer], status: [text], error: [text, undefined] }))] });
