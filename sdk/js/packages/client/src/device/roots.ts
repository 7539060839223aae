// Trust: the chain of roots from the shipped one, and the accepted states.
import { unstage } from "../trial/machine.js";
import { stagedFor } from "../trial/state.js";
import { sameBytes } from "../verify/bytes.js";
import { digestOf } from "../verify/envelope.js";
import type { Trust } from "../verify/trust.js";
import { dict, withEntry } from "../words/dict.js";
import { maxRootBytes, maxRootSteps, maxStateBytes, parseTime, type State } from "../words/documents.js";
import { Refusal, reasonOf } from "../words/reasons.js";
import type { Device } from "./device.js";
import { during, hopeless, isNotServed } from "./failure.js";
import type { Seen } from "./persist.js";
import type { Stop } from "./stop.js";
import { asksForRoots } from "./transport.js";

const rootCheckEvery = 24 * 3600;
/** Bounds the walk at the start: far more than keys are changed while one shell is in use. */
const maxStoredRoots = 1024;
const newestRoot = "trust/root.json";
const rootFile = (version: number) => `trust/roots/${version}.json`;
const stateEnvelope = (channel: string) => `trust/state-${channel}.json`;

/**
 * Walks from the shipped root over the stored ones, oldest first. What lies in the directory is not trusted for being
 * there: a root that no chain of signatures from the shipped one leads to is ignored, and what follows is asked for again.
 */
export async function storedChain(d: Device): Promise<Trust[]> {
  const chain: Trust[] = [];
  for (let trust = d.root; chain.length < maxStoredRoots;) {
    const version = trust.root.version + 1;
    try {
      const raw = await d.trees.readSmall(rootFile(version), maxRootBytes);
      if (!raw) break;
      trust = await trust.next(raw);
    } catch (e) {
      d.log(`stored root ${version} is ignored`, e);
      break;
    }
    chain.push(trust);
  }
  return chain;
}

/** Puts the newest root where people and tools look for it. In mu. */
export async function keepRoot(d: Device): Promise<void> {
  const raw = await d.trees.readSmall(newestRoot, maxRootBytes);
  if (!raw || !sameBytes(raw, d.trust.envelope)) await d.o.host.files.replace(newestRoot, d.trust.envelope);
}

/**
 * Takes out of the line what the newest root's release role did not sign: its key may have been stolen. When the publisher
 * signed the release anew, the next check brings it back. In mu.
 */
export async function unstageRevoked(d: Device): Promise<void> {
  let s = d.body.trial;
  for (const pkg of d.o.packages) {
    const r = stagedFor(s, pkg), raw = r && r.digest && await d.trees.manifestEnvelope(r.digest);
    if (!raw) continue; // nothing waits, or a start finds out
    try {
      await d.trust.manifest(raw);
    } catch (e) {
      d.log(`the staged release ${r!.version} of ${pkg} is not of the newest keys`, e);
      s = unstage(s, d.env, pkg);
    }
  }
  if (s !== d.body.trial) await d.step({ state: s });
}

/** Asks for the following roots until there is none, and keeps each before it is used. */
export async function walkRoots(d: Device, signal?: Stop): Promise<void> {
  for (let n = 0; n < maxRootSteps; n++) {
    const { trust } = d, version = trust.root.version + 1;
    let next: Trust | undefined;
    try {
      await d.net.document(`/v1/apps/${d.o.app}/roots/${version}`, maxRootBytes, async (raw) => { next = await trust.next(raw); }, { signal });
    } catch (e) {
      if (isNotServed(e)) break;
      throw during(`root ${version}`, e);
    }
    await d.mu.run(() => adoptRoot(d, next!));
  }
  await d.mu.run(async () => {
    await d.own();
    await d.commit({ ...d.body, rootChecked: Math.floor(d.o.host.clock.now() / 1000) });
  });
}

/**
 * Keeps a root. When the state role changed, states, epochs and signed times are forgotten: this heals a stolen state key
 * that signed the highest epoch. In mu.
 */
async function adoptRoot(d: Device, next: Trust): Promise<void> {
  await d.own();
  const { files } = d.o.host;
  await files.replace(rootFile(next.root.version), next.envelope);
  await files.replace(newestRoot, next.envelope);
  const same = next.stateRole() === d.trust.stateRole();
  d.trust = next;
  d.chain = d.chain.concat(next);
  d.log(`root ${next.root.version}`);
  await unstageRevoked(d);
  if (same) return;
  await forgetStates(d);
  await d.commit(d.body);
}

/** Drops everything that was learned under another state role. In mu. */
export async function forgetStates(d: Device): Promise<void> {
  for (const name of await d.o.host.files.list("trust")) if (name.startsWith("state-")) await d.o.host.files.remove(`trust/${name}`);
  d.body = { ...d.body, channels: undefined, left: undefined, stateRole: d.roleKey(d.trust) };
  d.states = dict();
}

/** The state that was accepted last for the channel, opened again from its envelope, and what is known beside it. */
export async function lastState(d: Device): Promise<{ last?: State; known: Seen }> {
  const { channel } = d, known = { ...d.seen() }, had = d.states[channel];
  if (had) return { last: had.state, known };
  let last: State | undefined, raw: Uint8Array | undefined;
  try {
    raw = await d.trees.readSmall(stateEnvelope(channel), maxStateBytes);
    last = raw && await d.trust.state(raw);
    // Kept just before a crash: the bytes are newer than what is known of them.
    if (raw && known.envelope !== digestOf(d.o.host.crypto, raw)) known.etag = undefined;
  } catch (e) {
    d.log("the stored state is not usable", e);
  }
  if (!raw || !last || last.app !== d.o.app || last.channel !== channel || last.platform !== d.o.platform) return { known: { ...known, etag: undefined } };
  known.epoch = Math.max(known.epoch || 0, last.epoch);
  known.signed = Math.max(known.signed || 0, parseTime(last.issued)! / 1000);
  d.states[channel] = { state: last, envelope: raw };
  return { last, known };
}

/**
 * Gets the channel's state and accepts it, in the order of the trust rules. What comes back is durable. A server whose
 * answer is refused is put behind the others, which are asked in turn: one bad mirror hides no good one.
 */
export async function refreshState(d: Device, now: number, signal?: Stop): Promise<State> {
  for (let tried = 1; ; tried++) {
    try {
      return await refreshOnce(d, now, signal);
    } catch (e) {
      const again = e instanceof Refusal && e.reason !== "network" && !hopeless(e) && !isNotServed(e) && !(signal && signal.aborted);
      if (tried >= d.o.servers.length || !again) throw e;
      d.log("a server's answer is refused: the next one is asked", e);
    }
  }
}

/** Walks to newer roots when that is due; that they cannot be reached stops nothing. */
export async function walkWhenDue(d: Device, signal?: Stop): Promise<void> {
  const since = Math.floor(d.o.host.clock.now() / 1000) - (d.body.rootChecked || 0);
  if (since < 0 || since >= rootCheckEvery) await walkRoots(d, signal).catch((e) => d.log("newer roots not asked for", e));
}

async function refreshOnce(d: Device, now: number, signal?: Stop): Promise<State> {
  await walkWhenDue(d, signal);
  const { raw, etag } = await getState(d, signal), from = d.net.answered();
  let s: State | undefined, err: unknown;
  const accept = async () => {
    s = err = undefined;
    try {
      s = await d.mu.run(() => acceptState(d, raw, now));
    } catch (e) {
      err = e;
    }
  };
  await accept();
  if (s ? s.rootVersion > d.trust.root.version : asksForRoots(err)) {
    await walkRoots(d, signal).catch((e) => d.log("newer roots not reached", e));
    await accept();
  }
  if (!s) {
    d.net.demote(from);
    throw err;
  }
  const accepted = s;
  await d.mu.run(() => keepState(d, raw, etag, accepted));
  return accepted;
}

async function acceptState(d: Device, raw: Uint8Array, now: number): Promise<State> {
  const { known } = await lastState(d), held = d.states[d.channel], last = held && held.envelope;
  const s = await d.trust.acceptState(raw, { app: d.o.app, channel: d.channel, platform: d.o.platform, last, now, highestSigned: (known.signed || 0) * 1000 });
  // The envelope that the epoch was learned from may be gone.
  if (s.epoch < (known.epoch || 0)) throw new Refusal("stale_state", "state", `epoch ${s.epoch} after ${known.epoch}`);
  return s;
}

/** The newest envelope: the server's, or the stored one when the server says that nothing changed. */
async function getState(d: Device, signal?: Stop): Promise<{ raw: Uint8Array; etag?: string }> {
  const { channel } = d, { known } = await d.mu.run(() => lastState(d));
  let raw: Uint8Array | undefined, etag: string | undefined;
  try {
    await d.net.ask({
      path: `/v1/apps/${d.o.app}/channels/${channel}/state/${d.o.platform}`, limit: maxStateBytes, accept: [200, 304], signal,
      headers: () => known.etag ? { "if-none-match": known.etag } : ({} as Record<string, string>),
    }, (r) => {
      raw = r.status === 304 ? undefined : r.body;
      etag = r.status === 304 ? known.etag : r.headers.etag;
    });
  } catch (e) {
    throw during(`state of ${d.o.app}/${channel}`, e);
  }
  return { raw: raw || await d.o.host.files.read(stateEnvelope(channel)), etag };
}

/**
 * Makes an accepted envelope durable before anybody acts on it. Only the channel for which it was asked for can be in force
 * here: changing it waits for the turn. In mu.
 */
async function keepState(d: Device, raw: Uint8Array, etag: string | undefined, s: State): Promise<void> {
  await d.own();
  const sum = digestOf(d.o.host.crypto, raw), known = d.seen();
  d.states[d.channel] = { state: s, envelope: raw };
  if (known.envelope === sum && known.etag === etag) return;
  if (known.envelope !== sum) await d.o.host.files.replace(stateEnvelope(d.channel), raw);
  await remember(d, { epoch: Math.max(known.epoch || 0, s.epoch), signed: Math.max(known.signed || 0, parseTime(s.issued)! / 1000), etag, envelope: sum });
}

/** Persists what is known of the channel. In mu. */
export function remember(d: Device, known: Seen): Promise<void> {
  return d.commit({ ...d.body, channels: withEntry(d.body.channels, d.channel, known) });
}

/** Whether a refusal is that every state of this device's clock has expired. */
export const isExpired = (err: unknown) => reasonOf(err, "") === "expired_state";
