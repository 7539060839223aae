// What the tests of containers stand on: bytes with seeded chance, sources in memory, and what a refusal must look like.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Delta } from "../../src/device/api.js";
import type { Source } from "../../src/host.js";
import type { Manifest } from "../../src/words/documents.js";
import { repository } from "../serve.js";
import { Refusal } from "../../src/words/reasons.js";

/** path → content. */
export type Tree = Record<string, Uint8Array>;

export const source = (b: Uint8Array): Source => ({ size: b.length, read: async (at, n) => b.subarray(at, at + n), close: async () => {} });

/** A file of the repository. */
export const repositoryFile = (path: string) => readFileSync(join(repository(), path));

/** Numbers of chance that are the same in every run. */
export function chance(seed: number): (below: number) => number {
  let s = seed >>> 0;
  return (below) => {
    s = (s + 0x6d2b79f5) >>> 0;
    let t = Math.imul(s ^ (s >>> 15), 1 | s);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

export const manifest = (t: Tree) => ({
  files: Object.keys(t).sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
    .map((path) => ({ path, size: t[path].length, sha256: createHash("sha256").update(t[path]).digest("hex") })),
}) as unknown as Manifest;

/** Applies a container in memory and gives the tree that came of it. */
export async function applied(delta: Delta, container: Uint8Array, from: Tree | undefined, to: Manifest, memory = 16 << 20,
  onDisk = from): Promise<Tree> {
  const out: Tree = {};
  const sizes = new Map(to.files.map((f) => [f.path, f.size]));
  await delta.apply({
    container: source(container), from: from && manifest(from), to, memory, pause: async () => {},
    base: async (f) => source((onDisk as Tree)[f.path]),
    sink: {
      create: async (f) => {
        const parts: Uint8Array[] = [];
        let n = 0;
        return {
          write: async (b) => { parts.push(b); n += b.length; assert.ok(n <= (sizes.get(f.path) ?? -1), "written beyond its signed size"); },
          close: async () => { out[f.path] = Uint8Array.from(Buffer.concat(parts)); },
        };
      },
      keep: async (f, o) => { out[f.path] = (onDisk as Tree)[o.path]; },
      duplicate: async (f, of) => { out[f.path] = out[of.path]; },
    },
  });
  return out;
}

/** Whether run is refused; anything else that it throws is a fault. */
export async function refused(run: () => Promise<unknown>): Promise<boolean> {
  try {
    await run();
    return false;
  } catch (err) {
    assert.ok(err instanceof Refusal && ["container_invalid", "file_mismatch"].includes(err.reason), String(err instanceof Error ? err.stack : err));
    return true;
  }
}
