import { test } from "node:test";
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { runInNewContext } from "node:vm";
import { updates, UpdateNotReady, type OfferLike, type UpdatesOptions, type UpdatingClient } from "../../src/update-manager/index.js";

const turn = () => new Promise<void>((done) => setImmediate(done));

/** A client that a test holds in its hand: every question waits until it is answered. */
class Device implements UpdatingClient {
  offers: OfferLike[] = [];
  checkFails: Error | undefined;
  fetchFails: Error | undefined;
  deferred = false;
  held: (() => void)[] = [];
  hold = false;
  private readonly stagedNow: Record<string, { staged?: { digest: string; version: string } }> = {};
  private readonly listeners = new Set<(offers: OfferLike[]) => void>();

  async check() {
    if (this.checkFails) throw this.checkFails;
    return { answers: Object.fromEntries([["quiet", { verdict: "none", reason: "up_to_date" }], ...this.offers.map((offer) => [offer.package, { verdict: "update", reason: "", offer }])]) };
  }
  async fetch() {
    if (this.hold) await new Promise<void>((go) => this.held.push(go));
    if (this.fetchFails) throw this.fetchFails;
    if (this.deferred) return { staged: [], deferred: this.offers };
    this.stage(this.offers);
    return { staged: this.offers, deferred: [] };
  }
  stage(offers: OfferLike[]): void {
    for (const o of offers) this.stagedNow[o.package] = { staged: o.release };
    for (const l of this.listeners) l(offers);
  }
  status() {
    return { packages: this.stagedNow };
  }
  on(_: "ready", listener: (offers: OfferLike[]) => void) {
    this.listeners.add(listener);
    return () => void this.listeners.delete(listener);
  }
}

const offer = (apply: OfferLike["apply"] = {}, digest = "d1", pkg = "main"): OfferLike => ({ package: pkg, release: { digest, version: "2.0.0" }, apply });

function given(options: Partial<UpdatesOptions> = {}) {
  const device = new Device(), seen: string[] = [], restarts = { n: 0 };
  const all = updates({ client: device, restart: () => void restarts.n++, ...options });
  const manager = all.getUpdateManager();
  const listen = () => {
    manager.onCheckForUpdate((res) => seen.push("check " + res.hasUpdate));
    manager.onUpdateReady(() => seen.push("ready"));
    manager.onUpdateFailed((res) => seen.push(res.errMsg));
  };
  return { device, seen, restarts, all, manager, listen };
}

test("a question that cannot be shown does not make a ready update a failed one", async () => {
  const { device, seen, all, manager, listen } = given({ showModal: () => { throw new Error("showModal:fail"); } });
  listen();
  device.offers = [offer({ mode: "prompt" })];
  await all.launched();
  await turn();
  assert.deepEqual([manager.state, seen], ["ready", ["check true", "ready"]]);
});

test("check, then ready, then apply: the old release runs while the new one comes", async () => {
  const { device, seen, restarts, all, manager, listen } = given();
  device.offers = [offer()];
  device.hold = true;
  listen();
  assert.equal(manager.state, "waiting");
  assert.throws(() => manager.applyUpdate(), (e) => e instanceof UpdateNotReady && e.code === "update_not_ready" && e.state === "waiting");
  assert.equal((await all.launched()).hasUpdate, true);
  assert.deepEqual(seen, ["check true"]);
  assert.equal(manager.state, "downloading");
  assert.throws(() => manager.applyUpdate(), /the manager is downloading; call it from onUpdateReady/);
  device.held[0]();
  await turn();
  assert.deepEqual(seen, ["check true", "ready"]);
  assert.equal(await manager.applyUpdate(), true);
  void manager.applyUpdate();
  assert.equal(restarts.n, 1, "applying twice starts once");
  void all.launched();
  await turn();
  assert.deepEqual(seen, ["check true", "ready"], "a launch asks once");
});

test("nothing newer, and no network", async () => {
  const a = given();
  a.listen();
  await a.all.launched();
  assert.deepEqual([a.seen, a.manager.state], [["check false"], "none"]);
  const b = given();
  b.device.checkFails = new Error("offline");
  b.listen();
  assert.equal(((await b.all.launched()).error as Error).message, "offline");
  assert.deepEqual([b.seen, b.manager.state], [["check false"], "none"]);
});

test("a failed download is told, and the next check may be better", async () => {
  const { device, seen, all, manager, listen } = given();
  device.offers = [offer()];
  device.fetchFails = new Error("signature_invalid");
  listen();
  await all.launched();
  await turn();
  assert.deepEqual(seen, ["check true", "download update:fail signature_invalid"]);
  assert.throws(() => manager.applyUpdate(), /the manager is failed/);
  device.fetchFails = undefined;
  await manager.check();
  await turn();
  assert.deepEqual(seen.slice(2), ["check true", "ready"]);
});

test("late listeners are told the last state, in order, and once", async () => {
  const { device, seen, all, manager, listen } = given();
  device.offers = [offer()];
  await all.launched();
  await turn();
  listen();
  assert.deepEqual(seen, [], "on a later turn");
  await turn();
  assert.deepEqual(seen, ["check true", "ready"]);
  await manager.check();
  await turn();
  assert.deepEqual(seen, ["check true", "ready", "check true"], "the same update is ready once");
  manager.onCheckForUpdate(() => assert.fail("taken off before it was called"))();
  await turn();
});

test("what the client staged by itself is ready too, with its check before it", async () => {
  const { device, seen, manager, listen } = given();
  listen();
  device.stage([offer()]);
  assert.deepEqual(seen, ["check true", "ready"]);
  assert.equal(manager.state, "ready");
  device.stage([offer({}, "d2")]);
  assert.deepEqual(seen, ["check true", "ready", "ready"]);
});

test("a download that waits for a better moment is not failed", async () => {
  const { device, seen, all, manager, listen } = given();
  device.offers = [offer()];
  device.deferred = true;
  listen();
  await all.launched();
  await turn();
  assert.deepEqual([seen, manager.state], [["check true"], "downloading"]);
  device.stage(device.offers);
  assert.equal(seen[1], "ready");
});

test("a listener that fails leaves the others in peace", async () => {
  const said: string[] = [], { device, seen, all, manager } = given({ log: (text) => void said.push(text) });
  device.offers = [offer()];
  manager.onCheckForUpdate(() => {
    throw new Error("mine");
  });
  manager.onCheckForUpdate(() => seen.push("second"));
  await all.launched();
  assert.deepEqual([seen, said], [["second"], ["a listener of onCheckForUpdate failed"]]);
  assert.throws(() => manager.onUpdateReady(undefined as never), /onUpdateReady needs a function/);
});

test("prompts show the publisher's message, and no cancel when it must be", async () => {
  for (const [apply, silent, shown] of [
    [{ mode: "prompt", message: "优化部分问题" }, false, ["优化部分问题", true]],
    [{ mode: "prompt", mandatory: true, message: "must" }, false, ["must", false]],
    [{ mode: "prompt" }, false, ["A new version is ready. Start again to use it?", true]],
    [{ mode: "next_launch", message: "m" }, false, undefined],
    [{ mode: "prompt", message: "m" }, true, undefined],
  ] as const) {
    let modal: Parameters<NonNullable<UpdatesOptions["showModal"]>>[0] | undefined;
    const { device, all, restarts } = given({ silent, showModal: (o) => void (modal = o) });
    device.offers = [offer(apply)];
    await all.launched();
    await turn();
    assert.deepEqual(modal && [modal.content, modal.showCancel], shown);
    modal?.success({ confirm: false });
    assert.equal(restarts.n, 0);
    modal?.success({ confirm: true });
    await turn();
    assert.equal(restarts.n, shown ? 1 : 0);
  }
});

test("a host that cannot start anew says so, and the update waits for the next cold start", async () => {
  for (const restart of [undefined, () => false, () => Promise.reject(new Error("no"))]) {
    const { device, all, manager } = given({ restart });
    device.offers = [offer()];
    await all.launched();
    await turn();
    assert.equal(await manager.applyUpdate(), false);
    assert.equal(manager.state, "ready");
  }
});

test("canIUse", () => {
  const { all } = given(), wx = all.in({ canIUse: (name: string) => name === "request", request: () => "theirs" });
  for (const [name, can] of Object.entries({
    getUpdateManager: true, "getUpdateManager.return.onUpdateReady": true, "UpdateManager.applyUpdate": true, "UpdateManager.fly": false, "getUpdateManager.return": false, request: true, requests: false,
  })) assert.equal(wx.canIUse(name), can, name);
  assert.equal(wx.request(), "theirs");
  assert.equal(wx.getUpdateManager(), all.getUpdateManager());
});

test("the document's code runs as it stands", async (t) => {
  const code = readFileSync("testdata/update-manager/check-update.js", "utf8") + "\ncheckUpdate();";
  type Modal = { title: string; content: string; showCancel?: boolean; success?(res: { confirm: boolean }): void };
  const run = (all: ReturnType<typeof given>["all"] | undefined) => {
    const modals: Modal[] = [], seen = { modals, appUpdated: false };
    const platform = { canIUse: () => false, showModal: (o: Modal) => void modals.push(o), updateWeChatApp: () => void (seen.appUpdated = true) };
    runInNewContext(code, { wx: all ? all.in(platform) : platform });
    return seen;
  };
  await t.test("an update", async () => {
    const { device, all, restarts } = given();
    device.offers = [offer()];
    device.hold = true;
    const { modals } = run(all);
    await all.launched();
    assert.equal(modals.length, 0);
    device.held[0]();
    await turn();
    assert.deepEqual(modals.map((m) => [m.title, m.content, m.showCancel]), [["更新提示", "发现版本更新，已经准备好请重启应用~", false]]);
    modals[0].success?.({ confirm: true });
    await turn();
    assert.equal(restarts.n, 1);
  });
  await t.test("an update that was ready before the code ran", async () => {
    const { device, all } = given();
    device.offers = [offer()];
    await all.launched();
    await turn();
    const { modals } = run(all);
    await turn();
    assert.equal(modals.length, 1);
  });
  await t.test("a failed one", async () => {
    const { device, all, restarts } = given();
    device.offers = [offer()];
    device.fetchFails = new Error("no");
    const { modals } = run(all);
    await all.launched();
    await turn();
    assert.deepEqual(modals.map((m) => m.content), ["新版本已经上线啦~，请您删除当前小程序，重新搜索打开哟~"]);
    assert.equal(restarts.n, 0);
  });
  await t.test("none", async () => {
    const { all } = given(), { modals } = run(all);
    await all.launched();
    await turn();
    assert.equal(modals.length, 0);
  });
  await t.test("a platform without it", () => {
    const seen = run(undefined);
    assert.equal(seen.modals[0].title, "提示");
    seen.modals[0].success?.({ confirm: true });
    assert.equal(seen.appUpdated, true);
  });
});

test("what the client staged by itself during a check is told behind that check, and the check once", async () => {
  const { device, seen, all, listen } = given();
  device.offers = [offer()];
  const { check } = device;
  device.check = async () => {
    device.stage(device.offers);
    await turn();
    return check.call(device);
  };
  listen();
  await all.launched();
  await turn();
  assert.deepEqual(seen, ["check true", "ready"]);
});
