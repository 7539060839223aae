import { test, type TestContext } from "node:test";
import assert from "node:assert/strict";
import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { createServer as createTcpServer, type AddressInfo } from "node:net";
import { createServer } from "node:http";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, realpathSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { NotFound } from "../../src/host.js";
import { nodeHost } from "../../src/hosts/node/index.js";
import { contract } from "./contract.js";

const built = pathToFileURL(resolve("dist/esm/hosts/node/index.js")).href;

function folder(t: TestContext): string {
  const dir = realpathSync(mkdtempSync(join(tmpdir(), "slipstream-node-")));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

const bytes = (text: string) => new TextEncoder().encode(text);

test("the directory over Node's file system", async (t) => {
  for (const [what, check] of Object.entries(contract)) {
    await t.test(what, (t) => check(nodeHost({ directory: join(folder(t), "made/by/the/host") }).files));
  }

  await t.test("a path that leaves the directory is refused, also through links", async (t) => {
    const outside = folder(t), dir = folder(t), { files } = nodeHost({ directory: dir });
    writeFileSync(join(outside, "secret"), "s");
    mkdirSync(join(outside, "sub"));
    mkdirSync(join(dir, "own"));
    symlinkSync(outside, join(dir, "out"));
    symlinkSync(join(outside, "secret"), join(dir, "file"));
    symlinkSync(join(outside, "not-yet"), join(dir, "nowhere"));
    for (const path of ["../x", "a/../../x", "/etc/passwd", "a//b", "./a", "a/", "x\0y", "out/secret", "out/sub/new", "nowhere/x"]) {
      const odd = /leads out|link to nowhere/;
      await assert.rejects(files.read(path), odd, path);
      await assert.rejects(files.create(path), odd, path);
      await assert.rejects(files.replace(path, bytes("x")), odd, path);
      await assert.rejects(files.remove(path), odd, path);
      await assert.rejects(files.rename("own", path), odd, path);
      await assert.rejects(files.size(path), odd, path);
    }
    await assert.rejects(files.list("out"), /leads out/);
    for (const path of ["file", "nowhere"]) {
      await assert.rejects(files.read(path), /is a link/);
      await assert.rejects(files.create(path), /is a link/);
      assert.equal(await files.size(path), undefined);
    }
    await files.replace("file", bytes("mine"));
    await files.remove("nowhere");
    await files.remove("out");
    assert.equal(readFileSync(join(outside, "secret"), "utf8"), "s");
    assert.deepEqual(readdirSync(outside).sort(), ["secret", "sub"]);
    assert.deepEqual((await files.list("")).sort(), ["file", "own/"]);
    await assert.rejects(files.remove(""), /itself stays/);
  });

  await t.test("links inside the directory lead where they say", async (t) => {
    const dir = folder(t), { files } = nodeHost({ directory: dir });
    await files.replace("releases/abc/main.js", bytes("m"));
    mkdirSync(join(dir, "packages"));
    symlinkSync("../releases/abc", join(dir, "packages/official"));
    assert.equal(Buffer.from(await files.read("packages/official/main.js")).toString(), "m");
  });

  await t.test("programs may be run, other files may not", async (t) => {
    const dir = folder(t), { files } = nodeHost({ directory: dir });
    for (const executable of [true, false]) {
      const sink = await files.create(`bin/${executable}`, { executable });
      await sink.close();
    }
    assert.equal(statSync(join(dir, "bin/true")).mode & 0o100, 0o100);
    assert.equal(statSync(join(dir, "bin/false")).mode & 0o111, 0);
    assert.equal(files.locate("bin/true"), join(dir, "bin/true"));
  });

  await t.test("large pieces and small ones keep their order", async (t) => {
    const { files } = nodeHost({ directory: folder(t) }), sink = await files.create("x"), want: Buffer[] = [];
    for (const [n, length] of [1, 70_000, 3, 65_536, 65_535, 2, 200_000].entries()) {
      const piece = Buffer.alloc(length, n + 1);
      want.push(Buffer.from(piece));
      await sink.write(piece);
      piece.fill(0);
    }
    await sink.close();
    assert.ok(Buffer.concat(want).equals(await files.read("x")));
  });

  await t.test("a full disk is told apart, and what was there stays", (t) => {
    const script = `
      import { nodeHost } from ${JSON.stringify(built)};
      const { files, locks } = nodeHost({ directory: process.argv[1] + "/d" });
      const say = (what) => (e) => console.log(what, e.constructor.name);
      await files.replace("state.json", Uint8Array.of(1, 2, 3));
      await files.replace("state.json", new Uint8Array(500_000)).catch(say("replace"));
      const sink = await files.create("big");
      await (async () => { await sink.write(new Uint8Array(500_000)); })().catch(say("write"));
      await sink.close();
      const small = await files.create("small");
      await small.write(new Uint8Array(60_000));
      await small.close().catch(say("close"));
      console.log("kept", (await files.read("state.json")).length);
      await files.remove("big");
      await files.remove("small");
      await files.replace("state.json", new Uint8Array(9));
      console.log("again", await files.size("state.json"));`;
    const dir = folder(t);
    const done = spawnSync("unshare", ["-m", "sh", "-c", `mount -t tmpfs -o size=128k none "$1" && exec "$2" --input-type=module -e "$3" "$1"`, "-", dir, process.execPath, script], { encoding: "utf8" });
    if (done.error || /unshare|mount:/.test(done.stderr)) return t.skip("MISSING: unshare and the right to mount");
    assert.deepEqual(done.stdout.trim().split("\n"), ["replace StorageFull", "write StorageFull", "close StorageFull", "kept 3", "again 9"], done.stderr);
  });

  await t.test("a directory that cannot be made fails when it is used, and names why", async (t) => {
    const dir = folder(t);
    writeFileSync(join(dir, "file"), "");
    const { files, locks } = nodeHost({ directory: join(dir, "file/below") });
    await assert.rejects(files.read("state.json"), NotFound);
    assert.equal(await files.size("state.json"), undefined);
    await assert.rejects(files.replace("state.json", bytes("x")));
    await assert.rejects(locks.tryLock("lock"));
  });
});

/** A process that takes the lock, says so, and lives on. */
function holder(dir: string): ChildProcess {
  const script = `
    import { nodeHost } from ${JSON.stringify(built)};
    const held = await nodeHost({ directory: process.argv[1] }).locks.tryLock("lock");
    console.log(held ? "held" : "refused");
    setInterval(() => {}, 1000);`;
  return spawn(process.execPath, ["--input-type=module", "-e", script, dir], { stdio: ["ignore", "pipe", "inherit"] });
}

const said = (child: ChildProcess) => new Promise<string>((done) => child.stdout?.once("data", (b: Buffer) => done(b.toString().trim())));
const gone = (child: ChildProcess) => new Promise<void>((done) => void child.once("exit", () => done()));

test("one at a time holds the directory", async (t) => {
  for (const [what, deep] of [["a short path", "d"], ["a path longer than a socket's may be", "long/" + "x".repeat(100)]]) {
    await t.test(`${what}: in one process`, async (t) => {
      const { locks } = nodeHost({ directory: join(folder(t), deep) });
      const first = await locks.tryLock("lock");
      assert.ok(first);
      assert.equal(await locks.tryLock("lock"), undefined);
      const other = await locks.tryLock("other");
      assert.ok(other);
      await other.release();
      await first.release();
      const again = await locks.tryLock("lock");
      assert.ok(again);
      await again.release();
    });

    await t.test(`${what}: a second process is kept out, and free at once after kill -9`, async (t) => {
      const dir = join(folder(t), deep), { locks } = nodeHost({ directory: dir }), children: ChildProcess[] = [];
      t.after(() => children.forEach((c) => c.kill("SIGKILL")));
      for (let round = 0; round < 3; round++) {
        const child = holder(dir);
        children.push(child);
        assert.equal(await said(child), "held");
        assert.equal(await locks.tryLock("lock"), undefined);
        child.kill("SIGSTOP");
        assert.equal(await locks.tryLock("lock"), undefined, "a stopped process still holds it");
        const ended = gone(child);
        child.kill("SIGKILL");
        await ended;
        const mine = await locks.tryLock("lock");
        assert.ok(mine, "free after kill -9");
        const late = holder(dir);
        children.push(late);
        assert.equal(await said(late), "refused");
        const over = gone(late);
        late.kill("SIGKILL");
        await over;
        await mine.release();
      }
    });
  }

  await t.test("the holder finds nothing that a killed process left on its way", async (t) => {
    const dir = folder(t), { files, locks } = nodeHost({ directory: dir });
    mkdirSync(join(dir, ".temp"));
    writeFileSync(join(dir, ".temp/half"), "ha");
    const held = await locks.tryLock("lock");
    assert.ok(held);
    assert.ok(!existsSync(join(dir, ".temp")));
    await files.replace("state.json", bytes("1"));
    await held.release();
  });

  await t.test("never two, however many want it and are killed", async (t) => {
    const dir = folder(t), mark = join(dir, "mark");
    const script = `
      import { nodeHost } from ${JSON.stringify(built)};
      import { readFileSync, writeFileSync } from "node:fs";
      const { locks } = nodeHost({ directory: process.argv[1] }), sleep = (ms) => new Promise((done) => setTimeout(done, ms));
      for (let n = 0; ; n++) {
        const held = await locks.tryLock("lock");
        if (held) {
          const mine = process.pid + "." + n;
          writeFileSync(process.argv[2], mine);
          await sleep(Math.random() * 3);
          console.log(readFileSync(process.argv[2], "utf8") === mine ? "1" : "two at once");
          if (Math.random() < 0.7) await held.release();
          else process.kill(process.pid, "SIGKILL");
        }
        await sleep(Math.random());
      }`;
    let taken = 0, two = 0, over = false;
    const children = new Set<ChildProcess>();
    const start = () => {
      const child = spawn(process.execPath, ["--input-type=module", "-e", script, dir, mark], { stdio: ["ignore", "pipe", "inherit"] });
      children.add(child);
      child.stdout.on("data", (b: Buffer) => {
        taken += b.toString().split("\n").length - 1;
        if (b.includes("two")) two++;
      });
      child.once("exit", () => {
        children.delete(child);
        if (!over) start();
      });
    };
    for (let n = 0; n < 4; n++) start();
    for (let i = 0; i < 600 && taken < 40; i++) await new Promise((done) => setTimeout(done, 50));
    over = true;
    await Promise.all([...children].map((c) => {
      const ended = gone(c);
      c.kill("SIGKILL");
      return ended;
    }));
    assert.equal(two, 0);
    assert.ok(taken >= 40, `the lock was taken ${taken} times`);
    assert.ok(readdirSync(join(dir, "lock")).length < 20, "what the killed ones left is cleared away");
  });
});

test("redirects, ranges and broken answers over node:http", async (t) => {
  const big = Buffer.alloc(300_000, 7);
  const server = createServer((q, r) => {
    const [, hops] = /^\/hop\/(\d+)$/.exec(q.url ?? "") ?? [];
    if (hops) return void r.writeHead(302, { location: hops === "1" ? "/echo" : `/hop/${Number(hops) - 1}` }).end("on and on");
    if (q.url === "/see") return void r.writeHead(303, { location: "/echo" }).end();
    if (q.url === "/keep") return void r.writeHead(307, { location: "/echo" }).end();
    if (q.url === "/ftp") return void r.writeHead(302, { location: "https://127.0.0.1/" }).end();
    if (q.url === "/cut") return void (r.writeHead(200, { "content-length": 1000 }), r.write("half"), setTimeout(() => r.destroy(), 20));
    if (q.url === "/part") {
      const [, from] = /^bytes=(\d+)-$/.exec(q.headers.range ?? "") ?? [];
      return void r.writeHead(206, { "content-range": `bytes ${from}-299999/300000` }).end(big.subarray(Number(from)));
    }
    r.writeHead(200, { "x-method": q.method, "x-secret": String(q.headers.authorization), "x-type": String(q.headers["content-type"]) });
    q.pipe(r);
  });
  await new Promise<void>((up) => server.listen(0, "127.0.0.1", up));
  t.after(() => (server.closeAllConnections(), void server.close()));
  const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`, { http } = nodeHost({ directory: folder(t) });
  const ask = { method: "GET" as const, limit: 1 << 20, timeout: 10_000 };
  const post = { ...ask, method: "POST" as const, body: bytes("said"), headers: { authorization: "me", "content-type": "text/plain" } };

  assert.equal((await http.request({ ...ask, url: base + "/hop/3" })).status, 200);
  await assert.rejects(http.request({ ...ask, url: base + "/hop/4" }), /more than 3 other places/);
  await assert.rejects(http.request({ ...ask, url: base + "/ftp" }), /another scheme/);
  await assert.rejects(http.request({ ...ask, url: "file:///etc/passwd" }), /no http or https URL/);
  await assert.rejects(http.request({ ...ask, url: "nonsense" }), /Invalid URL/);

  const see = await http.request({ ...post, url: base + "/see" });
  assert.deepEqual([see.headers["x-method"], see.headers["x-secret"], see.headers["x-type"], see.body.length], ["GET", "me", "undefined", 0]);
  const keep = await http.request({ ...post, url: base + "/keep" });
  assert.deepEqual([keep.headers["x-method"], keep.headers["x-type"], Buffer.from(keep.body).toString()], ["POST", "text/plain", "said"]);

  const elsewhere = createServer((_, r) => void r.writeHead(307, { location: base + "/echo" }).end());
  await new Promise<void>((up) => elsewhere.listen(0, "127.0.0.1", up));
  t.after(() => (elsewhere.closeAllConnections(), void elsewhere.close()));
  const far = await http.request({ ...post, url: `http://127.0.0.1:${(elsewhere.address() as AddressInfo).port}/` });
  assert.equal(far.headers["x-secret"], "undefined", "a secret went to another host");

  const part = await http.request({ ...ask, url: base + "/part", headers: { range: "bytes=299000-" } });
  assert.deepEqual([part.status, part.headers["content-range"], part.body.length], [206, "bytes 299000-299999/300000", 1000]);
  let got = 0;
  await assert.rejects(http.request({ ...ask, url: base + "/cut", onBytes: (b) => void (got += b.length) }));
  assert.equal(got, 4);
  await assert.rejects(http.request({ ...ask, url: base + "/part", headers: { range: "bytes=0-" }, onBytes: () => { throw new Error("no room"); } }), /no room/);
  const stop = new AbortController();
  stop.abort();
  await assert.rejects(http.request({ ...ask, url: base + "/echo", signal: stop.signal }), /given up/);
});

test("a request whose idle connection was closed meanwhile is asked again", async (t) => {
  let connections = 0;
  const server = createTcpServer((c) => {
    connections++;
    let asked = 0;
    c.on("error", () => undefined).on("data", () => {
      // The second request of a connection meets its end.
      if (++asked === 1) c.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: keep-alive\r\n\r\nok");
      else c.resetAndDestroy();
    });
  });
  await new Promise<void>((up) => server.listen(0, "127.0.0.1", up));
  t.after(() => void server.close());
  const { http } = nodeHost({ directory: folder(t) }), url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  for (let n = 0; n < 3; n++) {
    assert.equal((await http.request({ method: "GET", url, limit: 10, timeout: 5000 })).body.length, 2);
    await new Promise((done) => setTimeout(done, 20));
  }
  assert.equal(connections, 3);
});
