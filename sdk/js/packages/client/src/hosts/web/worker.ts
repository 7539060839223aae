// The service worker's part: it answers addresses below served with files of a release, and everything else as before. A
// release's digest stands in the address, so a page keeps the files of the release that it was loaded from.
import { NotFound } from "../../host.js";
import { DriveFiles } from "../drive.js";
import { openDrive, type Browser } from "./index.js";

export interface FetchEvent {
  request: { url: string; method: string; headers: { get(name: string): string | null } };
  respondWith(answer: Promise<unknown>): void;
}

/** The parts of a service worker's scope that are used; give self. */
export interface WorkerScope extends Pick<Browser, "navigator" | "caches" | "Blob" | "location" | "FileSystemFileHandle"> {
  Response: new (body: unknown, init?: { status?: number; headers?: Record<string, string> }) => unknown;
  addEventListener(type: string, listener: (event: never) => void): void;
  skipWaiting?(): Promise<void>;
  clients?: { claim(): Promise<void> };
}

export interface ServeOptions {
  /** As given to webHost. Default "/slipstream/". */
  served?: string;
  storage?: "opfs" | "cache";
  /** Headers of every file, for example a content security policy. */
  headers?: Record<string, string>;
}

const TYPES: Record<string, string> = {
  html: "text/html; charset=utf-8", htm: "text/html; charset=utf-8", js: "text/javascript; charset=utf-8", mjs: "text/javascript; charset=utf-8",
  css: "text/css; charset=utf-8", json: "application/json", map: "application/json", txt: "text/plain; charset=utf-8", svg: "image/svg+xml",
  png: "image/png", jpg: "image/jpeg", jpeg: "image/jpeg", gif: "image/gif", webp: "image/webp", avif: "image/avif", ico: "image/x-icon",
  woff: "font/woff", woff2: "font/woff2", ttf: "font/ttf", otf: "font/otf", wasm: "application/wasm", mp3: "audio/mpeg", mp4: "video/mp4",
  webm: "video/webm", pdf: "application/pdf", xml: "application/xml", webmanifest: "application/manifest+json",
};

/** Call it once at the top of the service worker. The page must be inside the worker's scope. */
export function serveReleases(scope: WorkerScope, options: ServeOptions = {}): void {
  const served = options.served ?? "/slipstream/";
  scope.addEventListener("install", (event: { waitUntil(done: unknown): void }) => event.waitUntil(scope.skipWaiting?.()));
  scope.addEventListener("activate", (event: { waitUntil(done: unknown): void }) => event.waitUntil(scope.clients?.claim()));
  scope.addEventListener("fetch", (event: FetchEvent) => {
    const url = new URL(event.request.url);
    if (url.origin !== scope.location.origin || !url.pathname.startsWith(served)) return;
    event.respondWith(answer(scope, options, event.request.method, url.pathname.slice(served.length), event.request.headers.get("range")));
  });
}

async function answer(scope: WorkerScope, options: ServeOptions, method: string, path: string, range: string | null): Promise<unknown> {
  const say = (status: number, body: unknown, headers: Record<string, string>) => new scope.Response(method === "HEAD" ? null : body, { status, headers });
  const parts = path.split("/").map(decodeURIComponent), directory = parts.shift() ?? "";
  // Only the trees of releases are anybody's business, not the device's own documents.
  if (parts.length < 3 || parts[0] !== "releases" || parts.some((p) => p === "" || p === "." || p === ".." || p.includes("/"))) return say(404, "not a file of a release", { "content-type": "text/plain" });
  if (method !== "GET" && method !== "HEAD") return say(405, "only reading", { allow: "GET, HEAD" });
  const name = parts.join("/");
  try {
    const { drive } = await openDrive(scope, directory, options.storage);
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
