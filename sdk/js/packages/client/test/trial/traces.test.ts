// Plays the golden stories of a device: the same file that the state machine in Go is pinned to.
import { test } from "node:test";
import assert from "node:assert/strict";
import { NotFound } from "../../src/host.js";
import * as machine from "../../src/trial/machine.js";
import { anchorOf, blocks, fresh, held, running, stagedFor, type Env, type Evidence, type Happening, type Outcome, type Release, type TrialState } from "../../src/trial/state.js";
import { bare, dict, names, type Dict } from "../../src/words/dict.js";
import { Refusal } from "../../src/words/reasons.js";
import { vectors } from "../vectors.js";

interface Trace {
  name: string;
  rules: { maxCrashes?: number; retries?: number; retryAfterSeconds?: number };
  releases: Dict<Release>;
  embedded: Dict<string>;
  steps: { do: string; expect: string; events?: string[]; error?: string }[];
}

class Player {
  private state: TrialState;
  private shell = "1.0.0";
  private readonly env: Env;
  private readonly named = dict<string>();

  constructor(private readonly trace: Trace) {
    for (const name of names(trace.releases)) this.named[trace.releases[name].digest!] = name;
    const embedded = dict<Release>();
    for (const pkg of names(trace.embedded)) embedded[pkg] = { ...(trace.releases[trace.embedded[pkg]] ?? { seq: 0 }), embedded: true };
    const { maxCrashes, retries, retryAfterSeconds } = trace.rules;
    this.env = {
      now: 1_800_000_000_000, process: "p1", runtime: this.shell, embedded, fits: (r) => r?.range === "*" || r?.range === this.shell || !r,
      rules: { maxCrashes, retries, retryAfter: retryAfterSeconds && retryAfterSeconds * 1000 },
    };
    this.state = fresh("production", this.shell);
  }

  play(line: string): { events: Happening[]; error?: string } {
    try {
      const out = this.step(line.split(/\s+/));
      this.state = frozen(out.state);
      return { events: out.events };
    } catch (e) {
      if (e instanceof Refusal) return { events: [], error: e.reason };
      if (e instanceof NotFound) return { events: [], error: "not_found" };
      throw e;
    }
  }

  private step([verb, a = "", b = "", ...rest]: string[]): Outcome {
    const { state: s, env } = this, words = [a, b, ...rest].filter((w) => w), digest = (name: string) => this.trace.releases[name]?.digest ?? "";
    const still = (state: TrialState): Outcome => ({ state, events: [] });
    switch (verb) {
      case "stage": return machine.stage(s, env, this.set(words));
      case "start": return machine.coldStart(s, env, b ? { token: a, key: b, packages: words.slice(1) } : { token: a });
      case "confirm": return machine.confirm(s, env, a);
      case "end": return machine.end(s, env, a, b as Evidence);
      case "kill": return (env.process += "'"), still(s);
      case "wait": return (env.now += duration(a)), still(s);
      case "shell": return (this.shell = env.runtime = a), still(s);
      case "embed":
        for (const [pkg, r] of Object.entries(this.set(words))) env.embedded[pkg] = { ...r, embedded: true };
        return still(s);
      case "withdraw": return machine.leave(s, env, a, (r) => r.digest === digest(b), "withdrawn");
      case "rollback": return machine.rollBack(s, env, a, digest(b), "withdrawn");
      case "unstage": return still(machine.unstage(s, env, a));
      case "offer": return still(machine.offered(s, env, this.set(words)).state);
      case "raise":
        this.trace.releases[a] = { ...this.trace.releases[a], retry: (this.trace.releases[a].retry ?? 0) + 1 };
        return still(s);
      case "channel": return machine.changeChannel(s, env, a);
      case "adopt": return still(machine.adopt(s, env, a));
      case "enroll": return machine.enroll(s, env, a, b, rest[0] as "control");
      case "lose": return machine.lose(s, env, (d) => d === digest(a));
    }
    throw new Error(`unknown step ${verb}`);
  }

  private set(words: string[]): Dict<Release> {
    const out = dict<Release>();
    for (const w of words) {
      const [pkg, name] = w.split("=");
      out[pkg] = this.trace.releases[name];
    }
    return out;
  }

  /** Where the device stands, in one line. */
  position(): string {
    const { state: s, env } = this, name = (r: Release) => (r.embedded ? "embedded" : this.named[r.digest!]);
    const parts = names(env.embedded).map((pkg) => {
      let text = `${pkg}: runs ${name(running(s, env, pkg))}`;
      const staged = stagedFor(s, pkg), p = held(s, pkg);
      if (staged) text += `, staged ${name(staged)}`;
      if (p.history?.length) text += `, history ${p.history.map(name).join(" ")}`;
      text += `, anchor ${name(anchorOf(s, env, pkg))}`;
      if (p.crashes) text += `, ${p.crashes} bad starts`;
      for (const f of s.refusals ?? []) {
        if (f.package !== pkg) continue;
        const word = blocks(f, env.now) ? "refused" : f.retryAt ? "may retry" : "rests";
        text += `, ${word} ${this.named[f.digest]} after ${f.tries} (${f.reason})`;
      }
      return text;
    });
    if (s.trial) parts.push(`trial of ${names(s.trial.members).join("+")}: attempt ${s.trial.attempt}, points ${s.trial.points}`);
    return parts.join("; ");
  }

  tell(events: Happening[]): string[] {
    const name = (d: string | undefined) => this.named[d ?? ""] ?? "embedded";
    return events.map((e) => {
      let text = `${e.kind} ${e.package} ${name(e.release)}`;
      if (e.kind === "rolled_back") text += ` → ${name(e.running)}`;
      if (e.arm) text += ` (${e.arm})`;
      return e.reason ? `${text}: ${e.reason}` : text;
    });
  }

  /** The state as a device would read it again. */
  reload(): void {
    this.state = bare(JSON.parse(JSON.stringify(this.state))) as TrialState;
  }
}

/** A transition that changed a state it was given would throw. */
function frozen<T>(v: T): T {
  if (typeof v === "object" && v && !Object.isFrozen(v)) Object.values(Object.freeze(v)).forEach(frozen);
  return v;
}

function duration(text: string): number {
  let ms = 0;
  for (const [, n, unit] of text.matchAll(/([\d.]+)(ms|h|m|s)/g)) ms += Number(n) * { h: 3600e3, m: 60e3, s: 1e3, ms: 1 }[unit as "h"];
  return ms;
}

for (const kept of [false, true]) {
  for (const trace of bare(vectors<Trace[]>("trial")) as Trace[]) {
    test(`${trace.name}${kept ? ", written and read between all steps" : ""}`, () => {
      const p = new Player({ ...trace, releases: dict(trace.releases) });
      for (const step of trace.steps) {
        const { events, error } = p.play(step.do);
        assert.equal(p.position(), step.expect, `after "${step.do}"`);
        assert.deepEqual(p.tell(events), step.events ?? [], `events of "${step.do}"`);
        assert.equal(error, step.error, `error of "${step.do}"`);
        if (kept) p.reload();
      }
    });
  }
}
