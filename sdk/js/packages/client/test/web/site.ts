// A small site for browser tests: the files of a map, at a port of its own.
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { TestContext } from "node:test";
import { build } from "esbuild";

export interface Site {
  origin: string;
  /** What is served, by path: bytes or text, or what answers by itself. It may change while the site is up. */
  files: Record<string, string | Uint8Array | ((answer: ServerResponse) => void)>;
  /** Every path that was asked for. */
  asked: string[];
  /** Nothing is answered any more: connections are cut. */
  offline: boolean;
}

const TYPES: Record<string, string> = { html: "text/html", js: "text/javascript", css: "text/css", json: "application/json" };

export async function site(t: TestContext, files: Site["files"]): Promise<Site> {
  const out: Site = { origin: "", files, asked: [], offline: false };
  const server = createServer((q, r) => {
    if (out.offline) return void q.socket.destroy();
    const path = (q.url ?? "/").split("?")[0], file = out.files[path];
    out.asked.push(path);
    if (typeof file === "function") return file(r);
    const type = TYPES[path.slice(path.lastIndexOf(".") + 1)] ?? (path.endsWith("/") ? "text/html" : "application/octet-stream");
    r.writeHead(file === undefined ? 404 : 200, { "content-type": file === undefined ? "text/plain" : type, "cache-control": "no-store" }).end(file ?? "not here");
  });
  await new Promise<void>((up) => server.listen(0, "127.0.0.1", up));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  out.origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return out;
}

/** A script for browsers out of a module and what it imports. */
export async function script(entry: string): Promise<string> {
  const { outputFiles } = await build({ entryPoints: [entry], bundle: true, write: false, format: "iife", platform: "browser", target: "es2020" });
  return outputFiles[0].text;
}
