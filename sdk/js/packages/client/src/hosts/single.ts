// Parts that hosts share: a lock inside one JavaScript context, the clock, and random bytes drawn from few good ones.
import { directoryLock, type Clock, type Crypto, type Locks } from "../host.js";

/** For platforms where one context at a time runs the app: nothing else can hold the directory. taken is called when that is held. */
export function contextLocks(taken?: () => Promise<void>): Locks {
  const held = new Set<string>();
  return {
    async tryLock(name) {
      if (held.has(name)) return undefined;
      held.add(name);
      try {
        if (name === directoryLock) await taken?.();
      } catch (e) {
        held.delete(name);
        throw e;
      }
      return {
        release: async () => {
          held.delete(name);
        },
      };
    },
  };
}

/** The timers of the platform. Longer waits than a timer can hold are cut into several. */
export function timerClock(timers: { setTimeout(then: () => void, ms: number): unknown; clearTimeout(id: never): void }): Clock {
  const longest = 0x7fffffff;
  return {
    now: () => Date.now(),
    after(ms, then) {
      let id: unknown;
      const wait = (left: number) => {
        const step = Math.min(Math.max(left, 0), longest);
        id = timers.setTimeout(() => (left > longest ? wait(left - longest) : then()), step);
      };
      wait(ms);
      return () => timers.clearTimeout(id as never);
    },
  };
}

/** Random bytes for a platform that gives them only later: a seed of 32 bytes stretched by SHA-256, counter by counter. */
export function stretched(sha256: Crypto["sha256"], seed: Uint8Array): (length: number) => Uint8Array {
  if (seed.length < 32) throw new Error("random bytes need a seed of 32 bytes");
  let counter = 0;
  return (length) => {
    const out = new Uint8Array(length);
    for (let at = 0; at < length; at += 32) {
      const hash = sha256();
      counter++;
      hash.update(seed);
      hash.update(Uint8Array.of(counter & 255, (counter >>> 8) & 255, (counter >>> 16) & 255, counter >>> 24));
      out.set(hash.digest().subarray(0, Math.min(32, length - at)), at);
    }
    return out;
  };
}
