// The entry "./delta/bytecode": simple patches over rewritten Hermes bytecode, for React Native. They have about an eighth of
// the bytes of a simple patch of a bundle that was compiled anew, and undoing the rewriting is light work for any engine.

import type { Delta } from "../device/api.js";
import { bytecode as rewritten } from "./bytecode/container.js";
import { applyPatch } from "./patch.js";
import { readHeader } from "./release.js";
import { codecs as simpleCodecs, simple } from "./simple.js";

/** Codecs that rewrite bytecode, and the bytes that undoing it may take: for bundles of just under 4 and 16 MiB. */
const memoryOf: ReadonlyMap<string, number> = new Map([["simple/1+zstd+hbc", 16 << 20], ["simple/1+zstd+hbc+64m", 64 << 20]]);

/** Codecs that this entry applies. The last one only where the host's limit of memory allows it. */
export const codecs: readonly string[] = [...simpleCodecs, ...memoryOf.keys()];

/** What another one unpacks (simple or rich), and patches over rewritten bytecode. */
export function withBytecode(delta: Delta): Delta {
  return {
    can(codec, memory) {
      const need = memoryOf.get(codec);
      return need === undefined ? delta.can(codec, memory) : memory >= need;
    },
    async apply(a) {
      const h = await readHeader(a);
      return h.version === 2 && h.codec === 3 ? applyPatch(a, { bytecode: rewritten }) : delta.apply(a);
    },
  };
}

/** Unpacks containers; memory above the process is some 11 MiB, and 16 MiB or 64 MiB for bytecode. */
export const bytecode: Delta = withBytecode(simple);
