// The release that ships with a program is a base like any other: its first update comes as a patch.
import { test } from "node:test";
import assert from "node:assert/strict";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createClient } from "../../src/index.js";
import { rich } from "../../src/delta/rich.js";
import { embeddedIn, nodeHost } from "../../src/hosts/node/index.js";
import { realServer } from "../serve.js";

interface Row {
  digest: string;
  version: string;
}

test("a program that ships a release gets the first update as a patch from it", async (t) => {
  const server = await realServer(t);
  if (!server) return;
  const text = Array.from({ length: 4000 }, (_, i) => `export const line${i} = ${(i * 2654435761) % 1000003};\n`).join("");
  const shipped = { "main.js": text, "lib/logo.txt": "the logo" };
  server.publish("1.0.0", shipped, "--entry", "main.js", "--embedded");
  server.publish("1.1.0", { ...shipped, "main.js": text.replace("line7 ", "line7b ") }, "--entry", "main.js");
  const rows = JSON.parse(server.run("release", "list", "--app", "shop", "--json")) as Row[];
  const digestOf = (version: string) => rows.find((r) => r.version === version)!.digest;

  const folder = join(server.dir, "shipped");
  for (const [path, content] of Object.entries(shipped)) {
    mkdirSync(join(folder, path, ".."), { recursive: true });
    writeFileSync(join(folder, path), content);
  }
  assert.equal(embeddedIn(folder).manifest, undefined, "there is no manifest beside it yet");
  const manifest = await fetch(`${server.url}/v1/manifests/${digestOf("1.0.0")}`);
  writeFileSync(folder + ".manifest.json", new Uint8Array(await manifest.arrayBuffer()));

  const list = `${server.url}/v1/releases/${digestOf("1.1.0")}/containers?from=${digestOf("1.0.0")}`;
  for (let i = 0; ; i++) {
    if ((await (await fetch(list)).text()).includes("rich/1+js")) break;
    assert.ok(i < 600, "the server makes no patch from the embedded release");
    await new Promise((done) => setTimeout(done, 100));
  }
  const client = await createClient({
    host: nodeHost({ directory: join(server.dir, "device") }), app: "shop", servers: [server.url], root: server.root, delta: rich,
    embedded: { main: embeddedIn(folder) },
  });
  t.after(() => client.close());
  await client.update();
  await client.report();
  assert.match(server.run("device", "show", client.device, "--app", "shop"), /fetched .*\d{2,3} B by (rich|simple)/);
  const launch = await client.start(), { version, location } = launch.packages.main!;
  assert.equal(version, "1.1.0");
  assert.match(readFileSync(join(location, "main.js"), "utf8"), /line7b /);
  await launch.confirm();
});
