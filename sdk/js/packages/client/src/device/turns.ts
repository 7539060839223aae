// One at a time, in the order of asking.
import type { AbortLike } from "../host.js";
import { why } from "./stop.js";

export class Turns {
  private last: Promise<unknown> = Promise.resolve();

  /** Runs work when nobody before it works any more. Who stops waiting before its turn gets why, and work never runs. */
  run<T>(work: () => Promise<T> | T, signal?: AbortLike): Promise<T> {
    let stopped = () => undefined as void, begun = false;
    const turn = this.last.then(() => {
      if (signal && signal.aborted) throw why(signal);
      begun = true;
      return work();
    });
    this.last = turn.catch(() => undefined);
    if (!signal) return turn;
    const given = new Promise<T>((_, failed) => {
      stopped = () => { if (!begun) failed(why(signal)); };
      signal.addEventListener("abort", stopped);
    });
    const clean = () => signal.removeEventListener("abort", stopped);
    turn.then(clean, clean);
    return Promise.race([turn, given]);
  }
}
