import { test } from "node:test";
import assert from "node:assert/strict";
import type { Clock } from "../../src/host.js";
import { session, type LaunchLike, type SessionOptions } from "../../src/update-manager/index.js";

const turn = () => new Promise<void>((done) => setImmediate(done));

class Hands implements Clock {
  time = 0;
  private timers: { at: number; then: () => void }[] = [];
  now() {
    return this.time;
  }
  after(ms: number, then: () => void) {
    const t = { at: this.time + ms, then };
    this.timers.push(t);
    return () => void (this.timers = this.timers.filter((o) => o !== t));
  }
  async pass(ms: number, asleep = false) {
    this.time += ms;
    const due = asleep ? [] : this.timers.filter((t) => t.at <= this.time);
    this.timers = this.timers.filter((t) => !due.includes(t));
    for (const t of due) t.then();
    await turn();
  }
}

/** A device on which a test stages releases; a cold start takes what is staged. */
function given(more: Partial<SessionOptions<LaunchLike & { version: string }>> = {}) {
  const clock = new Hands(), told: string[] = [];
  let running = "1", staged: string | undefined, platform = { hide: () => undefined as void, show: () => undefined as void, memoryWarning: () => undefined as void };
  const client = {
    page: async (pkg: string) => (told.push("page " + pkg), { launch: await client.start() }),
    async start() {
      running = staged ?? running;
      staged = undefined;
      const version = running;
      return { version, token: version, trial: false as boolean, confirm: async () => undefined, crash: async () => void told.push("crash " + version), close: async () => void told.push("close " + version) };
    },
  };
  const s = session({
    client, clock, run: (l) => void told.push("run " + l.version), destroyed: (why) => void told.push("destroyed " + why),
    platform: { lifecycle: (on) => void (platform = on) }, ...more,
  });
  return { s, clock, told, stage: (v: string) => (staged = v), platform: () => platform };
}

test("a release on trial that does not come up is left, also where that cannot be written down", async () => {
  const told: string[] = [];
  const launches = [{ token: "t", trial: true }, { token: "", trial: false }].map((l) => ({
    ...l, confirm: async () => undefined, close: async () => undefined, crash: async () => { throw new Error("the disk is full"); },
  }));
  let n = 0;
  const start = async () => launches[n++];
  const s = session({ client: { start, page: async () => ({ launch: await start() }) }, clock: new Hands(), run: (l) => { if (l.trial) throw new Error("broken"); }, log: (text) => void told.push(text) });
  assert.equal((await s.open()).launch.token, "");
  assert.equal(told.length, 2);
});

test("a cold start uses what is staged, a hot one never switches", async () => {
  const { s, clock, told, stage } = given();
  assert.equal((await s.open()).hot, false);
  stage("2");
  s.hide();
  assert.equal(s.state, "background");
  await clock.pass(5 * 60_000 - 1);
  const again = await s.open();
  assert.deepEqual([again.hot, again.launch.version], [true, "1"]);
  s.hide();
  await clock.pass(5 * 60_000);
  assert.equal(s.state, "destroyed");
  assert.equal(s.launch, undefined);
  const cold = await s.open();
  assert.deepEqual([cold.hot, cold.launch.version], [false, "2"]);
  assert.deepEqual(told, ["run 1", "destroyed background", "close 1", "run 2"]);
});

test("the clock decides, also when the phone slept through the timer", async () => {
  const { s, clock, stage } = given({ background: 1000 });
  await s.open();
  stage("2");
  s.hide();
  await clock.pass(1000, true);
  assert.equal(s.state, "background");
  const next = await s.open();
  assert.deepEqual([next.hot, next.launch.version], [false, "2"]);
});

test("a memory warning destroys what is in the background, not what is seen", async () => {
  const { s, stage, told } = given();
  await s.open();
  stage("2");
  await s.memoryWarning();
  assert.equal((await s.open()).launch.version, "1");
  s.hide();
  await s.memoryWarning();
  assert.equal(s.state, "destroyed");
  assert.equal((await s.open()).launch.version, "2");
  assert.ok(told.includes("destroyed memory"));
});

test("the platform's own events drive it", async () => {
  const { s, stage, platform } = given();
  await s.open();
  stage("2");
  platform().hide();
  assert.equal(s.state, "background");
  platform().memoryWarning();
  await turn();
  assert.equal(s.state, "destroyed");
  platform().show();
  await turn();
  assert.deepEqual([s.state, s.launch?.version], ["foreground", "2"]);
});

test("applying an update is a cold start", async () => {
  const { s, stage, told } = given();
  await s.open();
  stage("2");
  assert.equal((await s.restart()).launch.version, "2");
  assert.deepEqual(told, ["run 1", "destroyed host", "close 1", "run 2"]);
  await s.destroy();
  await s.destroy();
  assert.equal(s.state, "destroyed");
});

test("a release that does not come up is a crash, and the next open tries again", async () => {
  let bad = true;
  const { s, told } = given({
    run: (l) => {
      if (bad) throw new Error("white screen of " + l.version);
    },
  });
  await assert.rejects(s.open(), /white screen/);
  assert.deepEqual([s.state, told], ["destroyed", ["crash 1"]]);
  bad = false;
  assert.equal((await s.open()).hot, false);
});

test("a release on trial that does not come up is started until it is left; the user sees what was good before", async () => {
  const told: string[] = [], left = { crashes: 0 };
  const start = async () => {
    const trial = left.crashes < 2, version = trial ? "2" : "1";
    return { version, token: version, trial, confirm: async () => void told.push("good " + version), crash: async () => void (told.push("crash " + version), left.crashes++), close: async () => undefined };
  };
  const s = session({
    client: { start, page: async () => ({ launch: await start() }) }, clock: new Hands(),
    async run(l) {
      if (l.version === "2") throw new Error("white screen");
      await l.confirm();
    },
  });
  assert.equal((await s.open()).launch.version, "1");
  assert.deepEqual([s.state, told], ["foreground", ["crash 2", "crash 2", "good 1"]]);
});

test("the life of one package starts that package alone", async () => {
  const { s, told } = given({ package: "shop" });
  await s.open();
  assert.deepEqual(told, ["page shop", "run 1"]);
});

test("opening twice at once starts once", async () => {
  const { s, told } = given();
  const [a, b] = await Promise.all([s.open(), s.open()]);
  assert.deepEqual([a.hot, b.hot, told], [false, true, ["run 1"]]);
});
