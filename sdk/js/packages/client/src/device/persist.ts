// What changes in place: one file of state with a checksum, of which the generation before is kept. The form is the one of
// the Go client, byte for byte, so that either program reads what the other left.
import { NotFound, type Crypto, type Files } from "../host.js";
import type { TrialState } from "../trial/state.js";
import { fromUtf8, utf8, utf8Length } from "../verify/bytes.js";
import { digestOf } from "../verify/envelope.js";
import { bare, type Dict } from "../words/dict.js";
import type { Digest, Event } from "../words/documents.js";
import { Refusal } from "../words/reasons.js";
import { causes } from "./failure.js";

/**
 * What a device remembers of a channel beside the state itself. signed is the highest issued time, in Unix seconds, of any
 * document that it accepted there; etag belongs to the envelope with that SHA-256.
 */
export interface Seen {
  epoch?: number;
  signed?: number;
  etag?: string;
  envelope?: string;
}

/** Everything that changes in place. Values are treated as immutable. */
export interface Body {
  trial: TrialState;
  /** Reports that no server has taken yet, oldest first. */
  outbox?: Event[];
  channels?: Dict<Seen>;
  /** Fingerprint of the role under which channels was learned. */
  stateRole?: string;
  /** Unix seconds. */
  rootChecked?: number;
  /** Rollout → admitted. */
  grants?: Dict<boolean>;
  /** Rollout → epoch in which it had no place for this device. */
  ungranted?: Dict<number>;
  /** What each package ran last. */
  ran?: Dict<Digest>;
  /** Failures told already, by stage, package and release. */
  failed?: Dict<string>;
  /** Unix seconds when it was last told what a package runs. */
  told?: Dict<number>;
  /** By channel and release, the epoch in which it was left at once. */
  left?: Dict<number>;
}

export const stateFile = "state.json";
export const previousState = "state.previous.json";
const maxStateFile = 16 << 20;

/** Go writes these characters inside texts as escapes. */
const escaped = (json: string) => json.replace(/[<>&\u2028\u2029]/g, (c) => "\\u" + ("000" + c.charCodeAt(0).toString(16)).slice(-4));

export function encodeGeneration(crypto: Crypto, number: number, body: Body): Uint8Array {
  const raw = escaped(JSON.stringify(body));
  const out = `{"format":1,"generation":${number},"sha256":"${digestOf(crypto, utf8(raw))}","body":${raw}}`;
  const size = utf8Length(out);
  // What could not be read again must never take the place of what can.
  if (size > maxStateFile) throw new Refusal("too_large", stateFile, `${size} bytes, at most ${maxStateFile} can be read`);
  return utf8(out);
}

/**
 * Reads what encodeGeneration writes. What the checksum does not cover exactly is refused as storage_corrupted. Fields of
 * the body that a later version added are passed over: an app may be set back by its store.
 */
export function decodeGeneration(crypto: Crypto, data: Uint8Array): { number: number; body: Body } {
  const refuse = (why: string) => new Refusal("storage_corrupted", stateFile, why);
  let head = "";
  while (head.length < Math.min(data.length, 160) && !head.endsWith('"body":')) head += String.fromCharCode(data[head.length]);
  const shell = /^\{"format":(\d+),"generation":(\d+),"sha256":"([0-9a-f]{64})","body":$/.exec(head);
  if (!shell || data[data.length - 1] !== 125) throw refuse("it is not written as this program writes it");
  if (shell[1] !== "1") throw refuse(`format ${shell[1]} is not 1`);
  const raw = data.subarray(head.length, data.length - 1);
  if (digestOf(crypto, raw) !== shell[3]) throw refuse("the checksum is wrong");
  let body: Body;
  try {
    body = bare(JSON.parse(fromUtf8(raw))) as Body;
  } catch (e) {
    throw refuse(`parse body: ${(e as Error).message}`);
  }
  if (!body || !body.trial || typeof body.trial.packages !== "object" || !body.trial.packages) throw refuse("there are no roles in it");
  return { number: Number(shell[2]), body };
}

/** What was found on disk; damage says what was unusable. */
export interface Loaded {
  number: number;
  body?: Body;
  /** Bytes of the newest good generation. */
  raw?: Uint8Array;
  /** Of the generation before, when it is readable. */
  previous?: TrialState;
  /** state.json itself was readable. */
  newest: boolean;
  damage: unknown[];
}

/**
 * Reads the newest good generation: state.json, else the one before, else nothing. A file that is not exactly right is as
 * good as none.
 */
export async function load(files: Files, crypto: Crypto): Promise<Loaded> {
  const l: Loaded = { number: 0, newest: false, damage: [] };
  for (const name of [stateFile, previousState]) {
    try {
      const size = await files.size(name);
      if (size === undefined) continue;
      if (size > maxStateFile) throw new Refusal("storage_corrupted", name, `more than ${maxStateFile} bytes`);
      const raw = await files.read(name), { number, body } = decodeGeneration(crypto, raw);
      if (l.body) l.previous = body.trial;
      else Object.assign(l, { number, body, raw, newest: name === stateFile });
    } catch (e) {
      if (!causes(e).some((c) => c instanceof NotFound)) l.damage.push(e);
    }
  }
  return l;
}
