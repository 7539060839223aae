// HTTP over fetch, as browsers and React Native have it.
import type { Http, HttpResponse } from "../host.js";
import { Refusal } from "../words/reasons.js";

interface Reader {
  read(): Promise<{ done: boolean; value?: Uint8Array }>;
  cancel(): Promise<void>;
}

export interface FetchResponse {
  status: number;
  url: string;
  headers: { forEach(each: (value: string, name: string) => void): void };
  body?: { getReader(): Reader } | null;
  arrayBuffer(): Promise<ArrayBuffer>;
  /** Both are there where the platform keeps a whole body outside the engine, as React Native does. */
  clone?(): FetchResponse;
  blob?(): Promise<{ size: number }>;
}

export type Fetch = (url: string, init: Record<string, unknown>) => Promise<FetchResponse>;

interface Stopper {
  signal: unknown;
  abort(): void;
}

/**
 * stopper makes an AbortController where there is one. Redirects are the platform's: it follows them by its own rules, so
 * what is checked here is that the answer's address still has the scheme that was asked for. streams: the platform's
 * answers have a body that is read while it comes.
 */
export function fetchHttp(fetch: Fetch, timers: { setTimeout(then: () => void, ms: number): unknown; clearTimeout(id: never): void }, stopper: (() => Stopper) | undefined, streams = false): Http {
  return {
    streams,
    async request(q) {
      const stop = stopper?.();
      let end: (why: Error) => void = () => undefined;
      const ended = new Promise<never>((_, no) => (end = no));
      ended.catch(() => undefined);
      const halt = (why: string) => {
        end(new Error(`${q.method} ${q.url}: ${why}`));
        stop?.abort();
      };
      const timer = timers.setTimeout(() => halt(`nothing whole came within ${q.timeout} ms`), q.timeout);
      const aborted = () => halt("given up");
      if (q.signal?.aborted) aborted();
      q.signal?.addEventListener("abort", aborted);
      try {
        return await Promise.race([ended, take(fetch, q, stop?.signal)]);
      } finally {
        timers.clearTimeout(timer as never);
        q.signal?.removeEventListener("abort", aborted);
        stop?.abort();
      }
    },
  };
}

/** Size of a body that comes whole, as far as it can be told before it is in the engine's memory; else 0. */
async function sizeOf(answer: FetchResponse, headers: Record<string, string>): Promise<number> {
  const said = headers["content-length"] ?? "", coding = headers["content-encoding"] ?? "identity";
  if (/^\d{1,15}$/.test(said) && coding === "identity") return Number(said);
  const copy = answer.clone?.();
  return copy?.blob ? (await copy.blob()).size : 0;
}

async function take(fetch: Fetch, q: Parameters<Http["request"]>[0], signal: unknown): Promise<HttpResponse> {
  const init: Record<string, unknown> = { method: q.method, headers: q.headers ?? {}, cache: "no-store", credentials: "omit", redirect: "follow" };
  if (q.body) init.body = q.body;
  if (signal) init.signal = signal;
  const answer = await fetch(q.url, init);
  const scheme = (url: string) => url.slice(0, url.indexOf(":")).toLowerCase();
  if (answer.url && scheme(answer.url) !== scheme(q.url)) throw new Error(`${q.url} leads to another scheme: ${answer.url}`);
  const headers: Record<string, string> = {};
  answer.headers.forEach((value, name) => (headers[name.toLowerCase()] = value));
  if (q.onHead) await q.onHead({ status: answer.status, headers });
  const parts: Uint8Array[] = [];
  let size = 0;
  const give = async (bytes: Uint8Array) => {
    const room = q.limit - size, piece = bytes.length > room ? bytes.subarray(0, room) : bytes;
    size += piece.length;
    if (q.onBytes) await q.onBytes(piece);
    else parts.push(piece);
  };
  const reader = answer.body?.getReader?.();
  if (reader) {
    while (size < q.limit) {
      const { done, value } = await reader.read();
      if (done) break;
      if (value) await give(value);
    }
    if (size >= q.limit) await reader.cancel();
  } else if ((await sizeOf(answer, headers)) > q.limit) {
    // Nothing of it is taken into the engine: what is longer than its limit is refused anyway, and the page of an error is not read.
    if (answer.status >= 200 && answer.status < 300) throw new Refusal("too_large", q.url, `more than ${q.limit} bytes`);
  } else {
    await give(new Uint8Array(await answer.arrayBuffer()));
  }
  const body = new Uint8Array(q.onBytes ? 0 : size);
  let at = 0;
  for (const p of parts) {
    body.set(p, at);
    at += p.length;
  }
  return { status: answer.status, headers, body };
}
