// The service worker's part: it answers addresses below served with files of a release, and everything else as before. A
// release's digest stands in the address, so a page keeps the files of the release that it was loaded from.
import { NotFound } from "../../host.js";
import { dict } from "../../words/dict.js";
import { DriveFiles } from "../drive.js";
import { openDrive, type Browser } from "./index.js";

interface Asked {
  url: string;
  method: string;
  headers: { get(name: string): string | null };
}

export interface FetchEvent {
  request: Asked;
  respondWith(answer: Promise<unknown>): void;
  waitUntil(done: Promise<unknown>): void;
}

/** What the network answers. */
interface Answer {
  ok: boolean;
  status: number;
  redirected?: boolean;
  headers: unknown;
  clone(): Answer;
  arrayBuffer(): Promise<ArrayBuffer>;
}

interface ShellCache {
  match(url: string): Promise<Answer | undefined>;
  put(url: string, answer: unknown): Promise<void>;
}

/** The parts of a service worker's scope that are used; give self. */
export interface WorkerScope extends Pick<Browser, "navigator" | "caches" | "Blob" | "location" | "FileSystemFileHandle"> {
  Response: new (body: unknown, init?: { status?: number; headers?: unknown }) => unknown;
  addEventListener(type: string, listener: (event: never) => void): void;
  fetch?(request: unknown): Promise<Answer>;
  setTimeout?(then: () => void, ms: number): unknown;
  skipWaiting?(): Promise<void>;
  clients?: { claim(): Promise<void> };
}

export interface ServeOptions {
  /** As given to webHost. Default "/slipstream/". */
  served?: string;
  storage?: "opfs" | "cache";
  /** Addresses of the shell itself and of the embedded release: kept at installation and answered without a network. While there is one, the site's newest are. */
  shell?: string[];
  /** Headers of every file, for example a content security policy. */
  headers?: Record<string, string>;
}

const TYPES = dict<string>({
  html: "text/html; charset=utf-8", htm: "text/html; charset=utf-8", js: "text/javascript; charset=utf-8", mjs: "text/javascript; charset=utf-8",
  css: "text/css; charset=utf-8", json: "application/json", map: "application/json", txt: "text/plain; charset=utf-8", svg: "image/svg+xml",
  png: "image/png", jpg: "image/jpeg", jpeg: "image/jpeg", gif: "image/gif", webp: "image/webp", avif: "image/avif", ico: "image/x-icon",
  woff: "font/woff", woff2: "font/woff2", ttf: "font/ttf", otf: "font/otf", wasm: "application/wasm", mp3: "audio/mpeg", mp4: "video/mp4",
  webm: "video/webm", pdf: "application/pdf", xml: "application/xml", webmanifest: "application/manifest+json",
});

/** Call it once at the top of the service worker. The page must be inside the worker's scope. */
export function serveReleases(scope: WorkerScope, options: ServeOptions = {}): void {
  const served = options.served ?? "/slipstream/";
  const shell = (options.shell ?? []).map((path) => new URL(path, scope.location.href).href);
  scope.addEventListener("install", (event: { waitUntil(done: unknown): void }) => event.waitUntil(keep(scope, shell).then(() => scope.skipWaiting?.())));
  scope.addEventListener("activate", (event: { waitUntil(done: unknown): void }) => event.waitUntil(scope.clients?.claim()));
  // After a forced reload a page is nobody's until the worker claims it.
  scope.addEventListener("message", (event: { data?: unknown; waitUntil(done: unknown): void }) => {
    if (event.data === "slipstream:claim") event.waitUntil(scope.clients?.claim());
  });
  scope.addEventListener("fetch", (event: FetchEvent) => {
    const url = new URL(event.request.url);
    const { method } = event.request;
    if (method === "GET" && shell.indexOf(url.origin + url.pathname) >= 0) return event.respondWith(shellFile(scope, event, url));
    if (url.origin !== scope.location.origin || !url.pathname.startsWith(served)) return;
    event.respondWith(answer(scope, options, method, url.pathname.slice(served.length), event.request.headers.get("range")));
  });
}

const SHELL = "slipstream-shell";
/** ms after which a network that says nothing is as good as none. */
const SLOW = 3000;

/** Fails, and so does the installation, when a file of the shell is missing: half a shell opens nothing offline. */
async function keep(scope: WorkerScope, shell: string[]): Promise<void> {
  if (shell.length === 0) return;
  const cache = await shellCache(scope), answers = await Promise.all(shell.map((url) => ask(scope, url)));
  shell.forEach((url, i) => {
    if (!answers[i].ok) throw new Error(`${url} is of the shell, and the site answers ${answers[i].status}`);
  });
  for (let i = 0; i < shell.length; i++) await put(scope, cache, shell[i], answers[i]);
}

/** One copy an address, whatever is asked behind it: who links here with a thousand queries must not fill the storage. */
async function shellFile(scope: WorkerScope, event: FetchEvent, url: URL): Promise<unknown> {
  const cache = await shellCache(scope), at = url.origin + url.pathname, kept = await cache.match(at);
  const store = (a: Answer) => a.ok ? put(scope, cache, at, a).catch(() => undefined) : undefined; // a full storage: the old one stays
  const fresh = ask(scope, event.request).then(async (a) => {
    // The answer to a query is the query's: it may say what the sender of the link wanted.
    if (url.search === "") await store(a.clone());
    return a;
  });
  if (url.search !== "") event.waitUntil(ask(scope, at).then(store, () => undefined));
  if (!kept) return fresh;
  const slow = new Promise<Answer>((done) => void scope.setTimeout?.(() => done(kept), SLOW));
  return Promise.race([slow, fresh.then((a) => (a.ok ? a : kept), () => kept)]);
}

const ask = (scope: WorkerScope, request: unknown) => (scope.fetch as NonNullable<WorkerScope["fetch"]>).call(scope, request);

/** Keeps a copy. One that came by a redirect is made anew: browsers refuse it as the answer to a page's address. */
async function put(scope: WorkerScope, cache: ShellCache, at: string, a: Answer): Promise<void> {
  await cache.put(at, a.redirected ? new scope.Response(await a.arrayBuffer(), { status: a.status, headers: a.headers }) : a);
}

function shellCache(scope: WorkerScope): Promise<ShellCache> {
  if (!scope.caches) throw new Error("a shell without a network needs Cache Storage");
  return scope.caches.open(SHELL) as unknown as Promise<ShellCache>;
}

/** The parts of a path; none when it is no text. */
function split(path: string): string[] {
  try {
    return path.split("/").map(decodeURIComponent);
  } catch (e) {
    return [];
  }
}

async function answer(scope: WorkerScope, options: ServeOptions, method: string, path: string, range: string | null): Promise<unknown> {
  const say = (status: number, body: unknown, headers: Record<string, string>) => new scope.Response(method === "HEAD" ? null : body, { status, headers });
  const parts = split(path), directory = parts.shift() ?? "";
  // Only the trees of releases are anybody's business, not the device's own documents.
  if (parts.length < 3 || parts[0] !== "releases" || parts.some((p) => p === "" || p === "." || p === ".." || p.includes("/"))) return say(404, "not a file of a release", { "content-type": "text/plain" });
  if (method !== "GET" && method !== "HEAD") return say(405, "only reading", { allow: "GET, HEAD" });
  const name = parts.join("/");
  try {
    const { drive } = await openDrive(scope, directory, options.storage, false);
    const source = await new DriveFiles(drive, (p) => p).open(name);
    const headers: Record<string, string> = {
      "content-type": TYPES[name.slice(name.lastIndexOf(".") + 1).toLowerCase()] ?? "application/octet-stream",
      "x-content-type-options": "nosniff", "cache-control": "no-store", "accept-ranges": "bytes", ...options.headers,
    };
    const asked = /^bytes=(\d+)-(\d*)$/.exec(range ?? "");
    if (!asked) return say(200, await source.read(0, source.size), { ...headers, "content-length": String(source.size) });
    const from = Number(asked[1]), to = Math.min(asked[2] === "" ? source.size - 1 : Number(asked[2]), source.size - 1);
    if (from > to) return say(416, null, { "content-range": `bytes */${source.size}` });
    return say(206, await source.read(from, to - from + 1), { ...headers, "content-length": String(to - from + 1), "content-range": `bytes ${from}-${to}/${source.size}` });
  } catch (e) {
    if (e instanceof NotFound) return say(404, "the release has no such file", { "content-type": "text/plain" });
    throw e;
  }
}
