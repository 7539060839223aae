import { test } from "node:test";
import assert from "node:assert/strict";
import { NotFound } from "../src/host.js";

test("a missing file is told apart from other failures", () => {
  assert.ok(new NotFound("x") instanceof Error);
});
