// What an app's bundle grows by: every entry of the client, bundled and minified for ES2019, with gzip. Prints a table;
// --json prints the numbers, --write puts the table into docs/benchmarks.md. The package must have been built.
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import { writeTable } from "./table.mjs";

const here = dirname(fileURLToPath(import.meta.url)), client = join(here, "../packages/client");

/** What every host needs to judge documents and to live through a trial. */
const core = ["verify/trust.js", "decide/decide.js", "trial/machine.js", "trial/group.js"];

export async function sizes() {
  const { exports } = JSON.parse(readFileSync(join(client, "package.json"), "utf8"));
  const out = {
    "verify + decide + trial, noble": await measure([...core, "verify/noble.js"]),
    "verify + decide + trial, tweetnacl": await measure([...core, "verify/tweetnacl.js"]),
  };
  for (const [entry, target] of Object.entries(exports)) {
    const file = target.import?.default ?? target.import;
    if (file) out["slipstream-client" + entry.slice(1)] = await measure([file.replace("./dist/esm/", "")]);
  }
  return out;
}

async function measure(modules) {
  const contents = modules.map((m, i) => `export * as m${i} from ${JSON.stringify("./dist/esm/" + m)};`).join("\n");
  const { outputFiles } = await build({
    stdin: { contents, resolveDir: client }, bundle: true, minify: true, write: false, format: "esm", target: "es2019",
    supported: { bigint: true }, platform: "browser", external: ["node:*"], legalComments: "none", logLevel: "error",
  });
  const code = outputFiles[0].contents;
  return { minified: code.length, gzip: gzipSync(code, { level: 9 }).length };
}

const kb = (n) => (n / 1024).toFixed(1) + " KB";

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const all = await sizes();
  if (process.argv.includes("--json")) console.log(JSON.stringify(all));
  else {
    const rows = Object.entries(all).map(([name, s]) => [name.startsWith("slipstream") ? `\`${name}\`` : name, kb(s.minified), kb(s.gzip)]);
    writeTable("js sizes", ["bundle", "minified", "gzip"], rows, process.argv.includes("--write"));
  }
}
