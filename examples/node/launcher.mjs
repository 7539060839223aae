// Keeps an app's content up to date and runs it in a child process: a release that crashes is left for the one before.
import { fork } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { createClient } from "slipstream-client";
import { rich } from "slipstream-client/delta/rich";
import { nodeHost } from "slipstream-client/node";

const { values: flags } = parseArgs({
  options: {
    server: { type: "string" },
    root: { type: "string" },
    app: { type: "string", default: "shop" },
    directory: { type: "string", default: "device" },
    poll: { type: "string", default: "60" },
  },
});
if (!flags.server || !flags.root) {
  console.error("usage: node launcher.mjs --server URL --root root.json [--app shop] [--directory device] [--poll SECONDS]");
  process.exit(2);
}

let child, ended = false, wake = () => undefined;

const client = await createClient({
  host: nodeHost({ directory: flags.directory }),
  app: flags.app,
  servers: [flags.server],
  root: readFileSync(flags.root),
  poll: Number(flags.poll) * 1000,
  delta: rich,
  hooks: {
    // What runs must be left, or the release wants to run at once.
    restart: (change) => restart(change.reason),
    log: (text, error) => error && console.log("launcher:", text, error.message),
  },
});
client.on("ready", ([offer]) => restart(`${offer.release.version} is staged`));
client.on("rollback", (r) => console.log(`launcher: back from ${r.from.slice(0, 12)}, ${r.reason}`));
client.on("failed", (f) => console.log(`launcher: ${f.stage} failed, ${f.reason}`));

function restart(why) {
  console.log("launcher: restarts,", why);
  child?.kill();
  wake();
}

for (const signal of ["SIGINT", "SIGTERM"]) {
  process.once(signal, () => {
    ended = true;
    child?.kill();
    wake();
  });
}

/** One life of the content. */
async function live() {
  const launch = await client.start(), tree = launch.packages.main;
  if (!tree.location) {
    console.log("launcher: there is no release yet");
    if (!launch.outdated()) await new Promise((done) => (wake = done));
    return launch.close();
  }
  console.log(`launcher: runs ${tree.version}${launch.trial ? `, attempt ${launch.attempt}` : ""}`);
  child = fork(join(tree.location, tree.entry));
  // Something was staged in between.
  if (launch.outdated()) child.kill();
  // The content knows best when it works.
  child.on("message", (m) => m === "works" && launch.confirm().catch((e) => console.log("launcher:", e.message)));
  const [code, signal] = await once(child, "exit");
  const wanted = child.killed || code === 0;
  child = undefined;
  if (wanted) return launch.close();
  await launch.crash(signal ? `ended by ${signal}` : `exit code ${code}`);
  await new Promise((done) => setTimeout(done, 500));
}

const stop = client.run();
while (!ended) await live();
stop();
await client.close();
