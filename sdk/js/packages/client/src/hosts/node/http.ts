/// <reference types="node" />
// HTTP over node:http and node:https, which show redirects and take an answer piece by piece.
import * as http from "node:http";
import * as https from "node:https";
import type { Http, HttpRequest, HttpResponse } from "../../host.js";

/** What carries the connections: agents of node:http and node:https, for a proxy or a certificate authority of one's own. */
export interface Agents {
  http?: unknown;
  https?: unknown;
}

const REDIRECTS = 3;

export function nodeHttp(agents: Agents = {}): Http {
  const carry: Record<string, http.Agent> = {
    "http:": (agents.http as http.Agent | undefined) ?? new http.Agent({ keepAlive: true }),
    "https:": (agents.https as https.Agent | undefined) ?? new https.Agent({ keepAlive: true }),
  };
  return {
    streams: true,
    async request(q) {
      const said = `${q.method} ${q.url}`;
      let end: (why: Error) => void = () => undefined, over = false, current: http.ClientRequest | undefined;
      const ended = new Promise<never>((_, no) => (end = no));
      ended.catch(() => undefined);
      const halt = (why: string) => {
        over = true;
        end(new Error(`${said}: ${why}`));
        current?.destroy();
      };
      const timer = setTimeout(() => halt(`nothing whole came within ${q.timeout} ms`), q.timeout);
      const aborted = () => halt("given up");
      if (q.signal?.aborted) aborted();
      q.signal?.addEventListener("abort", aborted);
      const seen = (r: http.ClientRequest) => {
        current = r;
        if (over) r.destroy();
      };
      try {
        return await Promise.race([ended, over ? ended : follow(q, carry, seen, () => over)]);
      } finally {
        over = true;
        clearTimeout(timer);
        q.signal?.removeEventListener("abort", aborted);
      }
    },
  };
}

/** Goes where the answers lead. */
async function follow(q: HttpRequest, agents: Record<string, http.Agent>, seen: (r: http.ClientRequest) => void, over: () => boolean): Promise<HttpResponse> {
  let url = new URL(q.url), hop: Hop = { method: q.method, headers: { "accept-encoding": "identity", ...q.headers }, body: q.body };
  if (!(url.protocol in agents)) throw new Error(`${q.url} is no http or https URL`);
  for (let left = REDIRECTS; ; left--) {
    const answer = await ask(url, hop, agents[url.protocol], seen);
    const status = answer.statusCode ?? 0, to = answer.headers.location;
    if (![301, 302, 303, 307, 308].includes(status) || to === undefined) return take(answer, status, q, over);
    answer.destroy();
    const next = new URL(to, url);
    if (next.protocol !== url.protocol) throw new Error(`${q.url} leads to another scheme: ${next.href}`);
    if (left === 0) throw new Error(`${q.url} leads to more than ${REDIRECTS} other places`);
    hop = redirected(hop, status, next.host === url.host);
    url = next;
  }
}

interface Hop {
  method: "GET" | "POST";
  headers: Record<string, string>;
  body?: Uint8Array;
}

/** A POST becomes a GET unless the answer forbids that; secrets stay with their host. */
function redirected(hop: Hop, status: number, sameHost: boolean): Hop {
  const keep = hop.method === "GET" || status === 307 || status === 308;
  const drop = (name: string) => (!sameHost && (name === "authorization" || name === "cookie")) || (!keep && name.startsWith("content-"));
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(hop.headers)) if (!drop(name.toLowerCase())) headers[name] = value;
  return keep ? { ...hop, headers } : { method: "GET", headers };
}

async function ask(url: URL, hop: Hop, agent: http.Agent, seen: (r: http.ClientRequest) => void): Promise<http.IncomingMessage> {
  const headers: Record<string, string | number> = { ...hop.headers };
  if (hop.body) headers["content-length"] = hop.body.length;
  for (let tries = 1; ; tries++) {
    const request = (url.protocol === "https:" ? https : http).request(url, { method: hop.method, headers, agent });
    seen(request);
    try {
      return await new Promise<http.IncomingMessage>((done, failed) => {
        request.once("response", done);
        request.on("error", failed);
        request.end(hop.body);
      });
    } catch (e) {
      // The server closed an idle connection at the moment it was taken for this: nobody has seen the request.
      const stale = request.reusedSocket && (e as { code?: string }).code === "ECONNRESET";
      if (!stale || hop.method !== "GET" || tries === 3) throw e;
    }
  }
}

async function take(answer: http.IncomingMessage, status: number, q: HttpRequest, over: () => boolean): Promise<HttpResponse> {
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(answer.headers)) if (value !== undefined) headers[name] = Array.isArray(value) ? value.join(", ") : value;
  if (q.onHead) {
    try {
      await q.onHead({ status, headers });
    } catch (e) {
      answer.destroy();
      throw e;
    }
  }
  const parts: Uint8Array[] = [];
  let size = 0;
  if (q.limit > 0) {
    for await (const chunk of answer as AsyncIterable<Uint8Array>) {
      if (over()) break;
      const piece = new Uint8Array(chunk.buffer, chunk.byteOffset, Math.min(chunk.length, q.limit - size));
      size += piece.length;
      if (q.onBytes) await q.onBytes(piece);
      else parts.push(piece);
      if (size >= q.limit) break;
    }
  }
  // A connection whose answer was not read to its end is of no more use.
  if (!answer.complete) answer.destroy();
  const body = new Uint8Array(q.onBytes ? 0 : size);
  let at = 0;
  for (const p of parts) {
    body.set(p, at);
    at += p.length;
  }
  return { status, headers, body };
}
