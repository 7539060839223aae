import { test } from "node:test";
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const pages = (dir: string) => readdirSync(dir, { recursive: true }).map(String).filter((f) => f.endsWith(".md")).sort();

test("the reference in docs/api/js is what the sources say", (t) => {
  const kept = "../../../../docs/api/js", fresh = mkdtempSync(join(tmpdir(), "slipstream-docs-"));
  t.after(() => rmSync(fresh, { recursive: true, force: true }));
  execFileSync(process.execPath, ["../../docs.mjs", fresh], { stdio: ["ignore", "ignore", "inherit"] });
  const how = "run npm run docs in sdk/js and commit docs/api/js";
  assert.deepEqual(pages(kept), pages(fresh), how);
  for (const page of pages(fresh)) assert.ok(readFileSync(join(kept, page), "utf8") === readFileSync(join(fresh, page), "utf8"), `${page} is stale: ${how}`);
});
