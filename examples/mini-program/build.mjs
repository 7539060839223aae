// Builds the client for the mini-program: app/lib/slipstream.js, one file of ES2019 without BigInt, as old phones need it.
import { existsSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { readFileSync } from "node:fs";

const here = dirname(fileURLToPath(import.meta.url));
const sdk = join(here, "../../sdk/js");

/** Writes app/lib/slipstream.js; answers its size in bytes, as it is and gzipped. */
export async function buildClient() {
  for (const [needed, how] of [["node_modules/esbuild", "npm ci"], ["packages/client/dist/esm/index.js", "npm run build"]]) {
    if (!existsSync(join(sdk, needed))) throw new Error(`sdk/js/${needed} is not there: run ${how} in sdk/js`);
  }
  const { build } = createRequire(join(sdk, "package.json"))("esbuild");
  const outfile = join(here, "app/lib/slipstream.js");
  await build({
    entryPoints: [join(here, "client.mjs")], outfile, bundle: true, minify: true, format: "cjs", target: "es2019", platform: "browser",
    nodePaths: [join(sdk, "node_modules")], logLevel: "warning",
  });
  return { bytes: statSync(outfile).size, gzip: gzipSync(readFileSync(outfile), { level: 9 }).length };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { bytes, gzip } = await buildClient().catch((err) => {
    console.error("Error: " + err.message);
    process.exit(1);
  });
  console.log(`app/lib/slipstream.js: ${bytes} bytes (${gzip} gzip)`);
}
