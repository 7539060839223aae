// Builds the shell into public/: node build.mjs [--server URL] [--root FILE] [--embedded DIGEST]
import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const here = dirname(fileURLToPath(import.meta.url)), sdk = join(here, "../../sdk/js");

/**
 * Writes the shell into a folder: index.html, shell.js, sw.js, its settings, the root that it trusts, and the release that
 * ships with it. root is the path of the app's root.json; manifest, when there is one, the signed manifest of releases/1.0.0.
 */
export async function buildShell({ into, servers, root, manifest, app = "shop", poll = 5000 }) {
  for (const [needed, how] of [["node_modules/esbuild", "npm ci"], ["packages/client/dist/esm/index.js", "npm run build"]]) {
    if (!existsSync(join(sdk, needed))) throw new Error(`sdk/js/${needed} is not there: run ${how} in sdk/js`);
  }
  const { build } = createRequire(join(sdk, "package.json"))("esbuild");
  rmSync(into, { recursive: true, force: true });
  mkdirSync(into, { recursive: true });
  const embedded = join(here, "releases/1.0.0");
  cpSync(embedded, join(into, "embedded"), { recursive: true, filter: (path) => !path.endsWith("slipstream.json") });
  cpSync(join(here, "shell/index.html"), join(into, "index.html"));
  cpSync(root, join(into, "root.json"));
  writeFileSync(join(into, "config.json"), JSON.stringify({ app, servers, shell: "1.0.0", poll }));
  if (manifest) writeFileSync(join(into, "embedded.manifest.json"), manifest);
  const files = ["./", "shell.js", "config.json", "root.json", ...(manifest ? ["embedded.manifest.json"] : []),
    ...readdirSync(join(into, "embedded"), { recursive: true, withFileTypes: true }).filter((f) => f.isFile())
      .map((f) => join(f.parentPath ?? f.path, f.name).slice(into.length + 1).replaceAll("\\", "/"))];
  const common = { outdir: into, bundle: true, minify: true, target: "es2020", platform: "browser", nodePaths: [join(sdk, "node_modules")], logLevel: "warning" };
  await build({ ...common, entryPoints: [join(here, "shell/shell.js")], format: "esm" });
  await build({ ...common, entryPoints: [join(here, "shell/sw.js")], format: "iife", define: { SHELL_FILES: JSON.stringify(files) } });
  return files;
}

async function main() {
  const config = process.env.XDG_CONFIG_HOME ?? join(homedir(), ".config");
  const { values } = parseArgs({ options: { server: { type: "string", default: "http://127.0.0.1:8080" }, root: { type: "string" }, embedded: { type: "string" } } });
  const root = values.root ?? join(config, "slipstream/apps/shop/root.json");
  if (!existsSync(root)) throw new Error(`${root} is not there: make the app with slipstream app create shop, or name its root.json by --root`);
  let manifest;
  if (values.embedded) {
    const answer = await fetch(`${values.server}/v1/manifests/${values.embedded}`);
    if (!answer.ok) throw new Error(`the manifest of ${values.embedded}: status ${answer.status}`);
    manifest = Buffer.from(await answer.arrayBuffer());
  }
  const files = await buildShell({ into: join(here, "public"), servers: [values.server], root, manifest });
  console.log(`public/: ${files.length} files for the shell, shell.js ${readFileSync(join(here, "public/shell.js")).length} bytes; next: npm start`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await main().catch((error) => {
    console.error("Error: " + error.message);
    process.exit(1);
  });
}
