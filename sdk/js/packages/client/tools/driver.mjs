// The client on Node behind the protocol of the lab (docs/lab-protocol.md): one JSON object a line, commands on standard
// input, answers on standard output. It is run from a checkout whose packages are built.
import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { simple } from "../dist/esm/delta/simple.js";
import { createClient } from "../dist/esm/device/client.js";
import { classify, messageOf } from "../dist/esm/device/failure.js";
import { nodeHost } from "../dist/esm/hosts/node/index.js";
import { Refusal } from "../dist/esm/words/reasons.js";

const bytes = (text) => new TextEncoder().encode(text);

class Driver {
  now = 0; // what the client's clock shows, in ms
  warnings = [];
  epoch = 0; // of what the last update accepted
  answers = {}; // and what was decided, by package

  async tell(command) {
    if (command.now) this.now = Date.parse(command.now);
    let error;
    this.warnings = [];
    try {
      await this.perform(command);
    } catch (e) {
      error = e;
    }
    const answer = error === undefined ? { ok: true } : { ok: false, reason: classify(error), error: messageOf(error) };
    answer.warnings = this.warnings;
    if (this.client) this.describe(answer, command.do === "start" && error === undefined);
    return answer;
  }

  async perform(command) {
    if (command.do === "init") return this.open(command);
    if (command.do === "quit") return this.close();
    if (!this.client) throw new Error("no init yet");
    switch (command.do) {
      case "update":
        this.answers = {};
        await this.client.update();
        return;
      case "start":
        this.launch = await this.client.start();
        if (this.launch.token === "") throw new Refusal(this.launch.reason, "start", "it is not kept");
        return;
      case "confirm":
      case "crash":
        if (!this.launch) throw new Error("nothing was started");
        return command.do === "confirm" ? this.launch.confirm() : this.launch.crash("told so");
      case "report":
        return this.client.report();
      case "state":
        return;
      default:
        throw new Error(`command ${JSON.stringify(command.do)} is not known`);
    }
  }

  async open(s) {
    await this.shut();
    if (!s.dir && !this.scratch) this.scratch = mkdtempSync(join(tmpdir(), "slipstream-driver-"));
    this.dir = s.dir || this.scratch;
    const host = nodeHost({ directory: this.dir }), { clock } = host;
    const embedded = {};
    for (const [pkg, manifest] of Object.entries(s.embedded ?? {})) embedded[pkg] = { manifest: bytes(manifest) };
    this.client = await createClient({
      host: { ...host, clock: { now: () => this.now, after: (ms, then) => clock.after(ms, then) } },
      app: s.app, channel: s.channel, platform: s.platform, runtime: s.runtime, packages: s.packages, servers: s.servers ?? [],
      root: bytes(s.root ?? ""), embedded, decisions: s.decisions, delta: simple, limits: { ...s.limits, rounds: 1 },
      hooks: { log: (_, error) => error === undefined || this.warnings.push(classify(error)) },
    });
    this.client.on("check", ({ epoch, answers }) => Object.assign(this, { epoch, answers: { ...answers } }));
    // An update that fails gives no answer of its own: what it found out about a package it told before.
    this.client.on("failed", ({ stage, package: pkg, reason }) => {
      if (stage === "stage" && reason === "requires_unmet") this.answers[pkg] = { verdict: "none", reason };
    });
  }

  /** Fills in what the device has. */
  describe(answer, started) {
    const status = this.client.status();
    answer.root = status.rootVersion;
    answer.epoch = this.epoch;
    answer.packages = {};
    for (const [pkg, roles] of Object.entries(status.packages)) {
      const decided = this.answers[pkg], p = answer.packages[pkg] = {
        running: roles.running.digest, embedded: roles.running.embedded, staged: roles.staged?.digest, trial: roles.trial !== undefined,
        anchor: roles.anchor.seq, verdict: decided?.verdict, why: decided?.reason,
      };
      if (!started) continue;
      const tree = this.launch.packages[pkg];
      Object.assign(p, { running: tree.release, embedded: tree.embedded, trial: tree.trial, files: {} });
      if (!tree.embedded) this.hash(join(this.dir, tree.path), "", p.files);
    }
  }

  hash(dir, prefix, into) {
    for (const entry of readdirSync(dir, { withFileTypes: true })) {
      const path = join(dir, entry.name);
      if (entry.isDirectory()) this.hash(path, `${prefix}${entry.name}/`, into);
      else into[prefix + entry.name] = createHash("sha256").update(readFileSync(path)).digest("hex");
    }
  }

  async shut() {
    const { client } = this;
    this.client = this.launch = undefined;
    this.epoch = 0;
    this.answers = {};
    if (client) await client.close();
    this.warnings = [];
  }

  async close() {
    await this.shut();
    if (this.scratch && existsSync(this.scratch)) rmSync(this.scratch, { recursive: true, force: true });
    this.scratch = undefined;
  }
}

const driver = new Driver();
for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line), answer = await driver.tell(command);
  process.stdout.write(JSON.stringify(answer) + "\n");
  if (command.do === "quit") break;
}
await driver.close();
process.exit(0);
