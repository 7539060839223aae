// kill -9 of a Node process at random instants of updates, starts and confirms. After every kill the device holds whole
// signed releases alone, nothing that was confirmed is lost, no number falls, and it reaches the newest release.
// More kills than the test's own 60: node dist/test/node/kill.test.mjs 1000
import { test } from "node:test";
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, readFileSync, readdirSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { delta } from "../../src/delta/index.js";
import { nodeHost } from "../../src/hosts/node/index.js";
import { createClient, type Client, type Options } from "../../src/index.js";
import { realServer, type RealServer } from "../serve.js";

const SETTLE_EVERY = 10;

type Step = "start" | "update";
interface Word {
  begun?: true;
  started?: string;
  version?: string;
  mixed?: string;
  confirmed?: string;
  staged?: string[];
  done?: true;
}

const open = (directory: string, url: string, root: Uint8Array, more: Partial<Options> = {}) =>
  createClient({ host: nodeHost({ directory }), app: "shop", servers: [url], root, delta, retryAfter: 0, ...more });

/** The files of a release; each says of which version it is. */
const filesOf = (version: string) => ({
  "main.mjs": `export const version = "${version}";\n`, "data/a.txt": version, "data/deep/b.txt": version,
  "data/large.txt": `all of ${version}\n`.repeat(8000), "same.txt": "the same in every release",
});

/** What of a tree is not of the version that its first file tells, "" when it is whole. */
function mixed(tree: string): { version: string; mixed: string } {
  const version = readFileSync(join(tree, "data/a.txt"), "utf8");
  for (const [path, text] of Object.entries(filesOf(version))) {
    if (!existsSync(join(tree, path)) || readFileSync(join(tree, path), "utf8") !== text) return { version, mixed: path };
  }
  return { version, mixed: "" };
}

/** One life of a program that keeps itself up to date; it tells what it has done. */
async function live(first: Step, directory: string, url: string, rootFile: string): Promise<void> {
  const say = (word: Word) => void writeSync(1, JSON.stringify(word) + "\n");
  say({ begun: true });
  const client = await open(directory, url, readFileSync(rootFile));
  const steps = {
    start: async () => {
      const launch = await client.start(), tree = launch.packages.main;
      say(tree.embedded ? { started: "" } : { started: tree.release, ...mixed(tree.location) });
      if (tree.embedded) return launch.close();
      await launch.confirm();
      say({ confirmed: tree.release });
    },
    update: async () => say({ staged: (await client.update()).staged.map((o) => o.release.digest) }),
  };
  await steps[first]();
  await steps[first === "start" ? "update" : "start"]();
  await client.close();
  say({ done: true });
}

class Device {
  kills = 0;
  /** How many kills came after the program had begun, started, confirmed, staged, and before it was done. */
  readonly hits = { begun: 0, started: 0, confirmed: 0, staged: 0 };
  /** How long the last whole life took, from its first word, in ms. */
  span = 0;
  private installed = false;
  private anchor = 0;
  private epoch = 0;
  private readonly published = new Map<string, { version: string; seq: number }>();
  private readonly root: string;

  constructor(private readonly server: RealServer, readonly directory: string) {
    this.root = join(server.dir, "root.json");
    writeFileSync(this.root, server.root);
  }

  publish(): string {
    const version = `1.0.${this.published.size + 1}`;
    this.server.publish(version, filesOf(version), "--entry", "main.mjs");
    const [{ digest, seq }] = (JSON.parse(this.server.run("release", "list", "--app", "shop", "--json")) as { version: string; digest: string; seq: number }[]).filter((r) => r.version === version);
    this.published.set(digest, { version, seq });
    return digest;
  }

  /** Lets the program live, or only until some ms after its nth word, and judges what it says. */
  async life(first: Step, end?: { words: number; ms: number }): Promise<Word[]> {
    const child = spawn(process.execPath, [fileURLToPath(import.meta.url), "live", first, this.directory, this.server.url, this.root], { stdio: ["ignore", "pipe", "pipe"] });
    let out = "", errors = "", begun = 0, killer: NodeJS.Timeout | undefined;
    const patience = setTimeout(() => child.kill("SIGKILL"), 120_000);
    child.stdout.on("data", (b: Buffer) => {
      out += b.toString();
      begun ||= performance.now();
      if (end && !killer && out.split("\n").length > end.words) killer = setTimeout(() => child.kill("SIGKILL"), end.ms);
    });
    child.stderr.on("data", (b: Buffer) => (errors += b.toString()));
    const signal = await new Promise((done) => child.once("close", (_, signal) => done(signal)));
    clearTimeout(patience);
    clearTimeout(killer);
    if (signal === null) {
      assert.equal(errors, "", "the program wrote");
      this.span = performance.now() - begun;
    } else if (!killer) assert.fail("the program does not end: " + errors);
    else for (const stage of ["begun", "started", "confirmed", "staged"] as const) if (out.includes(`"${stage}"`)) this.hits[stage]++;
    const words = out.split("\n").slice(0, -1).map((line) => JSON.parse(line) as Word);
    for (const w of words) this.judge(w);
    return words;
  }

  private judge(w: Word): void {
    const when = `after ${this.kills} kills`;
    if (w.started === "") assert.ok(!this.installed, `${when} the device has nothing to run`);
    else if (w.started !== undefined) {
      assert.equal(w.mixed, "", `${when} a mixed release ran`);
      assert.equal(w.version, this.published.get(w.started)?.version, `${when} a release ran that nobody signed`);
    }
    if (w.confirmed) {
      this.installed = true;
      this.anchor = Math.max(this.anchor, this.published.get(w.confirmed)?.seq ?? 0);
    }
  }

  /** Looks at what is on disk, and asks the client what it knows, without a network. */
  async inspect(): Promise<void> {
    const when = `after ${this.kills} kills`, releases = join(this.directory, "releases");
    for (const name of existsSync(releases) ? readdirSync(releases) : []) {
      if (!/^[0-9a-f]{64}$/.test(name)) continue;
      const tree = mixed(join(releases, name));
      assert.equal(tree.mixed, "", `${when} the tree of ${tree.version} is mixed`);
      assert.equal(tree.version, this.published.get(name)?.version, `${when} a tree is of no signed release`);
    }
    const wrong: string[] = [], client: Client = await open(this.directory, "http://127.0.0.1:1", readFileSync(this.root), { hooks: { log: (text, error) => error && wrong.push(`${text}: ${String(error)}`) } });
    const s = client.status(), { official, running, anchor } = s.packages.main;
    assert.deepEqual(wrong, [], when);
    assert.equal(s.locked, false, `${when} the lock is still held`);
    assert.ok(s.epoch >= this.epoch, `${when} the epoch fell from ${this.epoch} to ${s.epoch}`);
    assert.ok(anchor.seq >= this.anchor, `${when} the anchor fell from ${this.anchor} to ${anchor.seq}`);
    this.epoch = s.epoch;
    this.anchor = anchor.seq;
    if (this.installed) assert.ok(!official.embedded, `${when} nothing is official any more`);
    for (const r of [official, running]) if (!r.embedded) assert.ok(existsSync(join(releases, r.digest)), `${when} the tree of ${r.version} is not there`);
    await client.close();
  }

  /** A new release reaches the device undisturbed. */
  async settle(): Promise<void> {
    const newest = this.publish(), words = await this.life("update");
    assert.ok(words.some((w) => w.confirmed === newest), `after ${this.kills} kills it does not reach the newest release: ${JSON.stringify(words)}`);
    await this.inspect();
    this.server.run("verify", this.directory, "--root", this.root);
  }
}

async function kills(t: Parameters<typeof realServer>[0], most: number): Promise<void> {
  const server = await realServer(t);
  if (!server) return;
  const device = new Device(server, join(server.dir, "device"));
  await device.settle();
  await device.settle();
  while (device.kills < most) {
    if (Math.random() < 0.4) device.publish();
    // From any instant of a life, or from shortly after something was acknowledged.
    const words = Math.random() < 0.5 ? 1 : 2 + Math.floor(Math.random() * 3);
    await device.life(Math.random() < 0.5 ? "start" : "update", { words, ms: Math.random() * device.span * (words === 1 ? 1.2 : 0.2) });
    device.kills++;
    await device.inspect();
    if (device.kills % SETTLE_EVERY === 0 || device.kills === most) await device.settle();
  }
  const { begun, started, confirmed, staged } = device.hits;
  t.diagnostic(`${device.kills} kills over some ${Math.round(device.span)} ms a life; ${begun} before its end, ${started} after a start, ${confirmed} after a confirm, ${staged} after an update`);
  for (const [stage, n] of Object.entries(device.hits)) assert.ok(n > 0, `no kill came after a life had ${stage}`);
  assert.ok(begun > most / 3, `only ${begun} of ${most} kills came before the end`);
}

const [, , mode, ...rest] = process.argv;
if (mode === "live") await live(rest[0] as Step, rest[1], rest[2], rest[3]);
else {
  const most = Number(mode ?? 60);
  test(`kill -9 of the client on Node, ${most} times`, (t) => kills(t, most));
}
