// One start of a release in a frame of the shell page, and what came of it. Frame and shell share an origin, so the shell
// hears the frame's uncaught errors; what it cannot hear ends in the watchdog.

export interface FrameEvent {
  type: string;
  target?: unknown;
  message?: unknown;
  filename?: unknown;
  lineno?: unknown;
  reason?: unknown;
}

interface Listens {
  addEventListener(type: string, listener: (event: never) => void, capture?: boolean): void;
  removeEventListener(type: string, listener: (event: never) => void, capture?: boolean): void;
}

interface Body {
  innerText?: string;
  querySelector(selectors: string): unknown;
}

/** The parts of a frame that are used. */
export interface Frame extends Listens {
  src: string;
  remove(): void;
  readonly contentWindow: unknown;
  readonly contentDocument: unknown;
}

/** The parts of the shell page's window that are used; give globalThis. */
export interface ShellWindow extends Listens {
  document: { createElement(name: "iframe"): Frame };
  location: { href: string; origin: string };
  setTimeout(then: () => void, ms: number): unknown;
  clearTimeout(id: never): void;
}

/** The element that the page fills. */
export interface Slot {
  replaceChildren(...frames: never[]): void;
}

/** How a start went. detail is for reports: the uncaught error, or what the watchdog waited for. */
export interface Outcome {
  kind: "confirmed" | "crashed" | "hung";
  detail: string;
}

export interface Rules {
  /** "told": the page says so by confirm() of "slipstream-client/web/page". "shown": it has loaded, shows something, and nothing in it has failed for settle ms. */
  confirm: "told" | "shown";
  settle: number;
  watchdog: number;
}

/** What frames say to the shell. */
export interface Message {
  slipstream: "confirm" | "crash";
  detail?: string;
}

const VISIBLE = "img,svg,canvas,video,iframe,input,button,select,textarea";

/** Opens url in a new frame and watches it until it works, fails, or the watchdog's time is over. The frame stays. */
export function startInFrame(window: ShellWindow, into: Slot, url: string, rules: Rules): Promise<Outcome & { frame: Frame }> {
  const frame = window.document.createElement("iframe");
  frame.src = url;
  into.replaceChildren(frame as never);
  return new Promise((done) => {
    const watch = new Watch(window, frame, rules, (outcome) => done({ ...outcome, frame }));
    watch.begin();
  });
}

class Watch {
  private heard?: Listens;
  private loaded = false;
  private settling: unknown;
  private over = false;
  private readonly dog: unknown;

  constructor(private readonly window: ShellWindow, private readonly frame: Frame, private readonly rules: Rules, private readonly done: (o: Outcome) => void) {
    this.dog = window.setTimeout(() => this.end("hung", this.waited()), rules.watchdog);
  }

  begin(): void {
    this.window.addEventListener("message", this.onMessage);
    this.frame.addEventListener("load", this.onLoad);
    // The first document of a frame lends its window to the page that comes, so nothing that the page throws is missed.
    this.listen();
  }

  /** Listens to the window that is in the frame now. */
  private listen(): void {
    const inside = this.frame.contentWindow as Listens | null;
    if (!inside || inside === this.heard) return;
    this.heard = inside;
    try {
      inside.addEventListener("error", this.onError, true);
      inside.addEventListener("unhandledrejection", this.onError, true);
    } catch (e) {
      this.end("crashed", "the page went to another origin");
    }
  }

  private readonly onError = (e: FrameEvent): void => {
    const what = failure(e, this.window.location.origin);
    if (what !== undefined) this.end("crashed", what);
  };

  private readonly onMessage = (e: { source?: unknown; origin?: string; data?: unknown }): void => {
    if (e.source !== this.frame.contentWindow || e.origin !== this.window.location.origin) return;
    const m = e.data as Partial<Message> | null;
    if (!m || typeof m !== "object") return;
    if (m.slipstream === "crash") this.end("crashed", String(m.detail ?? "the page says so"));
    if (m.slipstream === "confirm") this.end("confirmed", "");
  };

  private readonly onLoad = (): void => {
    this.listen();
    if (this.over) return;
    const document = this.frame.contentDocument as { contentType?: string } | null;
    if (!document) return this.end("crashed", "the page went to another origin");
    // The service worker's own answers, such as that there is no such file, are plain text.
    if (document.contentType === "text/plain") return this.end("crashed", "the release has no such page");
    const lost = missing(this.heard, this.window.location.origin);
    if (lost !== undefined) return this.end("crashed", lost);
    this.loaded = true;
    if (this.rules.confirm === "shown") this.settle();
  };

  /** Confirms when the page has shown something for long enough. */
  private settle(): void {
    this.window.clearTimeout(this.settling as never);
    this.settling = this.window.setTimeout(() => (this.shows() ? this.end("confirmed", "") : this.settle()), this.rules.settle);
  }

  private shows(): boolean {
    const body = (this.frame.contentDocument as { body?: Body | null } | null)?.body;
    return !!body && ((body.innerText ?? "").trim() !== "" || body.querySelector(VISIBLE) !== null);
  }

  private waited(): string {
    const ms = `within ${this.rules.watchdog} ms`;
    if (!this.loaded) return `the page did not load ${ms}`;
    return this.rules.confirm === "told" ? `the page did not confirm ${ms}` : `the page showed nothing ${ms}`;
  }

  private end(kind: Outcome["kind"], detail: string): void {
    if (this.over) return;
    this.over = true;
    this.window.clearTimeout(this.dog as never);
    this.window.clearTimeout(this.settling as never);
    this.window.removeEventListener("message", this.onMessage);
    this.frame.removeEventListener("load", this.onLoad);
    try {
      this.heard?.removeEventListener("error", this.onError, true);
      this.heard?.removeEventListener("unhandledrejection", this.onError, true);
    } catch (e) {
      // The window is another origin's by now.
    }
    this.done({ kind, detail: detail.slice(0, 500) }); // a report takes 2 KB
  }
}

/** What an error event means for the release; undefined when it is none of its faults. */
function failure(e: FrameEvent, origin: string): string | undefined {
  if (e.type === "unhandledrejection") return "unhandled rejection: " + say(e.reason);
  const part = e.target as { tagName?: string; src?: string; href?: string; rel?: string } | null | undefined;
  if (part && part.tagName) {
    const url = part.tagName === "SCRIPT" ? part.src : part.tagName === "LINK" && part.rel === "stylesheet" ? part.href : undefined;
    return url && url.startsWith(origin + "/") ? unloaded(url, origin) : undefined;
  }
  const text = String(e.message ?? "");
  // Browsers say this of a layout that takes more than one frame. Scripts of other origins fail without saying how.
  if (text.startsWith("ResizeObserver loop") || !String(e.filename ?? "").startsWith(origin + "/")) return undefined;
  return `${text} (${near(String(e.filename), origin)}:${String(e.lineno)})`;
}

/** A script or style that the page asked for in vain. A browser may tell of it before it knows that somebody listens. */
function missing(inside: Listens | undefined, origin: string): string | undefined {
  const { performance } = (inside ?? {}) as { performance?: { getEntriesByType?(type: string): { name: string; initiatorType?: string; responseStatus?: number }[] } };
  for (const e of performance?.getEntriesByType?.("resource") ?? []) {
    const needed = e.initiatorType === "script" || (e.initiatorType === "link" && /\.css($|[?#])/.test(e.name));
    if (needed && (e.responseStatus ?? 0) >= 400 && e.name.startsWith(origin + "/")) return unloaded(e.name, origin);
  }
  return undefined;
}

const unloaded = (url: string, origin: string) => `${near(url, origin)} could not be loaded`;

/** An address as reports of many devices should have it: within a release, its path there. */
const near = (url: string, origin: string) => url.slice(origin.length).replace(/^.*\/releases\/[0-9a-f]{64}\//, "");

function say(reason: unknown): string {
  const e = reason as { message?: unknown; name?: unknown } | null | undefined;
  return e && e.message !== undefined ? `${String(e.name ?? "Error")}: ${String(e.message)}` : String(reason);
}
