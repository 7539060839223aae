// Headless Chromium over its debugging pipe.
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable, Writable } from "node:stream";
import type { TestContext } from "node:test";

/** Nothing that works takes so long, however busy the machine. */
const PATIENCE = 60_000;

type Message = { id?: number; sessionId?: string; method?: string; params?: Record<string, unknown>; result?: unknown; error?: { message: string } };

export interface Tab {
  goto(url: string): Promise<void>;
  /** Runs the expression in the page, waits for its promise, and gives its value. */
  run<T>(expression: string): Promise<T>;
  /** Runs it again until it is true. */
  until(expression: string, ms?: number): Promise<void>;
  send(method: string, params?: Record<string, unknown>): Promise<unknown>;
  /** The page as PNG. */
  picture(): Promise<Uint8Array>;
  /** The renderer dies, as when the system kills a tab. */
  kill(): Promise<void>;
  close(): Promise<void>;
}

export interface Chromium {
  tab(): Promise<Tab>;
}

function find(): string | undefined {
  const names = process.env.CHROMIUM ? [process.env.CHROMIUM] : ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
  return names.find((n) => existsSync(n));
}

/** Undefined, and the test skipped by name, where there is no Chromium. */
export function chromium(t: TestContext): Chromium | undefined {
  const path = find();
  if (!path) {
    t.skip("MISSING: chromium");
    return undefined;
  }
  const profile = mkdtempSync(join(tmpdir(), "slipstream-chromium-"));
  const child = spawn(path, ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe", "--user-data-dir=" + profile, "about:blank"], {
    stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"],
    detached: true, // a process group of its own, so that its children end with it
  });
  const ended = new Promise((done) => child.once("exit", done));
  t.after(async () => {
    await Promise.race([connection.send("Browser.close").catch(() => undefined), ended, later(2000)]);
    await Promise.race([ended, later(2000)]);
    try {
      process.kill(-(child.pid as number), "SIGKILL");
    } catch {
      // every process of the group has ended by itself
    }
    await ended;
    await gone(profile);
  });
  const connection = new Connection(child.stdio[3] as Writable, child.stdio[4] as Readable);
  return {
    async tab() {
      const { targetId } = (await connection.send("Target.createTarget", { url: "about:blank" })) as { targetId: string };
      const { sessionId } = (await connection.send("Target.attachToTarget", { targetId, flatten: true })) as { sessionId: string };
      return new OpenTab(connection, targetId, sessionId);
    },
  };
}

const later = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms).unref());

/** Removes the profile: the last process of the browser may still write into it, so again until it works. */
async function gone(profile: string): Promise<void> {
  for (let left = 50; ; left--) {
    try {
      return await rm(profile, { recursive: true, force: true });
    } catch (e) {
      if (left === 0) throw e;
      await new Promise((done) => setTimeout(done, 100));
    }
  }
}

class Connection {
  private readonly waiting = new Map<number, { done(v: unknown): void; failed(e: Error): void }>();
  private readonly listening = new Set<{ method: string; session?: string; heard(params: Record<string, unknown>): void }>();
  private next = 1;
  private rest = "";

  constructor(private readonly to: Writable, from: Readable) {
    to.on("error", () => undefined);
    from.setEncoding("utf8").on("data", (text: string) => {
      const messages = (this.rest + text).split("\0");
      this.rest = messages.pop() ?? "";
      for (const m of messages) this.take(JSON.parse(m) as Message);
    });
  }

  send(method: string, params: Record<string, unknown> = {}, sessionId?: string): Promise<unknown> {
    const id = this.next++;
    this.to.write(JSON.stringify({ id, method, params, ...(sessionId ? { sessionId } : {}) }) + "\0");
    return new Promise((done, failed) => this.waiting.set(id, { done, failed: (e) => failed(new Error(`${method}: ${e.message}`)) }));
  }

  /** What the event, the next time that it comes, tells. */
  event(method: string, session?: string): Promise<Record<string, unknown>> {
    return new Promise((done, failed) => {
      const one = {
        method, session,
        heard: (params: Record<string, unknown>) => {
          clearTimeout(timer);
          this.listening.delete(one);
          done(params);
        },
      };
      const timer = setTimeout(() => {
        this.listening.delete(one);
        failed(new Error(`no ${method} came`));
      }, PATIENCE);
      this.listening.add(one);
    });
  }

  private take(m: Message): void {
    if (m.method) for (const l of [...this.listening]) if (l.method === m.method && l.session === m.sessionId) l.heard(m.params ?? {});
    const w = this.waiting.get(m.id ?? 0);
    if (!w) return;
    this.waiting.delete(m.id ?? 0);
    if (m.error) w.failed(new Error(m.error.message));
    else w.done(m.result);
  }
}

class OpenTab implements Tab {
  constructor(private readonly connection: Connection, private readonly target: string, private readonly session: string) {}

  send(method: string, params: Record<string, unknown> = {}): Promise<unknown> {
    return this.connection.send(method, params, this.session);
  }

  async goto(url: string): Promise<void> {
    await this.send("Page.enable");
    const { errorText } = (await this.send("Page.navigate", { url })) as { errorText?: string };
    if (errorText) throw new Error(`${url}: ${errorText}`);
    await this.until(`location.href.startsWith(${JSON.stringify(url.split("#")[0])}) && document.readyState === "complete"`);
  }

  async run<T>(expression: string): Promise<T> {
    const r = (await this.send("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true })) as {
      result: { value: T }; exceptionDetails?: { text: string; exception?: { description?: string } };
    };
    if (r.exceptionDetails) throw new Error(r.exceptionDetails.exception?.description ?? r.exceptionDetails.text);
    return r.result.value;
  }

  async until(expression: string, ms = PATIENCE): Promise<void> {
    let last: unknown;
    for (const end = Date.now() + ms; Date.now() < end; await new Promise((done) => setTimeout(done, 50))) {
      try {
        last = await this.run(expression);
        if (last === true) return;
      } catch (e) {
        last = e; // the page may be on its way to another one
      }
    }
    throw new Error(`never true: ${expression} (last ${String(last)})`);
  }

  async picture(): Promise<Uint8Array> {
    return Buffer.from(((await this.send("Page.captureScreenshot")) as { data: string }).data, "base64");
  }

  async kill(): Promise<void> {
    const crashed = this.connection.event("Inspector.targetCrashed", this.session);
    await this.send("Inspector.enable");
    void this.send("Page.crash").catch(() => undefined);
    await crashed;
    await this.close();
  }

  async close(): Promise<void> {
    await this.connection.send("Target.closeTarget", { targetId: this.target });
  }
}
