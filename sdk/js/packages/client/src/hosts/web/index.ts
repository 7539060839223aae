// A web page, or a page inside a WebView, as a host. Files lie in the origin private file system, or in Cache Storage where a
// page cannot write there; a service worker serves the releases under the page's own origin.
import { directoryLock, NotFound, type Crypto, type Host, type Locks } from "../../host.js";
import { DriveFiles, type Drive } from "../drive.js";
import { fetchHttp, type Fetch } from "../fetch-http.js";
import { MissingCapability, type Lack } from "../lacks.js";
import { timerClock } from "../single.js";
export { embeddedAt, show, type Get, type ShowOptions, type Shown, type Workers } from "./show.js";
export type { Frame, Outcome, Rules, ShellWindow, Slot } from "./frame.js";
import { CacheDrive, type CacheLike } from "./cache.js";
import { OpfsDrive, type DirectoryHandle } from "./opfs.js";

/** The parts of a browser's window that are used; give globalThis. */
export interface Browser {
  fetch: Fetch;
  setTimeout(then: () => void, ms: number): unknown;
  clearTimeout(id: never): void;
  location: { href: string; origin: string };
  isSecureContext?: boolean;
  AbortController?: new () => { signal: unknown; abort(): void };
  Response?: new (body: unknown) => unknown;
  Blob?: new (parts: unknown[]) => unknown;
  crypto?: { getRandomValues(into: Uint8Array): unknown };
  caches?: { open(name: string): Promise<CacheLike>; has(name: string): Promise<boolean> };
  FileSystemFileHandle?: { prototype: object };
  navigator: {
    storage?: { getDirectory?(): Promise<DirectoryHandle>; persist?(): Promise<boolean> };
    locks?: { request(name: string, options: { ifAvailable: boolean }, held: (lock: unknown) => Promise<void> | undefined): Promise<unknown> };
    serviceWorker?: unknown;
  };
}

export interface WebOptions {
  browser: Browser;
  /** SHA-256 and Ed25519, where the client's own are not wanted; random bytes come from the browser. */
  crypto?: Omit<Crypto, "random">;
  /** Name of the device's directory, so that several apps of one origin stay apart. Default "slipstream". */
  directory?: string;
  /** Where the service worker serves releases, below its scope. Default "/slipstream/". */
  served?: string;
  /** Which storage to take; default: the private file system where a page can write it, else Cache Storage. */
  storage?: "opfs" | "cache";
}

export type WebHost = Omit<Host, "crypto"> & { readonly crypto: Pick<Crypto, "random"> & Partial<Crypto>; readonly lacks: readonly Lack[]; readonly storage: "opfs" | "cache" };

/** The name under which pages and the service worker find a directory in Cache Storage. */
export const cacheName = (directory: string) => "slipstream:" + directory;
/** Nothing is ever asked for under it: it only names entries. */
export const cacheBase = (origin: string) => origin + "/.slipstream/";

export async function webHost(options: WebOptions): Promise<WebHost> {
  const { browser } = options, directory = options.directory ?? "slipstream", served = options.served ?? "/slipstream/";
  const random = browser.crypto;
  if (!random) throw new MissingCapability("web", "crypto.getRandomValues", "there is no safe random number on this page");
  if (!browser.navigator.locks) throw new MissingCapability("web", "navigator.locks", "two tabs would write over each other; serve the page over HTTPS or from localhost");
  const lacks: Lack[] = [];
  const { drive, storage } = await openDrive(browser, directory, options.storage);
  if (storage === "cache") lacks.push({ capability: "a writable private file system", effect: "files lie in Cache Storage: larger downloads are slower" });
  if (!browser.navigator.serviceWorker) lacks.push({ capability: "navigator.serviceWorker", effect: "releases cannot be served as pages: read their files through the client" });
  if (!browser.AbortController) lacks.push({ capability: "AbortController", effect: "a request that takes too long goes on unseen" });
  if ((await browser.navigator.storage?.persist?.().catch(() => false)) !== true) lacks.push({ capability: "persistent storage", effect: "the browser may clear what was downloaded; the embedded release runs then" });
  const files = new DriveFiles(drive, (path) => served + directory + "/" + path.split("/").map(encodeURIComponent).join("/"));
  const AbortController = browser.AbortController;
  return {
    name: "web", files, lacks, storage,
    http: fetchHttp((url, init) => browser.fetch(url, init), browser, AbortController && (() => {
      const c = new AbortController();
      return { signal: c.signal, abort: () => c.abort() };
    }), true),
    crypto: { ...options.crypto, random: (length) => { const out = new Uint8Array(length); random.getRandomValues(out); return out; } },
    clock: timerClock({ setTimeout: (then, ms) => browser.setTimeout(then, ms), clearTimeout: (id) => browser.clearTimeout(id) }),
    locks: webLocks(browser, directory, () => files.recover()),
    pause: () => new Promise((done) => void browser.setTimeout(done, 0)),
  };
}

/**
 * Where a directory's files lie. The service worker asks the same question and must get the same answer; it makes no
 * directory, since any address may name one, and rejects with a NotFound.
 */
export async function openDrive(browser: Pick<Browser, "navigator" | "caches" | "Response" | "Blob" | "location" | "FileSystemFileHandle">, directory: string, want?: "opfs" | "cache", make = true): Promise<{ drive: Drive; storage: "opfs" | "cache" }> {
  const storage = browser.navigator.storage, { caches, Response, Blob } = browser;
  const writable = browser.FileSystemFileHandle !== undefined && "createWritable" in browser.FileSystemFileHandle.prototype;
  if (want !== "cache" && storage?.getDirectory && (writable || want === "opfs")) {
    const root = await storage.getDirectory().catch(() => undefined);
    if (root) return { drive: new OpfsDrive(await folder(root, directory, make)), storage: "opfs" };
  }
  if (want !== "opfs" && caches && Response && Blob) {
    if (!make && !(await caches.has(cacheName(directory)))) throw new NotFound(directory);
    const cache = await caches.open(cacheName(directory));
    return { drive: new CacheDrive(cache, cacheBase(browser.location.origin), (parts) => new Response(new Blob(parts))), storage: "cache" };
  }
  throw new MissingCapability("web", want === "opfs" ? "navigator.storage.getDirectory" : "navigator.storage.getDirectory and caches", "there is nowhere to keep a release; serve the page over HTTPS or from localhost, outside private windows");
}

async function folder(root: DirectoryHandle, name: string, make: boolean): Promise<DirectoryHandle> {
  try {
    return await root.getDirectoryHandle(name, { create: make });
  } catch (e) {
    if (make) throw e;
    throw new NotFound(name);
  }
}

/** One tab at a time holds a directory; the browser frees it when the tab is gone, however it went. */
function webLocks(browser: Browser, directory: string, taken: () => Promise<void>): Locks {
  const locks = browser.navigator.locks;
  return {
    tryLock: (name) =>
      new Promise((done, failed) => {
        const asked = locks?.request(`slipstream:${directory}:${name}`, { ifAvailable: true }, (lock) => {
          if (!lock) {
            done(undefined);
            return undefined;
          }
          return new Promise<void>((free) => {
            (name === directoryLock ? taken() : Promise.resolve()).then(
              () => done({ release: async () => free() }),
              (e: unknown) => {
                free();
                failed(e);
              },
            );
          });
        });
        asked?.catch(failed);
      }),
  };
}
