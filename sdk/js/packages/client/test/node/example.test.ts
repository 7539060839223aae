// The example for Node as its README tells it: a launcher, three releases, the last of which crashes.
import { test } from "node:test";
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { cpSync, mkdirSync, readFileSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { realServer } from "../serve.js";

const example = resolve("../../../../examples/node");

test("the example for Node follows its releases and leaves the one that crashes", async (t) => {
  const server = await realServer(t);
  if (!server) return;
  const dir = join(server.dir, "example");
  mkdirSync(join(dir, "node_modules"), { recursive: true });
  for (const file of ["launcher.mjs", "package.json"]) cpSync(join(example, file), join(dir, file));
  symlinkSync(resolve("."), join(dir, "node_modules/slipstream-client"));
  writeFileSync(join(dir, "root.json"), server.root);
  const publish = (version: string) => {
    const from = join(example, "content", version);
    server.publish(version, Object.fromEntries(readdirSync(from).map((f) => [f, readFileSync(join(from, f))])), "--entry", "main.mjs");
  };

  let out = "", changed = () => undefined as void;
  const launcher = spawn(process.execPath, ["launcher.mjs", "--server", server.url, "--root", "root.json", "--poll", "0.3"], { cwd: dir });
  t.after(() => void launcher.kill("SIGKILL"));
  const ended = new Promise<number | null>((done) => launcher.once("exit", done));
  for (const stream of [launcher.stdout, launcher.stderr]) {
    stream.on("data", (b: Buffer) => {
      out += b.toString();
      changed();
    });
  }
  /** Waits for a text that comes after what was waited for before. */
  let seen = 0;
  const says = async (text: string) => {
    const late = setTimeout(() => changed(), 60_000), begun = Date.now();
    while (!out.includes(text, seen)) {
      if (Date.now() - begun > 59_000 || launcher.exitCode !== null) assert.fail(`the launcher does not say "${text}":\n${out}`);
      await new Promise<void>((done) => (changed = done));
    }
    clearTimeout(late);
    seen = out.indexOf(text, seen) + text.length;
  };

  await says("there is no release yet");
  publish("1.0.0");
  await says("shop 1.0.0: tea costs 3 €");
  publish("2.0.0");
  await says("shop 2.0.0: tea is cheaper today: 2 €");
  publish("3.0.0");
  await says("runs 3.0.0, attempt 1");
  await says("prices.mjs");
  await says("runs 3.0.0, attempt 2");
  await says("prices.mjs");
  await says("crashed");
  await says("shop 2.0.0: tea is cheaper today: 2 €");
  launcher.kill("SIGTERM");
  assert.equal(await ended, 0, out);
});
