// A mini-program as a host: wx, my, tt and platforms in their shape. A mini-program runs no downloaded code, by the
// platforms' rules and for want of eval; what a release changes here is data, page schemas, images, texts, styles, rules,
// switches.
import { StorageFull, type Clock, type Crypto } from "../../host.js";
import { sha256 } from "@noble/hashes/sha2.js";
import type { PlainHost } from "../../device/plain.js";
import { DriveFiles } from "../drive.js";
import { MissingCapability, type Lack } from "../lacks.js";
import { contextLocks, stretched, timerClock } from "../single.js";
import { call, DIALECTS, type MiniProgramApi } from "./api.js";
import { UserDirectory } from "./drive.js";
import { platformHttp } from "./http.js";

export type { MiniProgramApi } from "./api.js";

export interface MiniProgramOptions {
  /** wx, my or tt itself. */
  api: MiniProgramApi;
  /** Whose names the platform uses; default wx, which most others copy. */
  dialect?: "wx" | "my" | "tt";
  /** SHA-256 and Ed25519, where the app has faster ones than those that createClient brings. */
  crypto?: Partial<Omit<Crypto, "random">>;
  /** Random bytes, needed where the platform has no getRandomValues. */
  random?(length: number): Uint8Array;
  /** Name of the device's directory below the user directory. Default "slipstream". */
  directory?: string;
  timers?: { setTimeout(then: () => void, ms: number): unknown; clearTimeout(id: never): void };
  clock?: Clock;
}

export interface MiniProgramHost extends PlainHost {
  readonly lacks: readonly Lack[];
  /** Calls back when the platform puts the mini-program into the background, brings it back, or runs out of memory. */
  lifecycle(on: { hide?(): void; show?(): void; memoryWarning?(): void }): void;
  /** Starts the mini-program anew; false where the platform cannot, and the user must. */
  restart(): Promise<boolean>;
}

export async function miniProgramHost(options: MiniProgramOptions): Promise<MiniProgramHost> {
  const { api } = options, dialect = DIALECTS[options.dialect ?? "wx"], name = "miniprogram";
  const fs = api.getFileSystemManager?.();
  if (!fs) throw new MissingCapability(name, "getFileSystemManager", "the platform's base library is too old to keep files");
  if (!api.request) throw new MissingCapability(name, "request", "give the platform's object (wx, my, tt) as api");
  const user = api.env?.USER_DATA_PATH;
  if (!user) throw new MissingCapability(name, "env.USER_DATA_PATH", "the platform names no directory of the user's");
  const clock = options.clock ?? timerClock(options.timers ?? globalTimers());
  const random = options.random ?? (await platformRandom(api));
  const lacks: Lack[] = [{ capability: "eval", effect: "a release carries data, never code" }];
  if (!api.downloadFile) lacks.push({ capability: "downloadFile", effect: "a whole object lies in memory while it comes" });
  if (!api.onMemoryWarning) lacks.push({ capability: "onMemoryWarning", effect: "pages in the background stay until their time is over" });
  if (!api.onAppHide || !api.onAppShow) lacks.push({ capability: "onAppHide and onAppShow", effect: "call background and foreground from App's onHide and onShow" });
  if (!api.restartMiniProgram) lacks.push({ capability: "restartMiniProgram", effect: "an update applied at once waits until the user opens the mini-program anew" });
  const base = user + "/" + (options.directory ?? "slipstream"), drive = new UserDirectory(fs, base);
  try {
    await drive.makeFolder("");
  } catch (e) {
    // A full disk must not keep the mini-program from starting: what is there can still be read.
    if (!(e instanceof StorageFull)) throw e;
    lacks.push({ capability: "free space", effect: "nothing can be kept: " + e.message });
  }
  const files = new DriveFiles(drive, (path) => base + "/" + path);
  return {
    name, files, clock, lacks,
    http: platformHttp(api, fs, dialect, clock),
    crypto: { ...options.crypto, random },
    locks: contextLocks(() => files.recover()),
    pause: () => new Promise((done) => void clock.after(0, done)),
    lifecycle(on) {
      if (on.hide) api.onAppHide?.(on.hide);
      if (on.show) api.onAppShow?.(on.show);
      const { memoryWarning } = on;
      if (memoryWarning) api.onMemoryWarning?.(() => memoryWarning());
    },
    async restart() {
      const { restartMiniProgram } = api;
      if (!restartMiniProgram) return false;
      return call((c) => restartMiniProgram.call(api, c), (said) => new Error(said)).then(() => true, () => false);
    },
  };
}

async function platformRandom(api: MiniProgramApi): Promise<(length: number) => Uint8Array> {
  const { getRandomValues } = api;
  if (!getRandomValues) throw new MissingCapability("miniprogram", "getRandomValues", "give random, a function that returns bytes nobody can guess");
  const { randomValues } = await call<{ randomValues: ArrayBuffer }>((c) => getRandomValues.call(api, { length: 32, ...c }), (said) => new Error(said));
  return stretched(() => sha256.create(), new Uint8Array(randomValues));
}

function globalTimers(): NonNullable<MiniProgramOptions["timers"]> {
  return { setTimeout: (then, ms) => setTimeout(then, ms), clearTimeout: (id) => clearTimeout(id as unknown as number) };
}
