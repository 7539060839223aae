// How long it takes from the start of a Node process to the first line of the app: loaded directly, and by way of the client
// from a directory with a confirmed release. Needs the project's server, which is built with Go.
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { build } from "esbuild";

const RUNS = 15;
const client = fileURLToPath(new URL("../packages/client/", import.meta.url));
const entry = (path) => JSON.stringify(pathToFileURL(join(client, "dist/esm", path)).href);

/** Medians in ms. */
export async function launches() {
  process.chdir(client);
  const { outputFiles } = await build({ entryPoints: [join(client, "test/serve.ts")], bundle: true, format: "esm", platform: "node", write: false });
  const { realServer } = await import("data:text/javascript;base64," + Buffer.from(outputFiles[0].contents).toString("base64"));
  const after = [];
  const server = await realServer({ after: (f) => after.push(f), skip: (why) => { throw new Error(why); } });
  try {
    return await measure(server);
  } finally {
    for (const f of after) await f();
  }
}

async function measure(server) {
  const app = "console.log(performance.now());\n", at = (name) => join(server.dir, name);
  server.publish("1.0.0", { "main.mjs": app }, "--entry", "main.mjs");
  writeFileSync(at("main.mjs"), app);
  writeFileSync(at("root.json"), server.root);
  writeFileSync(at("launch.mjs"), `
    import { readFileSync } from "node:fs";
    import { createClient } from ${entry("index.js")};
    import { delta } from ${entry("delta/index.js")};
    import { nodeHost } from ${entry("hosts/node/index.js")};
    const client = await createClient({ host: nodeHost({ directory: ${JSON.stringify(at("device"))} }), app: "shop", servers: [${JSON.stringify(server.url)}], root: readFileSync(${JSON.stringify(at("root.json"))}), delta });
    if (process.argv[2]) await client.update();
    const launch = await client.start(), { location, entry, embedded } = launch.packages.main;
    if (embedded) throw new Error("nothing is staged");
    await import(location + "/" + entry);
    await launch.confirm();
    await client.close();`);
  const node = (...args) => Number(execFileSync(process.execPath, args.map((a, i) => (i === 0 ? at(a) : a)), { encoding: "utf8" }));
  node("launch.mjs", "update");
  const direct = [], launched = [];
  for (let run = 0; run < RUNS; run++) {
    direct.push(node("main.mjs"));
    launched.push(node("launch.mjs"));
  }
  const median = (list) => list.sort((a, b) => a - b)[RUNS >> 1];
  return { direct: median(direct), launched: median(launched) };
}
