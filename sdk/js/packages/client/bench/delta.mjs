// Measures applying containers in Node with and without its compiler, on pairs of a corpus: npm run bench:delta -- DIR
// DIR is the folder of a corpus in the layout of `slipstream delta bench` (docs/guides/delta.md). Needs go, for making the
// containers and as a measure beside it. Times are those of the processor, so that others on the machine count little.
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url)), repository = join(here, "../../../../..");
const [dir, ...only] = process.argv.slice(2);
if (dir === undefined || !existsSync(join(dir, "manifest.tsv"))) {
  console.error("usage: npm run bench:delta -- DIR [PAIR…]   DIR has a manifest.tsv and the folders of the pairs");
  process.exit(2);
}
const wanted = only.length > 0 ? only : ["js-antd-patch", "js-shop-depbump", "hbc-shop-oneline", "hbc-shop-depbump", "hbc-shop-depbump-based"];
const codecs = ["full/1", "simple/1+deflate", "simple/1+zstd", "simple/1+zstd+hbc", "rich/1+js"];
const scratch = mkdtempSync(join(tmpdir(), "slipstream-bench-"));
const lines = readFileSync(join(dir, "manifest.tsv"), "utf8").trim().split("\n").slice(1).map((l) => l.split("\t"));
const ms = (v) => (v < 10 ? v.toFixed(1) : v.toFixed(0));
const times = (v) => (v < 10 ? v.toFixed(1) : v.toFixed(0)) + " ×";

try {
  execFileSync("go", ["build", "-o", join(scratch, "containers"), "./scripts/containers"], { cwd: repository, stdio: "inherit" });
  console.log("| pair | codec | bytes | Go, ms | Node first, ms | Node, ms | to Go | to native brotli | without compiler, ms | to Node | longest slice |");
  console.log("| --- | --- | --: | --: | --: | --: | --: | --: | --: | --: | --: |");
  for (const [name, , oldPath, newPath] of lines.filter((l) => wanted.includes(l[0]))) {
    const at = join(scratch, name), old = join(dir, oldPath), next = join(dir, newPath);
    execFileSync(join(scratch, "containers"), [old, next, at, ...codecs], { stdio: "inherit" });
    const run = (runs, ...flags) => JSON.parse(execFileSync(process.execPath, [...flags, join(here, "delta-child.mjs"), at, old, next, String(runs)], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }));
    const fast = run(5), slow = run(3, "--jitless");
    for (const c of JSON.parse(readFileSync(join(at, "pair.json"), "utf8")).containers) {
      const f = fast[c.codec], s = slow[c.codec];
      console.log(`| ${name} | ${c.codec} | ${c.size} | ${ms(c.applyMs)} | ${ms(f.first)} | ${ms(f.median)} | ${times(f.median / c.applyMs)} | ${times(f.median / fast.brotli.median)} | ${ms(s.median)} | ${times(s.median / f.median)} | ${ms(s.slice)} ms |`);
    }
    console.log(`| ${name} | native brotli of the whole | ${fast.brotli.size} | | | ${ms(fast.brotli.median)} | | 1.0 × | ${ms(slow.brotli.median)} | | |`);
    console.log(`| ${name} | SHA-256 in JavaScript | | | | ${ms(fast.hash.median)} | | | ${ms(slow.hash.median)} | ${times(slow.hash.median / fast.hash.median)} | |`);
  }
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
