// What is built on the client, with the real client and the project's own server; and one directory read by both programs.
import { test } from "node:test";
import assert from "node:assert/strict";
import { join } from "node:path";
import { nodeHost } from "../../src/hosts/node/index.js";
import { delta } from "../../src/delta/index.js";
import { decodeGeneration } from "../../src/device/persist.js";
import { createClient } from "../../src/index.js";
import { openSettings } from "../../src/settings/index.js";
import { session, updates } from "../../src/update-manager/index.js";
import { realServer, type RealServer } from "../serve.js";
import { Phone, shown } from "./phone.js";

const phoneOf = (server: RealServer, more: object = {}) => new Phone({ app: "shop", servers: [server.url], root: server.root, runtime: "1.0.0", ...more });

test("withdraw on the server, and the device goes back", async (t) => {
  const server = await realServer(t);
  if (!server) return;
  const phone = phoneOf(server);
  t.after(() => phone.kill());
  for (const v of ["1.0.0", "2.0.0"]) {
    server.publish(v, { "index.json": v });
    await (await phone.open()).update();
    await (await (await phone.open()).start()).confirm();
  }
  server.run("withdraw", "2.0.0", "--app", "shop", "--reason", "basket loses items");
  const client = await phone.open();
  assert.equal(await shown(client, await client.start()), "2.0.0");
  assert.deepEqual([(await client.check()).answers.main.verdict, client.status().packages.main.running.version], ["rollback", "1.0.0"]);
  assert.equal(await shown(client, await client.start()), "1.0.0");
});

test("settings: a published value is in force without a restart, a file that does not parse never", async (t) => {
  const server = await realServer(t);
  if (!server) return;
  const phone = phoneOf(server, { packages: ["config"] }), errors: string[] = [], changes: (readonly string[])[] = [];
  t.after(() => phone.kill());
  const publish = (v: string, text: string) => server.publish(v, { "settings.json": text }, "--package", "config");
  publish("1", '{"sale": false, "title": "plain"}');
  const client = await phone.open();
  const config = await openSettings({ client, block: 5000, defaults: { sale: true, left: 3 } });
  assert.deepEqual([config.enabled("sale"), config.text("title"), config.number("left")], [false, "plain", 3]);
  config.onChange((keys) => void changes.push(keys));
  config.onError((e) => void errors.push(e.version));
  publish("2", '{"sale": true, "title": "plain"}');
  await client.update();
  for (let n = 0; config.source.version !== "2" && n < 200; n++) await new Promise((done) => setTimeout(done, 20));
  assert.deepEqual([config.enabled("sale"), changes], [true, [["sale"]]]);
  publish("3", "{");
  await client.update();
  for (let n = 0; errors.length < 1 && n < 200; n++) await new Promise((done) => setTimeout(done, 20));
  assert.deepEqual([errors[0], config.source.version, config.enabled("sale")], ["3", "2", true]);
  await config.close();
});

test("update manager and session: the old release runs on while the new one comes, and applyUpdate starts it", async (t) => {
  const server = await realServer(t);
  if (!server) return;
  server.publish("1.0.0", { "index.json": "one" });
  const phone = phoneOf(server), ran: string[] = [], told: string[] = [];
  t.after(() => phone.kill());
  const client = await phone.open(), { host } = await phone.host();
  const life = session({ client, clock: host.clock, run: async (l) => void ran.push(await shown(client, l)) });
  const manager = updates({ client, restart: async () => (await life.restart(), true) });
  await life.open();
  const { onCheckForUpdate, onUpdateReady } = manager.getUpdateManager();
  onCheckForUpdate.call(manager.getUpdateManager(), ({ hasUpdate }) => void told.push("hasUpdate " + hasUpdate));
  const ready = new Promise<void>((done) => onUpdateReady.call(manager.getUpdateManager(), () => (told.push("ready"), done())));
  await manager.launched();
  await ready;
  assert.deepEqual([told, ran], [["hasUpdate true", "ready"], ["embedded"]]);
  assert.equal(await manager.getUpdateManager().applyUpdate(), true);
  assert.deepEqual(ran, ["embedded", "one"]);
});

test("a directory of Node is what the project's own command calls a good one, and its state is read by either program", async (t) => {
  const server = await realServer(t);
  if (!server) return;
  const tree = (v: string) => ({ "main.js": `console.log(${JSON.stringify(v)})\n`.repeat(50), "<&>.txt": "names", "big.txt": "line\n".repeat(20000) });
  const directory = join(server.dir, "device"), open = () => createClient({
    app: "shop", servers: [server.url], root: server.root, runtime: "1.0.0", host: nodeHost({ directory }), delta,
  });
  for (const v of ["1.0.0", "2.0.0"]) {
    server.publish(v, tree(v));
    let client = await open();
    await client.update();
    await client.close();
    client = await open();
    const launch = await client.start();
    assert.equal(launch.packages.main.version, v);
    await launch.confirm();
    await client.close();
  }
  assert.match(server.run("verify", directory, "--app", "shop"), /2\.0\.0/);
  const dir = join(server.dir, "go-device");
  server.run("fetch", "--start", "--app", "shop", "--dir", dir, "--runtime", "1.0.0");
  const host = nodeHost({ directory: dir }), { body } = decodeGeneration(host.crypto, await host.files.read("state.json"));
  assert.deepEqual([body.trial.channel, body.trial.trial?.members.main.version, body.trial.trial?.attempt], ["production", "2.0.0", 1]);
});
