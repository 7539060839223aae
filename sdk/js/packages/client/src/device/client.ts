// The client that a host holds: one app on one device.
import type { Crypto } from "../host.js";
import * as machine from "../trial/machine.js";
import { anchorOf, held, official, stagedFor, trialOf, type Release } from "../trial/state.js";
import { dict } from "../words/dict.js";
import { isName, type Digest } from "../words/documents.js";
import { Refusal } from "../words/reasons.js";
import type { Checked, Client, Events, Launch, Options, PackageStatus, Page, ReleaseInfo, Status, Tree, Updated } from "./api.js";
import { check } from "./check.js";
import { Device } from "./device.js";
import { confirm } from "./launch.js";
import { memoryWarning, open, start } from "./page.js";
import { metric, report } from "./reports.js";
import { run, wake } from "./run.js";
import { update } from "./update.js";

/** Opens the client of options, whose host has all of its crypto. Throws when the options or the shipped root are not usable. */
export async function createClient(options: Options): Promise<Client> {
  const { crypto, name } = options.host;
  for (const part of ["sha256", "verifyEd25519", "random"] as const) {
    if (!crypto || typeof crypto[part] !== "function") throw new Refusal("host_incapable", `the ${name} host`, `its crypto lacks ${part}`);
  }
  return new DeviceClient(await Device.open(options, crypto as Crypto));
}

class DeviceClient implements Client {
  private checked: Checked | undefined;

  constructor(private readonly d: Device) {}

  get device(): string {
    return this.d.id;
  }

  async check(): Promise<Checked> {
    return this.checked = await this.d.takeTurn(undefined, (signal) => check(this.d, signal));
  }

  fetch(packages?: string[]): Promise<Updated> {
    const take = () => {
      const c = this.checked;
      this.checked = undefined;
      return c;
    };
    return update(this.d, packages || this.d.o.packages, undefined, take);
  }

  update(packages?: string[]): Promise<Updated> {
    this.checked = undefined;
    return update(this.d, packages || this.d.o.packages);
  }

  start(): Promise<Launch> {
    return start(this.d);
  }

  confirm(token: string): Promise<void> {
    return this.d.mu.run(() => confirm(this.d, token));
  }

  rollback(pkg: string, to: Digest = ""): Promise<void> {
    const { d } = this;
    return d.mu.run(async () => {
      await d.own();
      await d.step(machine.rollBack(d.body.trial, d.env, pkg, to, "declined"));
    });
  }

  status(): Status {
    const { d } = this, { o } = d, packages = dict<PackageStatus>();
    for (const pkg of o.packages) packages[pkg] = this.roles(pkg);
    return {
      device: d.id, app: o.app, channel: d.channel, platform: o.platform, runtime: o.runtime, rootVersion: d.trust.root.version,
      epoch: d.seen().epoch || 0, locked: !d.lock, packages, pending: (d.body.outbox || []).length,
    };
  }

  private roles(pkg: string): PackageStatus {
    const { d } = this, s = d.body.trial, { env } = d, staged = stagedFor(s, pkg), trial = trialOf(s, pkg);
    return {
      running: info(d.running(pkg)), official: info(official(s, env, pkg)), anchor: info(anchorOf(s, env, pkg)),
      staged: staged && { ...info(staged), apply: staged.apply || {}, rollout: staged.rollout || "" },
      trial: trial && info(trial), history: (held(s, pkg).history || []).map(info),
      refused: (s.refusals || []).filter((f) => f.package === pkg).map(({ digest, reason, tries, retryAt }) => ({ digest, reason, tries, retryAt })),
    };
  }

  wake(payload = ""): void {
    wake(this.d, payload);
  }

  page(pkg: string, block = 0): Promise<Page> {
    return open(this.d, pkg, block);
  }

  memoryWarning(): Promise<void> {
    return memoryWarning(this.d);
  }

  run(): () => void {
    return run(this.d);
  }

  async changeChannel(channel: string): Promise<void> {
    const { d } = this;
    if (!isName(channel)) throw new Error(`channel name "${channel}" is not allowed`);
    this.checked = undefined;
    await d.takeTurn(undefined, () => d.mu.run(async () => {
      await d.own();
      await d.moveTo(channel);
    }));
  }

  metric(name: string, value: number | boolean, pkg?: string): Promise<void> {
    return metric(this.d, name, value, pkg);
  }

  report(): Promise<void> {
    return report(this.d, this.d.behind);
  }

  async read(tree: Tree, path: string): Promise<Uint8Array> {
    const { d } = this;
    if (path === "" || path.split("/").some((part) => part === "" || part === "." || part === "..")) throw new Refusal("file_mismatch", `file ${path}`, "it is no path of a release");
    if (!tree.embedded) return d.o.host.files.read(`${tree.path}/${path}`);
    const shipped = d.o.embedded && d.o.embedded[tree.package];
    if (!shipped || !shipped.open) throw new Refusal("no_release", `the embedded release of ${tree.package}`, "embedded says no way to open its files");
    const source = await shipped.open(path);
    try {
      return await source.read(0, source.size);
    } finally {
      await source.close();
    }
  }

  on<K extends keyof Events>(name: K, listener: (e: Events[K]) => void): () => void {
    return this.d.on(name, listener);
  }

  close(): Promise<void> {
    return this.d.close();
  }
}

function info(r: Release): ReleaseInfo {
  return { digest: r.digest || "", seq: r.seq, version: r.version || "", embedded: !!r.embedded };
}
