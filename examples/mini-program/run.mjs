// The whole way on this machine: a server, the mini-program on a phone in memory, an update, a bad update, a way back.
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { Phone } from "./phone.mjs";
import { buildCommand, Server } from "./server.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "slipstream-mini-program-"));
const say = (text) => console.log("\n" + text);
const see = (phone) => console.log("  the user sees: " + phone.screen().texts.join(" | "));

async function main() {
  const { memoryPlatform, MemoryDisk, USER_LIMIT } = await import(pathToFileURL(join(here, "../../sdk/js/packages/client/dist/esm/hosts/miniprogram/memory.js")).href);
  const command = process.env.SLIPSTREAM ?? join(folder, "slipstream");
  if (!process.env.SLIPSTREAM) buildCommand(join(here, "../.."), command);
  const server = new Server(command, join(folder, "server"));
  await server.start();
  try {
    const { root } = await server.run("app", "create", "shop");
    const disk = new MemoryDisk(USER_LIMIT);
    const phone = new Phone({
      platform: (options) => memoryPlatform({ disk, fetch, ...options }),
      config: { app: "shop", channel: "production", servers: [server.url], root: readFileSync(root, "utf8"), runtime: "3.1.0" },
    });

    say("The first start, nothing is published: the release inside the mini-program.");
    await phone.open();
    see(phone);

    say("Version 1 is published: banner, prices, links. It comes while the old one runs.");
    await server.publish(join(here, "release"), "1.0.0");
    await update(phone, "1.0.0");
    see(phone);

    say("The user comes back within five minutes (a hot start), then after six (a cold one).");
    phone.hide();
    await phone.open();
    see(phone);
    phone.hide();
    phone.sleep(6 * 60_000);
    await phone.open();
    see(phone);

    say("Version 2 has a page that this mini-program cannot draw. It is tried, and left by itself.");
    const bad = join(folder, "bad");
    cpSync(join(here, "release"), bad, { recursive: true });
    const page = join(bad, "pages/home.json");
    writeFileSync(page, readFileSync(page, "utf8").replace('"kind": "links"', '"kind": "carousel"'));
    await server.publish(bad, "2.0.0");
    await update(phone, "2.0.0");
    phone.kill();
    await phone.open();
    see(phone);
    for (const { digest, reason } of phone.app.shop.client.status().packages.main.refused) console.log(`  left: ${digest.slice(0, 12)} because it ${reason.replaceAll("_", " ")}`);
    phone.kill();
  } finally {
    await server.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Looks for an update and waits until this version is staged; what runs goes on. */
async function update(phone, version) {
  const { client, update } = phone.app.shop;
  await update.getUpdateManager().check();
  for (let n = 0; client.status().packages.main.staged?.version !== version; n++) {
    if (n === 100) throw new Error(`version ${version} did not come: ` + phone.log.join("; "));
    await new Promise((done) => setTimeout(done, 50));
  }
}

await main();
