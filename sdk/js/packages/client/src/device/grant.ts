// Admission to rollouts with a cap: the one question that a server's database answers.
import type { AbortLike } from "../host.js";
import { utf8 } from "../verify/bytes.js";
import { integer, record, truth } from "../verify/shape.js";
import { decodeAnswer, type Network } from "./transport.js";

/** Rollouts with a cap that one check asks for each package, of those that stand one below the other. */
export const maxGrants = 4;
/** That a request for a decision may name. */
export const maxPlaces = 64;
const maxGrantAnswer = 4 << 10;

/** The rollouts that admitted this device, and the epoch in which others had no place for it. Both are kept. */
export interface Places {
  granted: Record<string, boolean>;
  ungranted: Record<string, number>;
}

/**
 * The rollouts that admitted the device, and those that had no place for it in this epoch: only a later one can have made
 * room. Sorted.
 */
export function places(p: Places, epoch: number): { granted: string[]; full: string[] } {
  return {
    granted: Object.keys(p.granted).sort(),
    full: Object.keys(p.ungranted).filter((r) => p.ungranted[r] >= epoch).sort(),
  };
}

/**
 * Asks once for admission to a rollout. "granted" is kept for good, "full" until the state changes; undefined when there
 * was no answer that counts, and the next check asks again: until then the device goes without. epoch is the device's own,
 * under which it keeps "full": nobody signed the answer's, and a false one would keep it from asking for ever.
 */
export async function askGrant(net: Network, q: { app: string; channel: string; rollout: string; device: string }, epoch: number,
  options: { log?(text: string, error?: unknown): void; signal?: AbortLike } = {}): Promise<"granted" | "full" | undefined> {
  let answer: { granted: boolean; epoch?: number } | undefined;
  try {
    await net.document("/v1/grants", maxGrantAnswer, (raw) => {
      answer = decodeAnswer(raw, "grant", reply);
    }, { body: utf8(JSON.stringify({ app: q.app, channel: q.channel, rollout: q.rollout, device: q.device })), once: true, signal: options.signal });
  } catch (e) {
    if (options.log) options.log(`no answer about a grant of ${q.rollout}`, e);
    return undefined;
  }
  if (answer!.granted) return "granted";
  // Otherwise from a node that does not know yet what this device knows.
  return answer!.epoch && answer!.epoch < epoch ? undefined : "full";
}

const reply = record({ granted: [truth], epoch: [integer, undefined] });
