// The entry "./delta": unpacks the containers full/1 and changed/1. Others are left to the entries "./delta/simple" and
// "./delta/rich", which include this one.

import type { Delta } from "../device/api.js";
import { applyWhole } from "./whole.js";

/** Codecs that this entry applies. */
export const codecs: readonly string[] = ["full/1", "changed/1"];

/** Unpacks containers; memory above the process is some 11 MiB, whatever the size of a file. */
export const delta: Delta = { can: (codec) => codecs.includes(codec), apply: applyWhole };
