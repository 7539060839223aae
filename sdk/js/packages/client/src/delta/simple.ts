// The entry "./delta/simple": containers that rebuild changed files from pieces of the base, in streams that plain
// JavaScript unpacks, and those of the entry "./delta".

import type { Delta } from "../device/api.js";
import { codecs as whole } from "./index.js";
import { applyPatch } from "./patch.js";

/** Codecs that this entry applies. simple/1+brotli is left out: its dictionary alone is larger than all of this. */
export const codecs: readonly string[] = [...whole, "simple/1+deflate", "simple/1+zstd"];

/** Unpacks containers; memory above the process is some 11 MiB, whatever the size of a file. */
export const simple: Delta = { can: (codec) => codecs.includes(codec), apply: (a) => applyPatch(a) };
