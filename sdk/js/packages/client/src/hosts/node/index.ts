/// <reference types="node" />
// Node as a host: a folder on disk, node:http, Node's own crypto.
import { readFileSync, realpathSync } from "node:fs";
import * as path from "node:path";
import type { Embedded } from "../../device/api.js";
import { directoryLock, type Host } from "../../host.js";
import { timerClock } from "../single.js";
import type { Lack } from "../lacks.js";
import { nodeCrypto } from "./crypto.js";
import { codeOf, NodeFiles } from "./files.js";
import { nodeHttp, type Agents } from "./http.js";
import { nodeLocks } from "./locks.js";

export { nodeCrypto } from "./crypto.js";
export type { Agents } from "./http.js";
export { nodeLocks } from "./locks.js";

export interface NodeOptions {
  /** The device's directory, on a disk of this machine. Made when it is missing; nothing else may write in it. */
  directory: string;
  /** Own agents for the connections. Default: agents that keep connections open while they are used. */
  agents?: Agents;
}

export type NodeHost = Host & { readonly lacks: readonly Lack[] };

/** Node 18 or newer. One process at a time changes the directory; nodeLocks says what that means on which system. */
export function nodeHost(options: NodeOptions): NodeHost {
  const files = new NodeFiles(realDirectory(options.directory));
  return {
    name: "node",
    lacks: [],
    files,
    http: nodeHttp(options.agents),
    crypto: nodeCrypto(),
    clock: timerClock({ setTimeout, clearTimeout: (id) => clearTimeout(id as NodeJS.Timeout) }),
    locks: nodeLocks(files.locate(""), async (name) => (name === directoryLock ? files.recover() : undefined)),
    pause: () => new Promise((done) => void setImmediate(done)),
  };
}

/**
 * The release that ships with the program, as a folder: updates build on its files. Its signed manifest lies beside it as
 * DIRECTORY.manifest.json; without one it counts as seq 0, and the first update comes whole.
 */
export function embeddedIn(directory: string): Embedded {
  const location = realDirectory(directory), files = new NodeFiles(location);
  const embedded: Embedded = { location, open: (name) => files.open(name) };
  try {
    embedded.manifest = readFileSync(`${path.resolve(directory)}.manifest.json`);
  } catch (e) {
    if (codeOf(e) !== "ENOENT") throw e;
  }
  return embedded;
}

/**
 * The real path, of which a part may not be there yet: a disk that cannot be written stops updates, never the app. Links on
 * the way to the directory are the host's business; those inside are not followed.
 */
function realDirectory(directory: string): string {
  const whole = path.resolve(directory);
  for (let at = whole; ; at = path.dirname(at)) {
    try {
      return path.join(realpathSync(at), path.relative(at, whole));
    } catch (e) {
      if (at === path.dirname(at)) return whole;
    }
  }
}
