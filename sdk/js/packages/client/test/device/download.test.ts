import { test } from "node:test";
import assert from "node:assert/strict";
import { classify, isNotServed } from "../../src/device/failure.js";
import { partPath, treePath } from "../../src/device/trees.js";
import { sha256 } from "./shop.js";
import type { Reply, Server } from "./sim.js";
import { golden, goldenWorld, newTree, offerOf, oldTree, World } from "./world.js";
import { Trust } from "../../src/verify/trust.js";

const reason = (want: string) => (e: unknown) => (assert.equal(classify(e), want, String(e)), true);

test("the smallest container that can be applied is taken, else single files", async (t) => {
  const full = golden("full"), changed = golden("changed");
  await t.test("what changed against what runs", async () => {
    const { world, before, after } = await goldenWorld();
    world.shop.containers(after.ref.digest, [{ codec: "full/1", bytes: full, size: full.length }, { from: before.ref.digest, codec: "changed/1", bytes: changed }]);
    const w = await world.run(world.obtain(after, before));
    assert.ok(world.visible(after));
    assert.deepEqual([w.codec, w.received], ["changed/1", changed.length]);
    assert.deepEqual(world.objects, [`containers/${sha256(changed)}`]);
    assert.equal(world.net.asked.some((a) => a.url.endsWith(`/containers?from=${before.ref.digest}`)), true, "the server is told what the device has");
    assert.deepEqual(world.progress.map((p) => [p.received, p.total]).pop(), [changed.length, changed.length]);
    assert.equal(world.disk.list("fetch").length, 0);
  });
  await t.test("the full one when nothing runs", async () => {
    const world = new World(), r = world.shop.release("1", newTree);
    world.shop.containers(r.ref.digest, [{ codec: "full/1", bytes: full }, { from: "f".repeat(64), codec: "changed/1", bytes: changed }]);
    assert.equal((await world.run(world.obtain(r))).codec, "full/1");
    assert.deepEqual(world.objects, [`containers/${sha256(full)}`]);
    assert.ok(world.visible(r));
  });
  await t.test("single files when there is no container, and only those that the device lacks", async () => {
    const { world, before, after } = await goldenWorld();
    const w = await world.run(world.obtain(after, before));
    assert.ok(world.visible(after));
    assert.equal(w.codec, "blobs");
    assert.deepEqual(world.objects, [`blobs/${sha256(newTree["app.js"])}`], "a, b and the logo are copied, the copy is made here");
  });
  await t.test("an unknown codec, one that is too large and one that is no smaller than the full one are not asked for", async () => {
    const { world, before, after } = await goldenWorld(), from = before.ref.digest;
    world.shop.containers(after.ref.digest, [
      { from, codec: "miracle/9", bytes: changed.slice(0, 10) }, { from, codec: "changed/1", bytes: changed, size: (1 << 20) + 1000 },
      { from, codec: "changed/1", bytes: changed.slice(1), size: full.length }, { codec: "full/1", bytes: full },
    ]);
    assert.equal((await world.run(world.obtain(after, before))).codec, "full/1");
    assert.deepEqual(world.objects, [`containers/${sha256(full)}`]);
  });
});

test("when one way fails the next is taken", async () => {
  const { world, before, after } = await goldenWorld(), from = before.ref.digest, full = golden("full");
  // Its bytes are those that the list names, and nonsense.
  const nonsense = new Uint8Array(60).fill(7), torn = golden("changed").slice();
  torn[torn.length - 3] ^= 64;
  world.shop.containers(after.ref.digest, [{ from, codec: "changed/1", bytes: nonsense }, { from, codec: "changed/1", bytes: torn }, { codec: "full/1", bytes: full }]);
  world.shop.objects.delete(`/v1/containers/${sha256(full)}`);
  const w = await world.run(world.obtain(after, before));
  assert.equal(w.codec, "blobs");
  assert.ok(world.visible(after));
  assert.deepEqual(world.objects.map((o) => o.split("/")[0]), ["containers", "containers", "containers", "blobs"]);
  assert.equal(world.log.filter((l) => l.includes("is of no use")).length, 3);
});

test("what was damaged under one codec's name is not asked for under another's", async () => {
  const { world, before, after } = await goldenWorld(), from = before.ref.digest, changed = golden("changed");
  const nonsense = new Uint8Array(60).fill(7);
  world.shop.containers(after.ref.digest, [{ from, codec: "changed/1", bytes: nonsense }, { from, codec: "changed/1", bytes: nonsense }, { from, codec: "changed/1", bytes: changed }]);
  assert.equal((await world.run(world.obtain(after, before))).codec, "changed/1");
  assert.deepEqual(world.objects, [`containers/${sha256(nonsense)}`, `containers/${sha256(changed)}`]);
});

test("a release that is there costs nothing; a damaged one comes again", async () => {
  const { world, before } = await goldenWorld();
  assert.equal((await world.run(world.obtain(before))).codec, "");
  assert.deepEqual(world.net.asked, [], "not even its manifest is asked for");
  world.disk.write(`${treePath(before.ref.digest)}/app.js`, Buffer.from("console.log('bad')\n"));
  assert.equal((await world.run(world.obtain(before))).codec, "blobs");
  assert.ok(world.visible(before));
});

test("a file that a held release should have and that is damaged comes over the network", async () => {
  const { world, before, after } = await goldenWorld();
  world.disk.write(`${treePath(before.ref.digest)}/img/logo.svg`, Buffer.from("<bad/>"));
  const w = await world.run(world.obtain(after, before));
  assert.ok(world.visible(after));
  assert.equal(w.received, newTree["app.js"].length + newTree["img/logo.svg"].length);
});

test("a connection that breaks at any byte costs only the rest", async () => {
  const full = golden("full");
  for (let at = -1; at < full.length; at++) {
    let broken = false;
    const world: World = new World({ servers: { "http://one": (path, q) => {
      const r: Reply = world.shop.serve(path, q);
      if (!path.startsWith("/v1/containers/") || broken) return r;
      broken = true;
      return { ...r, cut: at, piece: 10 };
    } } });
    const r = world.shop.release("1", newTree);
    world.shop.containers(r.ref.digest, [{ codec: "full/1", bytes: full }]);
    const w = await world.run(world.obtain(r));
    assert.equal(w.codec, "full/1");
    assert.equal(w.received, full.length, `cut at ${at}`);
    assert.deepEqual(world.objects.map((o) => o.split(" ")[1]), [undefined, at > 0 ? `bytes=${at}-` : undefined]);
    assert.ok(world.visible(r));
  }
});

test("a process that ends goes on where it was", async () => {
  const body = new Uint8Array(100_000).map((_, i) => (i * i) >> 3);
  let budget = 30_000;
  const world: World = new World({ limits: { rounds: 1 }, plain: true, servers: { "http://one": (path, q) => {
    const r = world.shop.serve(path, q);
    if (!path.startsWith("/v1/blobs/") || !r.body || r.body.length < 100) return r;
    const cut = Math.min(budget, r.body.length);
    budget -= cut;
    return { ...r, cut: cut < r.body.length ? cut : undefined, piece: 4096 };
  } } });
  const r = world.shop.release("1", { "a.txt": "a", "big.bin": body, "c.txt": "c" });
  await assert.rejects(world.run(world.obtain(r)), reason("network"));
  assert.equal(world.disk.read(partPath(sha256(body))).length, 30_000);
  assert.equal(world.visible(r), false);
  budget = 50_000;
  await assert.rejects(world.run(world.obtain(r)), reason("network"));
  budget = Infinity;
  const w = await world.run(world.obtain(r));
  assert.ok(world.visible(r));
  assert.deepEqual(world.objects.filter((o) => o.includes(sha256(body))).map((o) => o.split(" ")[1]).filter((x) => x), ["bytes=30000-", "bytes=30000-", "bytes=80000-", "bytes=80000-"]);
  assert.equal(w.received, 20_001, "the rest of the large file and the last one");
});

test("servers that do harm", async (t) => {
  const big = new Uint8Array(300_000).map((_, i) => i % 251);
  /** A world whose first server answers objects by harm and whose second is good, if there is one. */
  const harmed = (harm: (r: Reply, path: string) => Reply | undefined, alone = false) => {
    const bad: Server = (path, q) => path.startsWith("/v1/blobs/") ? harm(world.shop.serve(path, q), path) : world.shop.serve(path, q);
    const world: World = new World({ plain: true, servers: alone ? { "http://bad": bad } : { "http://bad": bad, "http://good": (path, q) => world.shop.serve(path, q) } });
    return { world, r: world.shop.release("1", { "big.bin": big }) };
  };
  const harms: Record<string, [harm: (r: Reply) => Reply | undefined, alone: string]> = {
    "wrong bytes": [(r) => ({ ...r, body: (r.body as Uint8Array).map((b) => b ^ 1) }), "file_mismatch"],
    "a body that is too short and ends well": [(r) => ({ ...r, body: (r.body as Uint8Array).subarray(0, 0) }), "network"],
    "a body without an end": [(r) => ({ ...r, endless: true }), "too_large"],
    "another range than was asked for": [(r) => ({ ...r, status: 206, headers: { "content-range": "bytes 5-10/300000" } }), "container_invalid"],
    "a drip": [(r) => ({ ...r, piece: 100, wait: 1000 }), "timeout"],
    "silence": [() => undefined, "timeout"],
    "silence in the middle": [(r) => ({ ...r, piece: 1000, wait: 10_000_000 }), "timeout"],
    "no": [() => ({ status: 403 }), "internal"],
    "not here": [() => ({ status: 404 }), "internal"],
    "broken": [() => ({ status: 500 }), "server_error"],
    "a reset": [() => ({ cut: -1 }), "network"],
  };
  for (const [name, [harm, alone]] of Object.entries(harms)) {
    await t.test(name, async () => {
      const lonely = harmed(harm, true), began = lonely.world.clock.now();
      await assert.rejects(lonely.world.run(lonely.world.obtain(lonely.r)), reason(alone));
      assert.equal(lonely.world.visible(lonely.r), false);
      assert.ok(lonely.world.clock.now() - began < 20 * 60_000, "it gives up in time");
      assert.ok(lonely.world.net.bytes < 5 * big.length, "it gives up in bytes");
      const { world, r } = harmed(harm);
      // A drip costs the time that its server was trusted with; the next attempt goes on at the good one.
      await world.run(world.obtain(r)).catch(reason("timeout"));
      if (!world.visible(r)) world.net.servers["http://bad"] = world.net.servers["http://good"];
      await world.run(world.obtain(r));
      assert.ok(world.visible(r));
    });
  }
  await t.test("a server that begins anew each time is not followed without end", async () => {
    const { world, r } = harmed((reply) => ({ ...reply, status: 200, body: big, cut: big.length - 1 }), true);
    await assert.rejects(world.run(world.obtain(r)), reason("too_large"));
    assert.ok(world.net.bytes < 3 * big.length + (1 << 20));
  });
  await t.test("a server that ignores ranges gives the whole again", async () => {
    let first = true;
    const { world, r } = harmed((reply) => (first ? ((first = false), { ...reply, cut: 1000 }) : { status: 200, body: big }), true);
    assert.equal((await world.run(world.obtain(r))).received, big.length + 1000);
    assert.ok(world.visible(r));
  });
});

test("a host that cannot hand on pieces asks for whole objects", async () => {
  const { world, after } = await goldenWorld({ streams: false });
  world.disk.folders.add("fetch");
  world.disk.write(partPath(sha256(newTree["app.js"])), Buffer.from("cons"));
  await world.run(world.obtain(after));
  assert.ok(world.visible(after));
  assert.deepEqual(world.objects.filter((o) => o.includes(" ")), []);
});

test("a full disk says so, whatever way is taken", async () => {
  const body = new Uint8Array(50_000).fill(1);
  for (const limit of [1000, 20_000, 50_500]) {
    const world = new World({ plain: true }), r = world.shop.release("1", { "a.bin": body, "b.bin": body, "c.txt": "c" });
    world.disk.limit = limit;
    await assert.rejects(world.run(world.obtain(r)), reason("disk_full"));
    assert.equal(world.visible(r), false);
    world.disk.limit = Infinity;
    await world.run(world.obtain(r));
    assert.ok(world.visible(r));
  }
  const { world, before, after } = await goldenWorld();
  world.shop.containers(after.ref.digest, [{ from: before.ref.digest, codec: "changed/1", bytes: golden("changed") }, { codec: "full/1", bytes: golden("full") }]);
  world.disk.limit = world.disk.used + golden("changed").length + 40 + after.envelope.length;
  await assert.rejects(world.run(world.obtain(after, before)), reason("disk_full"));
  assert.equal(world.objects.length, 1, "no other way is tried");
});

test("a manifest that is not what was offered is refused", async (t) => {
  const cases: Record<string, [(w: World) => ReturnType<World["shop"]["release"]>, string]> = {
    "a path out of the tree": [(w) => w.shop.release("1", { "../up.js": "x" }), "malformed"],
    "another size": [(w) => { const r = w.shop.release("1", oldTree); r.ref.size++; return r; }, "manifest_mismatch"],
    "another digest": [(w) => { const r = w.shop.release("1", oldTree), s = w.shop.release("1", newTree); w.shop.objects.set(`/v1/manifests/${r.ref.digest}`, s.envelope); return r; }, "manifest_mismatch"],
    "another signer": [(w) => { const r = w.shop.release("1", oldTree); w.shop.keys.release = w.shop.keys.state; const s = w.shop.release("1", oldTree); w.shop.objects.set(`/v1/manifests/${r.ref.digest}`, s.envelope); return r; }, "signature_invalid"],
  };
  for (const [name, [make, want]] of Object.entries(cases)) {
    await t.test(name, async () => {
      const world = new World(), r = make(world);
      await assert.rejects(world.run(world.obtain(r)), reason(want));
      assert.deepEqual(world.objects, []);
    });
  }
  await t.test("none", async () => {
    const world = new World(), r = world.shop.release("1", oldTree);
    world.shop.objects.delete(`/v1/manifests/${r.ref.digest}`);
    await assert.rejects(world.run(world.obtain(r)), isNotServed);
  });
  await t.test("a key that a newer root names", async () => {
    const world = new World(), p = await world.process();
    let trust = await Trust.open(p.host.crypto, world.shop.root), walks = 0;
    world.shop.keys.release = world.shop.keys.state;
    const root2 = world.shop.signRoot(2), r = world.shop.release("1", oldTree);
    const w = await world.run(p.downloads.manifest(offerOf(r), { app: "shop", platform: "any" }, () => trust, async () => { walks++; trust = await trust.next(root2); }));
    assert.deepEqual([w.manifest.version, walks], ["1", 1]);
  });
});

test("what nobody goes on with is tidied away", async () => {
  const world: World = new World({ plain: true, limits: { rounds: 1 }, servers: { "http://one": (path, q) => {
    const r = world.shop.serve(path, q);
    if (!path.startsWith("/v1/blobs/") || (r.body?.length ?? 0) < 100) return r;
    return r.status === 206 ? { status: 500 } : { ...r, cut: 100 };
  } } });
  const big = (n: number) => new Uint8Array(5000).fill(n);
  const one = world.shop.release("1", { a: "a", b: big(1) }), two = world.shop.release("2", { a: "a", b: big(2) });
  await assert.rejects(world.run(world.obtain(one)), reason("server_error"));
  const p = await world.process(), trust = await Trust.open(p.host.crypto, world.shop.root);
  const w = await world.run(p.downloads.manifest(offerOf(two), { app: "shop", platform: "any" }, () => trust, async () => undefined));
  await assert.rejects(world.run(p.downloads.obtain(w, {})), reason("server_error"));
  assert.deepEqual([world.disk.list("fetch").length, world.disk.list("staging").length], [2, 2]);
  await p.downloads.tidy(false);
  assert.deepEqual([world.disk.list("fetch"), world.disk.list("staging")], [[`${sha256(big(2))}.part`], [two.ref.digest]]);
  await p.downloads.tidy(true);
  assert.deepEqual([world.disk.list("fetch"), world.disk.list("staging")], [[], []]);
});
