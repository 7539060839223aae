import { test } from "node:test";
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";

test("verifying, deciding and trials fit into 25 KB, and into 30 KB for engines without BigInt", () => {
  const all = JSON.parse(execFileSync(process.execPath, ["../../bench/sizes.mjs", "--json"], { encoding: "utf8" })) as Record<string, { gzip: number }>;
  for (const [signatures, most] of [["noble", 25_000], ["tweetnacl", 30_000]] as const) {
    const { gzip } = all[`verify + decide + trial, ${signatures}`];
    assert.ok(gzip > 5_000 && gzip < most, `${signatures}: ${gzip} bytes`);
  }
});
