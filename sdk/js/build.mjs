// Builds the package of the current folder: every module of src as ESM with types in dist/esm and as CommonJS with types in
// dist/cjs. Packages that have no CommonJS themselves go into dist/cjs/bundled, so that require() loads the package
// anywhere. With --test also type-checks the tests and puts them, one bundle a file with packages left out, into dist/test
// for node --test.
import { execFileSync } from "node:child_process";
import { copyFileSync, existsSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const workspace = dirname(fileURLToPath(import.meta.url));
const tsc = createRequire(import.meta.url).resolve("typescript/bin/tsc");
const list = (dir, end) => readdirSync(dir, { recursive: true }).map(String).filter((f) => f.endsWith(end)).map((f) => join(dir, f));
const check = (project) => execFileSync(process.execPath, [tsc, "-p", project], { stdio: "inherit" });
const old = { target: "es2019", supported: { bigint: true }, platform: "neutral", logLevel: "warning" };

/** Whether require() cannot load it on every Node. */
function onlyModule(name) {
  const parts = name.split("/"), pkg = parts.slice(0, name.startsWith("@") ? 2 : 1).join("/");
  const at = [process.cwd(), workspace].map((d) => join(d, "node_modules", pkg, "package.json")).find(existsSync);
  if (!at) return false;
  const { type, exports } = JSON.parse(readFileSync(at, "utf8"));
  return type === "module" && !JSON.stringify(exports ?? "").includes('"require"');
}

async function commonJS() {
  const bundled = new Map();
  await build({
    ...old, entryPoints: list("src", ".ts"), outdir: "dist/cjs", outbase: "src", format: "cjs", bundle: true,
    plugins: [{
      name: "one file a module",
      setup: (b) => b.onResolve({ filter: /./ }, ({ kind, path, importer }) => {
        if (kind === "entry-point") return undefined;
        if (path.startsWith(".") || path.startsWith("node:") || !onlyModule(path)) return { path, external: true };
        const file = path.replace(/\.js$/, "").replace(/[^a-z0-9]+/g, "-").replace(/^-/, "");
        bundled.set(path, file);
        const from = dirname(join("dist/cjs", relative(resolve("src"), importer)));
        return { path: "./" + relative(from, `dist/cjs/bundled/${file}.js`), external: true };
      }),
    }],
  });
  for (const [path, file] of bundled) {
    await build({ ...old, stdin: { contents: `export * from ${JSON.stringify(path)};`, resolveDir: process.cwd() }, outfile: `dist/cjs/bundled/${file}.js`, format: "cjs", bundle: true, legalComments: "inline" });
  }
  for (const file of list("dist/esm", ".d.ts")) copyFileSync(file, file.replace("esm", "cjs"));
  writeFileSync("dist/cjs/package.json", '{ "type": "commonjs" }\n');
}

rmSync("dist", { recursive: true, force: true });
check("tsconfig.json");
await commonJS();

copyFileSync(join(workspace, "../../LICENSE"), "LICENSE");

if (process.argv.includes("--test")) {
  check("tsconfig.test.json");
  await build({
    entryPoints: list("test", ".test.ts"), outdir: "dist/test", bundle: true, format: "esm", platform: "node", target: "node20",
    packages: "external", outExtension: { ".js": ".mjs" }, sourcemap: "inline", logLevel: "warning",
  });
}
