import { test } from "node:test";
import assert from "node:assert/strict";
import type { Cut } from "../../src/hosts/miniprogram/disk.js";
import { golden, goldenWorld, type WorldOptions } from "./world.js";

// Every write of a fetch is the last one once: nothing half made is ever visible, and the next process finishes.
for (const [ways, movesFolders] of [["containers", true], ["containers", false], ["files", true], ["files", false]] as const) {
  for (const how of ["before", "torn", "after"] as const) {
    test(`the power goes at every write: ${ways}, ${movesFolders ? "folders move in one step" : "folders move file by file"}, ${how}`, async () => {
      let cuts = 0;
      for (let n = 1; await cutAt(n, how, { movesFolders, plain: ways === "files" }); n++) cuts++;
      assert.ok(cuts >= 15, `${cuts} writes`);
    });
  }
}

/** False when the fetch was over before its nth write. */
async function cutAt(n: number, how: Cut, o: WorldOptions): Promise<boolean> {
  const { world, before, after } = await goldenWorld(o), { disk } = world;
  world.shop.containers(after.ref.digest, [{ from: before.ref.digest, codec: "changed/1", bytes: golden("changed") }, { codec: "full/1", bytes: golden("full") }]);
  let gone = false;
  void disk.cutAt(n, how).then(() => (gone = true));
  const first = await world.run(world.obtain(after, before)).then(() => "done", () => "failed");
  await Promise.resolve();
  disk.revive();
  if (!gone) {
    assert.equal(first, "done");
    return false;
  }
  const p = await world.run(world.process()); // what a crash cut off is finished by whoever takes the lock
  if (world.visible(after)) assert.ok(await p.trees.holding(after.ref.digest), "what is visible is whole");
  assert.ok(world.visible(before), "what runs is as it was");
  await world.run(p.downloads.tidy(false));
  await world.run(world.obtain(after, before));
  assert.ok(world.visible(after));
  assert.ok(world.visible(before));
  await p.downloads.tidy(true);
  assert.deepEqual([disk.list("fetch"), disk.list("staging"), disk.list("releases").length], [[], [], 4], "nothing is left over");
  return true;
}
