// Ending what takes time: an AbortController for hosts that have none, and waiting by the host's clock.
import type { AbortLike, Clock } from "../host.js";
import { Ended } from "./failure.js";

/** Something that can be told to stop, once. */
export class Stop implements AbortLike {
  aborted = false;
  /** Why; set when aborted. */
  reason: unknown;
  private listeners: (() => void)[] = [];

  abort(reason: unknown = new Ended("given up")): void {
    if (this.aborted) return;
    this.aborted = true;
    this.reason = reason;
    const listeners = this.listeners;
    this.listeners = [];
    for (const l of listeners) l();
  }

  addEventListener(_: "abort", listener: () => void): void {
    this.listeners.push(listener);
  }

  removeEventListener(_: "abort", listener: () => void): void {
    this.listeners = this.listeners.filter((l) => l !== listener);
  }

  /** A new one that stops when parent stops; call the second answer when it is done with. */
  static under(parent?: AbortLike): [Stop, () => void] {
    const stop = new Stop();
    if (!parent) return [stop, () => undefined];
    const follow = () => stop.abort(why(parent));
    if (parent.aborted) follow();
    else parent.addEventListener("abort", follow);
    return [stop, () => parent.removeEventListener("abort", follow)];
  }

  /** As under, and stops with reason after ms. */
  static after(clock: Clock, ms: number, reason: unknown, parent?: AbortLike): [Stop, () => void] {
    const [stop, unlink] = Stop.under(parent);
    const cancel = clock.after(ms, () => stop.abort(reason));
    return [stop, () => (cancel(), unlink())];
  }
}

/** Why a signal stopped. */
export function why(signal: AbortLike): unknown {
  const { reason } = signal as { reason?: unknown };
  return reason === undefined ? new Ended("given up") : reason;
}

/** Throws why when signal stopped. */
export function check(signal?: AbortLike): void {
  if (signal && signal.aborted) throw why(signal);
}

/** Waits ms by the host's clock; rejects with why as soon as signal stops. */
export function sleep(clock: Clock, ms: number, signal?: AbortLike): Promise<void> {
  return new Promise((done, failed) => {
    if (signal && signal.aborted) return failed(why(signal));
    if (ms <= 0) return done();
    const stopped = () => {
      cancel();
      failed(why(signal!));
    };
    const cancel = clock.after(ms, () => {
      if (signal) signal.removeEventListener("abort", stopped);
      done();
    });
    if (signal) signal.addEventListener("abort", stopped);
  });
}
