// Pages as the mini-program model has them: foreground, background, destroyed. Opening a destroyed one is a cold start and
// may switch to what is staged; a hot start never does.
import { running } from "../trial/state.js";
import { names } from "../words/dict.js";
import { Refusal } from "../words/reasons.js";
import type { Launch, Page } from "./api.js";
import type { Device } from "./device.js";
import { coldStart, endLaunch, type Started } from "./launch.js";
import { Stop } from "./stop.js";
import { awaitCritical, update } from "./update.js";

class Opened implements Page {
  constructor(private readonly d: Device, private readonly key: string, readonly launch: Launch, readonly hot: boolean) {}

  background(): void {
    const p = this.d.pages[this.key];
    if (p && p.launch === this.launch && p.hidden === undefined) p.hidden = this.d.o.host.clock.now();
  }

  foreground(): Promise<Page> {
    const { d, key } = this;
    return d.mu.run(async () => {
      const l = resumesInto(d, key) ? undefined : resume(d, key);
      return l ? new Opened(d, key, l, true) : new Opened(d, key, await coldStart(d, key, closure(d, key)), false);
    });
  }

  destroy(): Promise<void> {
    const { d, key, launch } = this;
    return d.mu.run(async () => {
      const p = d.pages[key];
      if (p && p.launch === launch) await end(d, key);
    });
  }
}

/** A cold start of the whole app. */
export async function start(d: Device): Promise<Launch> {
  await awaitCritical(d);
  return d.mu.run(() => coldStart(d, "", d.o.packages));
}

/**
 * Opens the page of one package, or of the whole app when pkg is "". While it lives this is a hot start: the same launch
 * goes on, whatever is staged. Otherwise it is a cold start. With block > 0 an update of the package is waited for that many
 * ms first; else what is here is used and the update runs behind.
 */
export async function open(d: Device, pkg: string, block: number): Promise<Page> {
  if (pkg !== "" && d.o.packages.indexOf(pkg) < 0) throw new Refusal("no_release", `package ${pkg}`, "the app does not have it: name it in packages");
  const live = await d.mu.run(() => resume(d, pkg));
  if (live) return new Opened(d, pkg, live, true);
  const packages = pkg === "" ? d.o.packages : [pkg];
  if (block > 0) {
    const [signal, done] = Stop.after(d.o.host.clock, block, new Refusal("timeout", "update", "the page does not wait longer"));
    await update(d, packages, signal).catch((e) => d.log(`${pkg} opened with what is here`, e));
    done();
  }
  const l = await d.mu.run(() => coldStart(d, pkg, closure(d, pkg)));
  if (!(block > 0)) update(d, packages).catch((e) => d.ending(e) || d.log(`update of ${pkg} behind its page`, e));
  return new Opened(d, pkg, l, false);
}

/** Destroys the pages in the background: opening them is a cold start. */
export function memoryWarning(d: Device): Promise<void> {
  return d.mu.run(async () => {
    for (const key of names(d.pages)) if (d.pages[key].hidden !== undefined) await end(d, key);
  });
}

async function end(d: Device, key: string): Promise<void> {
  await endLaunch(d, d.pages[key].launch as Started, "unknown").catch((e) => d.log("the end of a page is not noted", e));
}

/** pkg with all that it needs, now and staged; all packages when it is "". */
function closure(d: Device, pkg: string): string[] {
  if (pkg === "") return d.o.packages;
  const s = d.body.trial, { env } = d, out = [pkg];
  for (let i = 0; i < out.length; i++) {
    const needs = names(running(s, env, out[i]).requires);
    for (const set of s.staged || []) if (set.members[out[i]]) needs.push(...names(set.members));
    for (const need of needs) if (out.indexOf(need) < 0 && d.o.packages.indexOf(need) >= 0) out.push(need);
  }
  return out.sort();
}

/** The launch of a page that still lives, brought to the foreground. */
function resume(d: Device, key: string): Launch | undefined {
  const p = d.pages[key];
  if (!p || p.hidden !== undefined && d.o.host.clock.now() - p.hidden >= d.o.background) return undefined;
  p.hidden = undefined;
  return p.launch;
}

/** Whether something staged for the page waits for a resume. */
function resumesInto(d: Device, key: string): boolean {
  return (d.body.trial.staged || []).some((set) => names(set.members).some((pkg) => {
    const { mode } = set.members[pkg].apply || {};
    return (key === "" || key === pkg) && (mode === "next_resume" || mode === "immediate");
  }));
}
