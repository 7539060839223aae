// Asks a list of servers, of which none is trusted.
import type { AbortLike, Host, HttpHead, HttpResponse } from "../host.js";
import { parseStrict } from "../verify/json.js";
import { guarded, type Shape } from "../verify/shape.js";
import { Refusal, reasonOf } from "../words/reasons.js";
import type { Limits } from "./api.js";
import { causes, isNotServed, messageOf, NotServed, several } from "./failure.js";
import { sleep, Stop, why } from "./stop.js";

const maxBackoff = 30_000;
/** Longest Retry-After that is waited for on the spot, and the longest that is believed at all, in ms. */
const maxWaitInline = 60_000;
const maxRetryAfter = 24 * 3600_000;

/** Limits with their defaults filled in. */
export function completeLimits(l: Limits = {}): Required<Limits> {
  return {
    document: l.document || 30_000, download: l.download || 600_000, minRate: l.minRate || 1024, window: l.window || 30_000,
    rounds: l.rounds || 3, backoff: l.backoff || 1000, memory: l.memory || 16 << 20,
  };
}

/** One request that any server may answer. */
export interface Call {
  path: string;
  /** Makes it a POST of JSON. */
  body?: Uint8Array;
  /** Made anew for every attempt. */
  headers?(): Record<string, string> | Promise<Record<string, string>>;
  /** Most bytes of the answer; one more is refused as too_large. Of a stream the bytes are the stream's to count. */
  limit: number;
  /** Statuses that are answers; default 200. */
  accept?: number[];
  /** One round over the servers is enough. */
  once?: boolean;
  /** Takes the body of an answer while it comes; ms bounds the whole instead of the limit for one document. */
  stream?: { ms: number; head(head: HttpHead): void | Promise<void>; bytes(b: Uint8Array): void | Promise<void> };
  signal?: AbortLike;
}

/** An answer that asks to come again later. */
export class Busy extends Error {
  constructor(readonly status: number, readonly after: number) {
    super(`status ${status}`);
  }
}

/** An answer that says no for good. */
export class StatusError extends Error {
  constructor(readonly status: number) {
    super(`status ${status}`);
  }
}

/** How long the servers asked to wait, in ms; 0 when they did not. */
export function retryAfter(err: unknown): number {
  for (const e of causes(err)) if (e instanceof Busy) return e.after;
  return 0;
}

/** Whether a server refused a request for what it holds: sending it again would change nothing. */
export function refusedWhole(err: unknown): boolean {
  return causes(err).some((e) => e instanceof StatusError && (e.status === 400 || e.status === 413 || e.status === 422));
}

/** A random time below bound; the bound itself where there is no randomness. Both in ms. */
export function jitter(random: (n: number) => Uint8Array, bound: number): number {
  if (bound <= 0) return 0;
  let b: Uint8Array;
  try {
    b = random(6);
  } catch (e) {
    return bound;
  }
  return Math.floor(b.reduce((n, v) => n * 256 + v, 0) / 2 ** 48 * bound);
}

export class Network {
  readonly servers: readonly string[];
  readonly limits: Required<Limits>;
  private good = 0;

  constructor(readonly host: Pick<Host, "http" | "clock" | "crypto">, servers: string[], limits?: Limits) {
    this.servers = servers.map((s) => s.replace(/\/+$/, ""));
    this.limits = completeLimits(limits);
  }

  /** Index of the server that answered last; it is asked first. */
  answered(): number {
    return this.good;
  }

  /** Puts a server, of which an answer turned out to be wrong later, behind the others. */
  demote(at: number): void {
    if (this.servers.length > 0) this.good = (at + 1) % this.servers.length;
  }

  /**
   * Asks the servers in turn, the one that answered last first, and again after a random wait, until use takes an answer
   * (use throws to refuse it). A server that answers with wrong bytes is as bad as one that does not answer: the next may
   * be right. Rejects with a Refusal (network, server_error, timeout, or use's own) or with something isNotServed knows.
   */
  async ask(call: Call, use: (r: HttpResponse) => void | Promise<void>): Promise<void> {
    if (this.servers.length === 0) throw new Refusal("network", "request", "no server is set");
    let last: unknown;
    for (let round = 0; round < this.limits.rounds; round++) {
      if (round > 0) await this.pause(round, last, call.signal);
      let again = false;
      const first = this.good;
      for (let i = 0; i < this.servers.length; i++) {
        const at = (first + i) % this.servers.length;
        let err: unknown;
        try {
          await this.once(this.servers[at], call, use);
        } catch (e) {
          err = e;
        }
        if (err === undefined || isNotServed(err)) this.good = at; // it answers
        if (err === undefined) return;
        if (call.signal && call.signal.aborted) throw new Refusal("timeout", "request", messageOf(why(call.signal)), [err, why(call.signal)]);
        again = again || retryable(err);
        last = worse(last, err);
      }
      if (!again || call.once || isNotServed(last) || retryAfter(last) > maxWaitInline) break;
    }
    throw last;
  }

  /** Asks for one small document of at most limit bytes, until accept takes what a server says. body makes it a POST of JSON. */
  document(path: string, limit: number, accept: (raw: Uint8Array) => void | Promise<void>, more: Pick<Call, "body" | "once" | "signal"> = {}): Promise<void> {
    return this.ask({ path, limit, ...more }, (r) => accept(r.body));
  }

  /** Longest time in ms that an object of size bytes may take. */
  deadline(size: number): number {
    return this.limits.download + Math.floor(size / this.limits.minRate) * 1000;
  }

  /**
   * Watches a download: stop stops when fewer than minRate bytes a second come in over a window, where the host hands on
   * what comes as it comes, and when the time that size allows has passed. end ends the watch.
   */
  pace(size: number, parent?: AbortLike): { stop: Stop; count(n: number): void; end(): void } {
    const { clock, http } = this.host, { window, minRate } = this.limits, began = clock.now(), deadline = this.deadline(size);
    const [stop, unlink] = Stop.under(parent);
    let got = 0, before = 0, spent = 0, cancel = () => undefined as void;
    const watch = () => {
      const step = http.streams ? Math.min(window, Math.max(deadline - spent, 1)) : deadline;
      cancel = clock.after(step, () => {
        spent = Math.max(spent + step, clock.now() - began);
        const slow = http.streams && step === window && got - before < minRate * window / 1000;
        if (slow || spent >= deadline) return stop.abort(new Refusal("timeout", "download", "slower than the minimum rate"));
        before = got;
        watch();
      });
    };
    watch();
    return { stop, count: (n) => void (got += n), end: () => (cancel(), unlink()) };
  }

  private async once(server: string, call: Call, use: (r: HttpResponse) => void | Promise<void>): Promise<void> {
    const { http } = this.host, { stream } = call, accept = call.accept || [200];
    const headers: Record<string, string> = { ...(call.headers ? await call.headers() : {}), "accept-encoding": "identity" };
    if (call.body) headers["content-type"] = "application/json";
    let own: { error: unknown } | undefined, wanted: boolean | undefined, over = false;
    const mine = async (work: () => void | Promise<void>) => {
      // A platform that cannot end a request hands its bytes on for as long as they come, into what the next answer brings.
      if (over) throw new Refusal("timeout", "request", "it was given up before");
      try {
        await work();
      } catch (error) {
        own = { error };
        throw error;
      }
    };
    let r: HttpResponse;
    try {
      r = await http.request({
        method: call.body ? "POST" : "GET", url: server + call.path, headers, body: call.body, signal: call.signal,
        limit: call.limit + 1, timeout: stream ? stream.ms : this.limits.document,
        ...(stream ? {
          onHead: (h: HttpHead) => mine(async () => {
            wanted = accept.indexOf(h.status) >= 0;
            if (wanted) await stream.head(h);
          }),
          onBytes: (b: Uint8Array) => mine(async () => {
            if (wanted === undefined) throw new Refusal("host_incapable", "host", "it hands on bytes before it says what they are");
            if (wanted) await stream.bytes(b);
          }),
        } : {}),
      });
    } catch (e) {
      if (own) throw own.error;
      if (e instanceof Refusal && e.reason === "too_large") throw e; // the host saw it before it was here
      throw new Refusal("network", "request", messageOf(e), e);
    } finally {
      over = true;
    }
    if (accept.indexOf(r.status) < 0) throw this.unwanted(call.path, r);
    if (stream && wanted === undefined) await stream.head(r); // a body without a byte
    if (!stream && r.body.length > call.limit) throw new Refusal("too_large", call.path, `more than ${call.limit} bytes`);
    await use(r);
  }

  private unwanted(path: string, r: HttpResponse): Error {
    if (r.status === 404) return new Refusal("internal", path, "it is not there", new NotServed(path));
    if (r.status === 429 || r.status >= 500) {
      return new Refusal("server_error", path, `status ${r.status}`, new Busy(r.status, this.readRetryAfter(r.headers["retry-after"] || "")));
    }
    return new Refusal("internal", path, `status ${r.status}`, new StatusError(r.status));
  }

  /** Reads seconds or an HTTP date (RFC 9110 §10.2.3). */
  private readRetryAfter(v: string): number {
    const ms = /^\d{1,9}$/.test(v) ? Number(v) * 1000 : /[A-Za-z]{3}/.test(v) ? Date.parse(v) - this.host.clock.now() : 0;
    return Math.min(Math.max(isNaN(ms) ? 0 : ms, 0), maxRetryAfter);
  }

  /** Waits between two rounds: full jitter under a doubling bound, but never less than the servers asked for. */
  private async pause(round: number, last: unknown, signal?: AbortLike): Promise<void> {
    const bound = Math.min(this.limits.backoff * 2 ** (round - 1), maxBackoff);
    try {
      await sleep(this.host.clock, Math.max(jitter((n) => this.host.crypto.random(n), bound), retryAfter(last)), signal);
    } catch (e) {
      throw several("request", [last, e]);
    }
  }
}

/** Reads an answer that nobody signed; what it says is checked by whoever uses it. */
export function decodeAnswer<T>(raw: Uint8Array, what: string, shape: Shape): T {
  return guarded(what, () => shape(parseStrict(raw)) as T);
}

/** Whether a newer root may make a refused document good. */
export function asksForRoots(err: unknown): boolean {
  const reason = reasonOf(err, "");
  return reason === "signature_invalid" || reason === "expired_root";
}

export function retryable(err: unknown): boolean {
  const reason = reasonOf(err, "");
  return reason === "network" || reason === "server_error" || reason === "timeout";
}

/** Keeps the error that tells more: "not there" over silence, a refusal of bytes over both, and over all a signature that a newer root may explain. */
function worse(a: unknown, b: unknown): unknown {
  const rank = (e: unknown) => e === undefined ? 0 : reasonOf(e, "") === "network" ? 1 : isNotServed(e) ? 2 : asksForRoots(e) ? 4 : 3;
  return rank(a) > rank(b) ? a : b;
}
