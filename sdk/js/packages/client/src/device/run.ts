// Keeps the packages up to date: at once, then at the interval that the options or else the server sets, and on every wake.
// Reports go out as they come up.
import type { Device } from "./device.js";
import { listen } from "./live.js";
import { flush } from "./reports.js";
import { Stop } from "./stop.js";
import { jitter, retryAfter } from "./transport.js";
import { attempt, offerNow, type Attempt } from "./update.js";

/** Longest random wait in ms that a push may ask for. */
const maxSpread = 3600e3;

/** Runs until the answer is called or the client is closed. Once at a time. */
export function run(d: Device): () => void {
  if (d.runs) throw new Error("run: it runs already; call what the first call gave before the second one");
  const [stop, unlink] = Stop.under(d.behind);
  d.runs = true;
  const deaf = d.o.live ? listen({ host: d.o.host, servers: d.net.servers, app: d.o.app, channel: d.channel,
    epoch: () => d.seen().epoch || 0, log: (text, e) => d.log(text, e) }, (data) => wake(d, data)) : () => undefined;
  loop(d, stop).catch((e) => d.ending(e) || stop.aborted || d.log("the loop ended", e));
  return () => {
    if (stop.aborted) return;
    deaf();
    unlink();
    stop.abort();
    d.runs = false;
  };
}

async function loop(d: Device, stop: Stop): Promise<void> {
  for (let failures = 0; !stop.aborted;) {
    const tried = await attempt(d, d.o.packages, stop);
    if (stop.aborted) return;
    // A question that stays open holds up no check.
    if (tried.out && tried.out.staged.length > 0) void offerNow(d, tried.out.staged);
    if (tried.err !== undefined) d.log("update", tried.err);
    failures = tried.out ? 0 : failures + 1;
    await flush(d, stop);
    await rest(d, wait(d, tried, failures), stop);
  }
}

/** ms until the next check. A failed one is repeated sooner, with a growing random wait, but never sooner than a server asked for. */
function wait(d: Device, { out, err }: Attempt, failures: number): number {
  if (out) return out.next;
  const bound = Math.min(5e3 * 2 ** Math.min(failures, 10), d.o.poll || 900e3);
  return Math.max(bound / 2 + jitter((n) => d.o.host.crypto.random(n), bound / 2), retryAfter(err));
}

/** Waits, and sends reports meanwhile. A wake ends the wait, after a random time. */
function rest(d: Device, ms: number, stop: Stop): Promise<void> {
  const { clock } = d.o.host;
  return new Promise((done) => {
    let cancel = () => undefined as void, woken = false;
    const over = () => {
      cancel();
      stop.removeEventListener("abort", over);
      d.onTold = d.onWake = undefined;
      done();
    };
    if (stop.aborted) return done();
    stop.addEventListener("abort", over);
    cancel = clock.after(ms, over);
    d.onTold = () => void flush(d, stop);
    d.onWake = (spread) => {
      if (woken) return; // a check is coming already
      woken = true;
      cancel();
      cancel = clock.after(jitter((n) => d.o.host.crypto.random(n), spread), over);
    };
    if (d.woken !== undefined) {
      const spread = d.woken;
      d.woken = undefined;
      d.onWake(spread);
    }
  });
}

/**
 * Makes run check soon, whatever kind of push the host has. The payload may be JSON: "spread" is the longest random wait in
 * seconds, 0 for none; "epoch" is ignored when it is known already. Anything else means: something changed. A fleet that is
 * woken by one message does not come all at once.
 */
export function wake(d: Device, payload: string): void {
  let { spread } = d.o, p: { spread?: unknown; epoch?: unknown } | undefined;
  try {
    p = JSON.parse(payload) as typeof p;
  } catch (e) {
    // Something changed; more is not said.
  }
  if (typeof p === "object" && p) {
    if (typeof p.spread === "number") spread = Math.min(Math.max(p.spread * 1000, 0), maxSpread);
    if (typeof p.epoch === "number" && p.epoch !== 0 && p.epoch <= (d.seen().epoch || 0)) return;
  }
  if (d.onWake) d.onWake(spread);
  else d.woken = spread; // kept for when the check under way is over
}
