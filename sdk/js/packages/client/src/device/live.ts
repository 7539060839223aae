// Listens for changes of a channel: the device's end of GET /v1/live, an extra. Whatever goes wrong is waited out in
// silence, longer and longer, and the device polls as it would without. What a server says here is never trusted: it only
// makes the device look sooner.
import type { Host } from "../host.js";
import { messageOf } from "./failure.js";
import { sleep, Stop } from "./stop.js";
import { jitter } from "./transport.js";

/** Times in ms. */
const answerTime = 30_000; // for the head of an answer
const silence = 90_000; // without a byte, after which a connection is dead: servers beat at least every 30 s
const firstWait = 5_000;
const longest = 600_000;
const notHere = 3600_000; // where a server has no live connections
const settled = 60_000;
const breath = 1_000; // between two events that are acted on
const maxLine = 4 << 10;
const day = 24 * 3600_000;

export interface LiveOptions {
  host: Pick<Host, "http" | "clock" | "crypto" | "name">;
  /** Base URLs without a slash at the end, tried in turn. */
  servers: readonly string[];
  app: string;
  channel: string;
  /** The newest that is known, so that a server need not tell it. */
  epoch(): number;
  log?(text: string, error?: unknown): void;
}

/** An answer that is no stream. */
class NoStream extends Error {
  constructor(readonly status: number, readonly after: number) {
    super(`status ${status}`);
  }
}

/**
 * Calls changed with the data of every event that tells of a change, until the answer is called. Where the host cannot hold
 * a connection open it does nothing and says so in log.
 */
export function listen(o: LiveOptions, changed: (data: string) => void): () => void {
  const log = o.log || (() => undefined);
  if (!o.host.http.streams) {
    log(`live: the ${o.host.name} host cannot hold a connection open; changes are found by polling`);
    return () => undefined;
  }
  const stop = new Stop();
  if (o.servers.length > 0) new Listener(o, changed, stop).run().catch((e) => log("live: ended", e));
  return () => stop.abort();
}

class Listener {
  private retry = firstWait; // what the server wants as the first wait
  private readonly random: (n: number) => Uint8Array;

  constructor(private readonly o: LiveOptions, private readonly changed: (data: string) => void, private readonly stop: Stop) {
    this.random = (n) => o.host.crypto.random(n);
  }

  async run(): Promise<void> {
    const { host: { clock }, servers, log } = this.o;
    let failures = 0;
    for (let at = 0; !this.stop.aborted; at = (at + 1) % servers.length) {
      const began = clock.now();
      const err = await this.once(servers[at]).then(() => undefined, (e: unknown) => e);
      if (this.stop.aborted) return;
      if (clock.now() - began >= settled) failures = 0;
      const wait = this.wait(err, failures++);
      if (log) log(`no live connection to ${servers[at]}; the next attempt is in ${Math.round(wait / 1000)} s: ${err === undefined ? "it ended" : messageOf(err)}`);
      await sleep(clock, wait, this.stop).catch(() => undefined);
    }
  }

  /** ms until the next attempt: full jitter under a bound that doubles, and never less than was asked for. */
  private wait(err: unknown, failures: number): number {
    if (err instanceof NoStream) {
      if (err.after > 0) return err.after + jitter(this.random, err.after / 2);
      if (err.status < 500 && err.status !== 429) return notHere / 2 + jitter(this.random, notHere);
    }
    return jitter(this.random, Math.min(this.retry * 2 ** Math.min(failures, 10), Math.max(longest, this.retry)));
  }

  /** Listens on one connection until it ends. */
  private async once(server: string): Promise<void> {
    const { host: { http, clock }, app, channel } = this.o, epoch = this.o.epoch();
    const [stop, unlink] = Stop.under(this.stop), events = new EventStream();
    let cancel = () => undefined as void, refused: NoStream | undefined;
    const watch = (ms: number) => {
      cancel();
      cancel = clock.after(ms, () => stop.abort(new Error("nothing was heard for too long")));
    };
    watch(answerTime);
    try {
      await http.request({
        method: "GET", signal: stop, limit: Number.MAX_SAFE_INTEGER, timeout: day,
        url: `${server}/v1/live?app=${encodeURIComponent(app)}&channel=${encodeURIComponent(channel)}${epoch > 0 ? `&epoch=${epoch}` : ""}`,
        headers: { accept: "text/event-stream", "accept-encoding": "identity" },
        onHead: (h) => {
          watch(silence);
          if (h.status === 200) return;
          const after = h.headers["retry-after"] || "";
          throw refused = new NoStream(h.status, /^\d{1,9}$/.test(after) ? Math.min(Number(after) * 1000, day) : 0);
        },
        onBytes: async (b) => {
          watch(silence);
          for (const e of events.take(b)) {
            if (e.retry > 0) this.retry = Math.min(Math.max(e.retry, 1000), longest);
            if (e.name !== "changed" || e.data === "") continue;
            this.changed(e.data);
            // Events that come faster are read as slowly: whoever sends them can only fill its own buffers.
            cancel();
            await sleep(clock, breath, stop);
            watch(silence);
          }
        },
      });
    } catch (e) {
      throw refused || (stop.aborted ? stop.reason : e);
    } finally {
      cancel();
      unlink();
    }
  }
}

/** One of a stream; only a retry has neither name nor data. */
interface StreamEvent {
  name: string;
  data: string;
  retry: number;
}

/** Reads a stream of events (https://html.spec.whatwg.org/multipage/server-sent-events.html), of texts in ASCII. */
export class EventStream {
  private line = "";
  private event: StreamEvent = { name: "", data: "", retry: 0 };
  private begun = false;

  /** The events that end in b. A line or an event that is too long throws. */
  take(b: Uint8Array): StreamEvent[] {
    const out: StreamEvent[] = [];
    for (let i = 0; i < b.length; i++) {
      if (b[i] !== 10) {
        if (this.line.length >= maxLine) throw new Error("a line is too long");
        this.line += String.fromCharCode(b[i]);
        continue;
      }
      const line = this.line.replace(/\r$/, "");
      this.line = "";
      if (line !== "") this.field(line);
      else if (this.begun) {
        out.push(this.event);
        this.event = { name: "", data: "", retry: 0 };
        this.begun = false;
      }
    }
    return out;
  }

  private field(line: string): void {
    const colon = line.indexOf(":"), name = colon < 0 ? line : line.slice(0, colon);
    if (name === "") return; // a comment
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, ""), e = this.event;
    this.begun = true;
    if (name === "event") e.name = value;
    else if (name === "retry" && /^\d{1,9}$/.test(value)) e.retry = Number(value);
    else if (name === "data") {
      if (e.data.length + value.length >= maxLine) throw new Error("an event is too long");
      e.data += e.data === "" ? value : "\n" + value;
    }
  }
}
