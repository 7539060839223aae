// Builds the package: every module of src as ESM with types in dist/esm and as CommonJS in dist/cjs. With --test also
// type-checks the tests and puts them, one bundle a file with packages left out, into dist/test for node --test.
import { execFileSync } from "node:child_process";
import { readdirSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { createRequire } from "node:module";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
process.chdir(here);
const tsc = createRequire(import.meta.url).resolve("typescript/bin/tsc");
const list = (dir, end) => readdirSync(dir, { recursive: true }).map(String).filter((f) => f.endsWith(end)).map((f) => join(dir, f));

rmSync("dist", { recursive: true, force: true });
const check = (project) => execFileSync(process.execPath, [tsc, "-p", project], { stdio: "inherit" });
check("tsconfig.json");
await build({ entryPoints: list("src", ".ts"), outdir: "dist/cjs", format: "cjs", target: "es2019", supported: { bigint: true }, platform: "neutral", logLevel: "warning" });
mkdirSync("dist/cjs", { recursive: true });
writeFileSync("dist/cjs/package.json", '{ "type": "commonjs" }\n');

if (process.argv.includes("--test")) {
  check("tsconfig.test.json");
  await build({
    entryPoints: list("test", ".test.ts"), outdir: "dist/test", bundle: true, format: "esm", platform: "node", target: "node20",
    packages: "external", outExtension: { ".js": ".mjs" }, sourcemap: "inline", logLevel: "warning",
  });
}
