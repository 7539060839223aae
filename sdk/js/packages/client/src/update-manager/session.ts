// The life of a mini-program: foreground, background, destroyed. A cold start uses what is staged; a hot start goes on with
// what runs, whatever is staged.
import type { Clock } from "../host.js";
import type { LaunchLike, StartingClient } from "./client.js";

export interface SessionOptions<L extends LaunchLike> {
  client: StartingClient<L>;
  clock: Clock;
  /** Only this package lives here; others, as settings, are opened and tried on their own. Default: the whole app. */
  package?: string;
  /** ms that it may stay in the background; default 5 min. */
  background?: number;
  /**
   * Runs what the launch names: called at every cold start, before the user sees it. When it throws, that is a crash of the
   * release: one on trial is started anew until it is left, after that open and restart throw.
   */
  run(launch: L): void | Promise<void>;
  /** Takes off the screen and out of memory what ran; nothing may go on in it. */
  destroyed?(why: "background" | "memory" | "host"): void | Promise<void>;
  /** What a platform tells by itself, as miniProgramHost does. */
  platform?: { lifecycle(on: { hide(): void; show(): void; memoryWarning(): void }): void };
  log?(text: string, error?: unknown): void;
}

export interface Session<L extends LaunchLike> {
  readonly state: "closed" | "foreground" | "background" | "destroyed";
  /** What runs; undefined while nothing does. */
  readonly launch: L | undefined;
  /** The user opens it. hot: it was alive and goes on; else this is a cold start. */
  open(): Promise<{ launch: L; hot: boolean }>;
  /** The user leaves it: it lives on until the limit. */
  hide(): void;
  /** The phone runs out of memory: one in the background is destroyed, one that is seen goes on. */
  memoryWarning(): Promise<void>;
  /** The host ends it. */
  destroy(): Promise<void>;
  /** A cold start now, as applyUpdate wants it. */
  restart(): Promise<{ launch: L; hot: boolean }>;
}

/** More than any number of crashes that ends a trial. */
const TRIES = 12;

export function session<L extends LaunchLike>(options: SessionOptions<L>): Session<L> {
  const s = new Life(options);
  const quietly = (what: Promise<unknown>) => void what.catch((e: unknown) => options.log?.("the session could not go on", e));
  options.platform?.lifecycle({ hide: () => s.hide(), show: () => quietly(s.open()), memoryWarning: () => quietly(s.memoryWarning()) });
  return s;
}

class Life<L extends LaunchLike> implements Session<L> {
  state: Session<L>["state"] = "closed";
  launch: L | undefined;
  private hidden = 0;
  private cancel: () => void = () => undefined;
  private turn: Promise<unknown> = Promise.resolve();

  constructor(private readonly options: SessionOptions<L>) {}

  open(): Promise<{ launch: L; hot: boolean }> {
    return this.inTurn(async () => {
      this.cancel();
      // Timers sleep with the phone: the clock decides, not whether the timer came.
      if (this.state === "background" && this.options.clock.now() - this.hidden >= this.limit()) await this.end("background");
      if (this.launch && (this.state === "background" || this.state === "foreground")) {
        this.state = "foreground";
        return { launch: this.launch, hot: true };
      }
      return this.cold();
    });
  }

  hide(): void {
    if (this.state !== "foreground") return;
    this.state = "background";
    const since = (this.hidden = this.options.clock.now());
    this.cancel = this.options.clock.after(this.limit(), () => {
      void this.inTurn(async () => {
        if (this.state === "background" && this.hidden === since) await this.end("background");
      }).catch((e: unknown) => this.options.log?.("the session could not be ended", e));
    });
  }

  memoryWarning(): Promise<void> {
    return this.inTurn(async () => {
      if (this.state === "background") await this.end("memory");
    });
  }

  destroy(): Promise<void> {
    return this.inTurn(() => this.end("host"));
  }

  restart(): Promise<{ launch: L; hot: boolean }> {
    return this.inTurn(async () => {
      await this.end("host");
      return this.cold();
    });
  }

  private limit(): number {
    return this.options.background ?? 5 * 60 * 1000;
  }

  private async cold(): Promise<{ launch: L; hot: boolean }> {
    const { client, package: pkg, log } = this.options;
    for (let tries = 1; ; tries++) {
      const launch = pkg === undefined ? await client.start() : (await client.page(pkg)).launch;
      this.launch = launch;
      this.state = "foreground";
      try {
        await this.options.run(launch);
        return { launch, hot: false };
      } catch (e) {
        this.launch = undefined;
        this.state = "destroyed";
        await launch.crash(String((e as Error).message ?? e)).catch((unkept: unknown) => log?.("that a release did not come up is not kept", unkept));
        // The user waits: a release on trial is left after its crashes, and what was good before runs.
        if (!launch.trial || tries === TRIES) throw e;
        log?.("a release on trial did not come up", e);
      }
    }
  }

  private async end(why: "background" | "memory" | "host"): Promise<void> {
    this.cancel();
    const { launch } = this;
    if (!launch) return;
    this.launch = undefined;
    this.state = "destroyed";
    await this.options.destroyed?.(why);
    await launch.close();
  }

  /** One thing at a time: a phone can warn while the user opens. */
  private inTurn<T>(what: () => Promise<T>): Promise<T> {
    const next = this.turn.then(what, what);
    this.turn = next.catch(() => undefined);
    return next;
  }
}
