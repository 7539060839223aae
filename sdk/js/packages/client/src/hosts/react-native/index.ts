// React Native as a host. The file library, random bytes and the restart are the app's choice and are passed in.
import type { Crypto } from "../../host.js";
import type { PlainHost } from "../../device/plain.js";
import { bytecode } from "../../delta/bytecode.js";
import { DriveFiles, type Drive } from "../drive.js";
import { fetchHttp, type Fetch } from "../fetch-http.js";
import { MissingCapability, type Lack } from "../lacks.js";
import { contextLocks, timerClock } from "../single.js";

export { blobUtilDrive, expoAsyncDrive, expoDrive, rnfsDrive } from "./drives.js";
export type { Drive } from "../drive.js";

export interface ReactNativeOptions {
  /** From rnfsDrive, blobUtilDrive, expoDrive or expoAsyncDrive; or one of your own. */
  drive: Drive;
  /** The folder that the drive was given, as native code finds it: what bundles and images are loaded from. */
  location: string;
  /** SHA-256 and Ed25519: native ones where the app has them; createClient brings them in JavaScript. */
  crypto?: Partial<Omit<Crypto, "random">>;
  /** Bytes nobody can guess, for example crypto.getRandomValues after importing react-native-get-random-values. */
  random?(length: number): Uint8Array;
  /** Starts JavaScript anew, for example DevSettings.reload in development or a native module's restart. */
  restart?(): void | Promise<void>;
  /** environment.fetch gives bodies as streams, as that of expo/fetch does. React Native's own gives them whole. */
  streams?: boolean;
  /** Folder of the device below the drive's. Default "slipstream". */
  directory?: string;
  /** Default: the global ones of React Native. */
  environment?: Environment;
}

export interface Environment {
  fetch?: Fetch;
  setTimeout(then: () => void, ms: number): unknown;
  clearTimeout(id: never): void;
  AbortController?: new () => { signal: unknown; abort(): void };
  crypto?: { getRandomValues?(into: Uint8Array): unknown };
}

export interface ReactNativeHost extends PlainHost {
  readonly lacks: readonly Lack[];
  /** false where the app gave no restart: what is staged then waits for the next cold start. */
  restart(): Promise<boolean>;
}

export async function reactNativeHost(options: ReactNativeOptions): Promise<ReactNativeHost> {
  const name = "react-native", env = options.environment ?? (globalThis as unknown as Environment);
  const { fetch, AbortController } = env, native = env.crypto;
  if (!options.drive) throw new MissingCapability(name, "a drive", "give rnfsDrive, blobUtilDrive, expoDrive or expoAsyncDrive with the file library of the app");
  if (!fetch) throw new MissingCapability(name, "fetch", "the global fetch of React Native is gone; something replaced it");
  const random = options.random ?? (native?.getRandomValues ? (length: number) => { const out = new Uint8Array(length); native.getRandomValues?.(out); return out; } : undefined);
  if (!random) throw new MissingCapability(name, "crypto.getRandomValues", "import react-native-get-random-values first, or give random");
  const lacks: Lack[] = [{ capability: "a power-safe flush", effect: "a power cut can cost the newest download; it is found by its hashes and fetched again" }];
  if (!options.restart) lacks.push({ capability: "restart", effect: "an update that is to apply at once waits for the next cold start" });
  if (!options.streams) lacks.push({ capability: "streams of fetch", effect: "an object lies in memory whole while it comes, and the server cannot tell of changes" });
  if (!AbortController) lacks.push({ capability: "AbortController", effect: "a request that takes too long goes on unseen" });
  const directory = options.directory ?? "slipstream";
  const files = new DriveFiles(below(options.drive, directory), (path) => options.location.replace(/\/$/, "") + "/" + directory + "/" + path);
  await options.drive.makeFolder(directory);
  return {
    name, files, lacks,
    delta: bytecode,
    http: fetchHttp((url, init) => fetch(url, init), env, AbortController && (() => {
      const c = new AbortController();
      return { signal: c.signal, abort: () => c.abort() };
    }), options.streams === true),
    crypto: { ...options.crypto, random },
    clock: timerClock({ setTimeout: (then, ms) => env.setTimeout(then, ms), clearTimeout: (id) => env.clearTimeout(id) }),
    locks: contextLocks(() => files.recover()),
    pause: () => new Promise((done) => void env.setTimeout(done, 0)),
    async restart() {
      if (!options.restart) return false;
      await options.restart();
      return true;
    },
  };
}

/** The same drive, seen from one of its folders. */
function below(drive: Drive, directory: string): Drive {
  const at = (path: string) => (path === "" ? directory : directory + "/" + path);
  return {
    piece: drive.piece, movesFolders: drive.movesFolders,
    get copies() { return drive.copies; },
    read: (path, offset, length) => drive.read(at(path), offset, length),
    write: (path, bytes, append) => drive.write(at(path), bytes, append),
    move: (from, to) => drive.move(at(from), at(to)),
    remove: (path) => drive.remove(at(path)),
    makeFolder: (path) => drive.makeFolder(at(path)),
    list: (path) => drive.list(at(path)),
    stat: (path) => drive.stat(at(path)),
  };
}
