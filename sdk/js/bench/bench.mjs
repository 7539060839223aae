// The figures of the JavaScript client, each beside a baseline of the same run; --write puts them into docs/benchmarks.md.
// The package must have been built. Takes about two minutes.
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { writeTable } from "./table.mjs";
import { launches } from "./launch.mjs";

const write = process.argv.includes("--write");
const here = (file) => fileURLToPath(new URL(file, import.meta.url));

/** The best of some runs of the engine, turn by turn, so that other work on the machine hits all alike. */
function engines(runs = 3) {
  const best = {};
  for (let run = 0; run < runs; run++) {
    for (const kind of ["native", "noble", "tweetnacl"]) {
      for (const jit of [true, false]) {
        if (run > 0 && kind === "tweetnacl" && !jit) continue; // seconds a check
        const out = execFileSync(process.execPath, [...(jit ? [] : ["--jitless"]), here("engine.mjs"), kind], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
        const got = JSON.parse(out), b = (best[kind + jit] ??= got);
        b.check = Math.min(b.check, got.check);
        b.signatures = Math.min(b.signatures, got.signatures);
        b.hash = Math.max(b.hash, got.hash);
      }
    }
  }
  return best;
}

const ms = (us) => (us < 1e6 ? (us / 1000).toPrecision(3) : Math.round(us / 1000)) + " ms", times = (a, b) => (a / b < 0.01 ? (a / b).toFixed(4) : a / b < 100 ? (a / b).toPrecision(3) : Math.round(a / b).toString()), speed = (n) => (n < 100 ? n.toPrecision(2) : Math.round(n)) + " MB/s";
const e = engines();
const rows = [];
for (const kind of ["native", "noble", "tweetnacl"]) {
  const on = e[kind + true], off = e[kind + false];
  rows.push([`verify + decide, ${kind}`, `${ms(on.check)}, ${times(on.check, on.signatures)} x_signatures`, `${ms(off.check)}, ${times(off.check, off.signatures)} x_signatures`, times(off.check, on.check)]);
}
for (const kind of ["native", "noble"]) {
  const on = e[kind + true], off = e[kind + false], native = (side) => (kind === "noble" ? `, ${times(side.hash, e["native" + (side === on)].hash)} x_native` : "");
  rows.push([`SHA-256, ${kind}`, speed(on.hash) + native(on), speed(off.hash) + native(off), times(on.hash, off.hash)]);
}
writeTable("js engines", ["", "with JIT", "without", "without / with (time)"], rows, write);

const { direct, launched } = await launches();
writeTable("js launch", ["from the start of the process to the first line of the app", "median of 15", "ratio"], [
  ["the file loaded directly", direct.toFixed(1) + " ms", "1"],
  ["by way of the client, which read, verified and noted down what it starts", launched.toFixed(1) + " ms", times(launched, direct) + " x_direct"],
], write);
