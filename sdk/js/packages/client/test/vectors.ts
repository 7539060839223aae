// Reads the golden vectors that every implementation of the formats runs.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { repository } from "./serve.js";
import { reasonOf } from "../src/words/reasons.js";

export interface Bytes {
  text?: string;
  base64?: string;
  pad?: number;
}

export function vectors<T>(name: string): T {
  return JSON.parse(readFileSync(join(repository(), "testdata/vectors", name + ".json"), "utf8")) as T;
}

export function bytes(b: Bytes | undefined): Uint8Array {
  const raw = b?.base64 !== undefined ? Buffer.from(b.base64, "base64") : Buffer.from(b?.text ?? "", "utf8");
  const out = new Uint8Array(Math.max(raw.length, b?.pad ?? 0)).fill(32);
  out.set(raw);
  return out;
}

/** "ok" or the reason of the refusal. */
export async function outcome(run: () => unknown): Promise<string> {
  try {
    await run();
    return "ok";
  } catch (err) {
    const reason = reasonOf(err, "");
    if (!reason) throw err;
    return reason;
  }
}
