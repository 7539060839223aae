// React Native's native side calls without waiting, and a shell that can read and evaluate at once should be able to
// answer at once: these steps run on the spot when nothing has to be waited for.
export type MaybePromise<T> = T | Promise<T>;

function isPromise<T>(value: MaybePromise<T>): value is Promise<T> {
  return typeof value === "object" && value !== null && typeof (value as Promise<T>).then === "function";
}

/** then, and failed for an error of either step, at once or when the value is there. */
export function each<A, B>(value: MaybePromise<A> | (() => MaybePromise<A>), then: (value: A) => MaybePromise<B>, failed?: (error: unknown) => never): MaybePromise<B> {
  try {
    const now = typeof value === "function" ? (value as () => MaybePromise<A>)() : value;
    if (isPromise(now)) {
      const next = now.then(then);
      return failed ? next.catch(failed) : next;
    }
    const next = then(now);
    return failed && isPromise(next) ? next.catch(failed) : next;
  } catch (error) {
    if (failed) return failed(error);
    throw error;
  }
}
