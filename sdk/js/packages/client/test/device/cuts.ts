// A device that loses its power at one of its writes, is put back, and loses it at the next.
import assert from "node:assert/strict";
import { MemoryDisk, type Cut } from "../../src/hosts/miniprogram/disk.js";
import { App, whole } from "./app.js";

/** A device that confirmed 1.0.0 and is offered 2.0.0, to be put back to that as often as one likes. */
export async function device(o: ConstructorParameters<typeof App>[0]) {
  const app = new App(o), { shop, disk } = app;
  const one = shop.release("1.0.0", { "index.json": "one", "lib/a.js": "a" });
  app.offerMain(one);
  await app.install();
  const files = new Map(disk.files), folders = new Set(disk.folders);
  const two = shop.release("2.0.0", { "index.json": "two", "lib/a.js": "a", "new.js": "n" }), three = shop.release("3.0.0", { "index.json": "three" });
  const putBack = () => {
    const fresh = new MemoryDisk();
    files.forEach((bytes, path) => fresh.files.set(path, bytes));
    folders.forEach((path) => fresh.folders.add(path));
    Object.assign(app, { disk: fresh, offline: false });
    app.offerMain(two);
  };
  return { app, one, two, three, putBack };
}

/** What ran after the power came back; "" when the whole cycle was over before its nth write. */
export async function cut({ app, one, two, three, putBack }: Awaited<ReturnType<typeof device>>, n: number, how: Cut): Promise<string> {
  putBack();
  let gone = false;
  void app.disk.cutAt(n, how).then(() => (gone = true));
  const cycle = async () => {
    await (await app.process()).update();
    const client = await app.process();
    await (await client.start()).confirm();
    await client.report();
    await client.close();
  };
  await app.run(cycle()).catch(() => undefined);
  await Promise.resolve();
  if (!gone) return "";
  app.disk.revive();

  app.offline = true;
  let client = await app.process();
  const launch = await app.run(client.start()), ran = await whole(client, launch, [one, two]);
  assert.ok(ran === "1.0.0" || ran === "2.0.0", `it runs ${ran}`);
  assert.equal(launch.reason, undefined, "and can remember it");
  await launch.confirm();

  app.offline = false;
  app.offerMain(three);
  const updated = await app.run(client.update());
  assert.deepEqual(updated.staged.map((o) => o.release.version), ["3.0.0"], `after ${ran}`);
  client = await app.process();
  const next = await client.start();
  assert.equal(await whole(client, next, [three]), "3.0.0");
  await next.confirm();
  assert.equal(client.status().packages.main.official.version, "3.0.0");
  return ran;
}
