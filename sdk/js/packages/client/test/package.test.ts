// The package as its users get it: packed, installed into an empty folder, loaded and type-checked from there.
import { test } from "node:test";
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createRequire } from "node:module";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";

interface Packed {
  filename: string;
  files: { path: string }[];
}

type Target = string | { import: { types: string; default: string }; require: { types: string; default: string } };
const own = JSON.parse(readFileSync("package.json", "utf8")) as { name: string; exports: Record<string, Target>; dependencies: Record<string, string> };
const entries = Object.keys(own.exports).filter((e) => e !== "./package.json").map((e) => own.name + e.slice(1));

function installed(name: string): string {
  for (let dir = process.cwd(); ; dir = dirname(dir)) {
    const at = join(dir, "node_modules", name);
    if (existsSync(join(at, "package.json"))) return at;
    if (dir === dirname(dir)) throw new Error(`${name} is not installed`);
  }
}

test("the package works where it is installed", async (t) => {
  const dir = mkdtempSync(join(tmpdir(), "slipstream-package-"));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  const npm = (...args: string[]) => execFileSync("npm", [...args, "--no-audit", "--no-fund"], { cwd: dir, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
  const node = (...args: string[]) => execFileSync(process.execPath, args, { cwd: dir, encoding: "utf8" });
  const [packed] = JSON.parse(npm("pack", resolve("."), "--json", "--ignore-scripts")) as Packed[];

  await t.test("what is packed is what is needed", () => {
    const paths = packed.files.map((f) => f.path), odd = paths.filter((p) => !/^dist\/(esm|cjs)\/.*(\.js|\.d\.ts)$|^(package\.json|dist\/cjs\/package\.json|README\.md|LICENSE)$/.test(p) || /test/.test(p));
    assert.deepEqual(odd, []);
    for (const p of ["README.md", "LICENSE"]) assert.ok(paths.includes(p), p);
    for (const target of Object.values(own.exports)) {
      const files = typeof target === "string" ? [target] : [target.import.types, target.import.default, target.require.types, target.require.default];
      for (const f of files) assert.ok(paths.includes(f.replace("./", "")), `${f} is exported and not packed`);
    }
  });

  writeFileSync(join(dir, "package.json"), '{ "name": "user", "private": true }');
  npm("install", "--install-links", "--offline", "--ignore-scripts", packed.filename, ...Object.keys(own.dependencies).map(installed));

  await t.test("every entry is imported", () => {
    writeFileSync(join(dir, "load.mjs"), entries.map((e) => `console.log(${JSON.stringify(e)}, Object.keys(await import(${JSON.stringify(e)})).length > 0);\n`).join(""));
    assert.equal(node("load.mjs"), entries.map((e) => e + " true\n").join(""));
  });

  await t.test("every entry is required, also where require() takes no modules", () => {
    writeFileSync(join(dir, "load.cjs"), entries.map((e) => `console.log(${JSON.stringify(e)}, Object.keys(require(${JSON.stringify(e)})).length > 0);\n`).join(""));
    const flag = "--no-experimental-require-module";
    const args = process.allowedNodeEnvironmentFlags.has("--experimental-require-module") ? [flag] : [];
    assert.equal(node(...args, "load.cjs"), entries.map((e) => e + " true\n").join(""));
  });

  await t.test("entries share their classes", () => {
    writeFileSync(join(dir, "share.cjs"), `
      const { nodeHost } = require("slipstream-client/node"), { join } = require("node:path");
      const cjs = join(require.resolve("slipstream-client/package.json"), "../dist/cjs/host.js");
      nodeHost({ directory: join(__dirname, "device") }).files.read("no").catch((e) => console.log(e instanceof require(cjs).NotFound));`);
    assert.equal(node("share.cjs"), "true\n");
  });

  await t.test("every entry is typed, for modules, CommonJS and bundlers", () => {
    const tsc = createRequire(import.meta.url).resolve("typescript/bin/tsc");
    const use = entries.map((e, i) => `import * as m${i} from ${JSON.stringify(e)};\n`).join("") + `export const all: object[] = [${entries.map((_, i) => "m" + i)}];\n`;
    for (const file of ["use.mts", "use.cts"]) writeFileSync(join(dir, file), use);
    const common = { strict: true, noEmit: true, target: "ES2019", lib: ["ES2019"], types: [], skipLibCheck: false };
    const ways = { nodenext: { module: "nodenext", moduleResolution: "nodenext" }, bundler: { module: "ESNext", moduleResolution: "bundler" } };
    for (const [name, way] of Object.entries(ways)) {
      const files = name === "bundler" ? ["use.mts"] : ["use.mts", "use.cts"];
      writeFileSync(join(dir, `${name}.json`), JSON.stringify({ compilerOptions: { ...common, ...way }, files }));
      try {
        node(tsc, "-p", `${name}.json`);
      } catch (e) {
        assert.fail(`${name}: ${(e as { stdout: string }).stdout}`);
      }
    }
  });
});
