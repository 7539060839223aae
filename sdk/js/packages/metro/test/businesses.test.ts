// The whole way with the real parts: Metro builds, a server delivers, React Native renders; only the native side is a
// stand-in (phone.ts).
import assert from "node:assert/strict";
import { cpSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test, type TestContext } from "node:test";
import { Device } from "./device.js";
import { buildCommand, SlipstreamServer, until } from "./server.js";
import { Phone } from "./phone.js";
import { filesIn, installPair, repository, Workshop } from "./workshop.js";

const nextTitle = (text: string) => text.replace("Cart of", "Basket of").replace("tea: 450", "tea: 475");

describe("business packages", () => {
  const workshop = new Workshop();
  let missing: string | undefined;
  let root = "";

  before(async () => {
    missing = installPair("0.83");
    if (missing) return;
    const first = workshop.checkout("ada/shop");
    const second = workshop.checkout("another place/of bob/shop");
    const results = await Promise.all([workshop.build(first, "one"), workshop.build(second, "two", [], "cold cache")]);
    for (const { code, stderr } of results) assert.equal(code, 0, stderr);
    root = first;
    const back = workshop.edit(root, "businesses/cart/summary.js", nextTitle);
    const next = await workshop.build(root, "next");
    assert.equal(next.code, 0, next.stderr);
    back();
  });

  after(() => workshop.clean());

  const needed = (t: TestContext, other?: string): boolean => {
    const what = missing ?? other;
    if (what) t.skip("MISSING: " + what);
    return what === undefined;
  };

  test("the same source gives the same bytes in another checkout, with another cache", (t) => {
    if (!needed(t)) return;
    const files = filesIn(workshop.path("one"));
    assert.deepEqual(filesIn(workshop.path("two")), files);
    assert.ok(files.includes("cart/cart.bundle") && files.includes("cart.build/cart.bundle.map"));
    for (const file of files) assert.ok(readFileSync(workshop.path("one", file)).equals(readFileSync(workshop.path("two", file))), file);
  });

  test("a change in one business touches one file of it and nothing elsewhere", (t) => {
    if (!needed(t)) return;
    const differing = filesIn(workshop.path("next")).filter((file) => !readFileSync(workshop.path("one", file)).equals(readFileSync(workshop.path("next", file))));
    assert.deepEqual(differing, ["cart.build/cart.bundle.map", "cart/cart.bundle"]);
  });

  test("a package holds its own code, images and fonts; the source map leads to the source", (t) => {
    if (!needed(t)) return;
    const cart = filesIn(workshop.path("one/cart"));
    assert.deepEqual(cart, [
      "assets/businesses/cart/fonts/Shop.ttf", "assets/businesses/cart/img/cart.png", "assets/businesses/cart/img/cart@2x.png",
      "assets/businesses/cart/img/cart@3x.png", "cart.bundle", "index.json", "slipstream.json",
    ]);
    const map = JSON.parse(readFileSync(workshop.path("one/cart.build/cart.bundle.map"), "utf8"));
    assert.ok(map.sources.includes("businesses/cart/summary.js"));
    assert.ok(!map.sources.some((source: string) => source.startsWith("/") || source.includes("session")), "paths of this machine, or modules of the base");
    const { modules } = JSON.parse(readFileSync(workshop.path("one/cart.build/modules.json"), "utf8"));
    assert.deepEqual(Object.values(modules).sort(), [
      "businesses/cart/Cart.js", "businesses/cart/fonts/Shop.ttf", "businesses/cart/img/cart.png", "businesses/cart/index.js", "businesses/cart/summary.js",
    ]);
  });

  test("version 2 of one business comes from a server and runs at the next entry, without a restart; one that breaks is left", async (t) => {
    const command = workshop.path("slipstream");
    if (!needed(t, missing ?? buildCommand(repository, command))) return;
    const server = new SlipstreamServer(command, workshop.path("server"));
    await server.start();
    t.after(() => server.stop());
    const { root: trust } = server.run("app", "create", "shop");
    const base = server.publish(workshop.path("one/base"), "1.0.0");
    const cart = server.publish(workshop.path("one/cart"), "1.0.0", "--requires", `base>=${base.seq}`);
    const orders = server.publish(workshop.path("one/orders"), "1.0.0", "--requires", `base>=${base.seq}`);
    const device = await Device.start(server.url, trust, workshop.path("device"));
    t.after(() => device.client.close());
    const running = (pkg: string) => device.client.status().packages[pkg];
    const place = (digest: string) => join(workshop.path("device"), "slipstream/releases", digest);

    const fonts: Record<string, string> = {};
    const phone = shop({ base: place(base.digest) }, { ...device.shell, registerFont: (family: string, path: string) => (fonts[family] = path) });
    const coin = `file://${place(base.digest)}/assets/shared/img/coin@2x.png`;
    const logo = (digest: string) => `file://${place(digest)}/assets/businesses/cart/img/cart@2x.png`;
    const open = async (key: string, tag: number) => {
      await phone.open(key, tag);
      return until(`business ${key}`, async () => (phone.views.shown(tag).texts.length > 0 ? phone.views.shown(tag) : undefined));
    };
    assert.deepEqual(await open("cart", 11), { texts: ["Cart of ada: 1", "€ 4.50"], images: [logo(cart.digest), coin] });
    assert.equal(fonts.Shop, `${place(cart.digest)}/assets/businesses/cart/fonts/Shop.ttf`);
    assert.deepEqual((await open("orders", 21)).texts, ["Orders of ada, opened 1", "tea"]);

    const next = server.publish(workshop.path("next/cart"), "1.1.0", "--requires", `base>=${base.seq}`);
    await device.client.update();
    assert.equal(running("cart").staged?.digest, next.digest);
    assert.deepEqual((await open("cart", 31)).texts, ["Cart of ada: 1", "€ 4.50"], "a business that is open goes on as it is");
    await phone.stop(11);
    assert.deepEqual(device.left, [], "another root still shows it");
    await phone.stop(31);
    assert.deepEqual(device.left, ["cart"]);

    const again = await open("cart", 41);
    assert.deepEqual(again.texts, ["Basket of ada: 2", "€ 9.50"], "new code; the basket of the base was kept");
    assert.deepEqual(again.images, [logo(next.digest), coin]);
    assert.equal(fonts.Shop, `${place(next.digest)}/assets/businesses/cart/fonts/Shop.ttf`);
    for (const uri of again.images) assert.ok(readFileSync(new URL(uri)).length > 0);
    assert.equal((await open("orders", 51)).texts[0], "Orders of ada, opened 2", "the other business is the one that was");
    await until("the confirmation", async () => running("cart").official.digest === next.digest || undefined);
    assert.deepEqual([phone.errors, device.errors], [[], []]);

    const broken = workshop.path("broken/cart");
    cpSync(workshop.path("next/cart"), broken, { recursive: true });
    writeFileSync(join(broken, "cart.bundle"), 'throw new Error("a broken bundle");\n' + readFileSync(join(broken, "cart.bundle"), "utf8"));
    const bad = server.publish(broken, "1.2.0", "--requires", `base>=${base.seq}`);
    await device.client.update(["cart"]);
    await phone.stop(41);
    for (const tag of [61, 62]) {
      await phone.open("cart", tag);
      await until("the error", async () => device.errors.length === tag - 60 || undefined);
      await device.settled();
    }
    assert.deepEqual(device.errors, ["a broken bundle", "a broken bundle"]);
    assert.deepEqual(running("cart").refused.map((r) => [r.digest, r.reason]), [[bad.digest, "crashed"]]);
    assert.deepEqual((await open("cart", 71)).texts, ["Basket of ada: 3", "€ 14.25"], "two crashes, and the release before it runs again");

    await printSizes(t, server, workshop, { base, cart, orders, next });
  });

  test("purging takes exactly the business's modules", async (t) => {
    if (!needed(t)) return;
    const phone = shop(builtOne());
    const ids = () => [...phone.peek("__slipstreamRegistry.modules.keys()")] as number[];
    const base = ids();
    await phone.open("orders", 1);
    const withOrders = ids();
    await phone.open("cart", 2);
    assert.deepEqual(ids().slice(withOrders.length).map(String).sort(), Object.keys(JSON.parse(readFileSync(workshop.path("one/cart.build/modules.json"), "utf8")).modules).sort());
    await phone.stop(2);
    assert.deepEqual(ids(), withOrders);
    await phone.stop(1);
    assert.deepEqual(ids(), base);
  });

  test("a shell that reads and evaluates later is waited for; a root that goes meanwhile is not run", async (t) => {
    if (!needed(t)) return;
    const later = <T>(value: T) => new Promise<T>((done) => setTimeout(() => done(value), 20));
    const directories = builtOne();
    const phone: Phone & { businesses: any } = shop(directories, {
      directory: (pkg: string) => later(directories[pkg]),
      readText: (path: string) => later(readFileSync(path, "utf8")),
      evaluate: (path: string) => later(path).then((file) => phone.evaluate(file)),
    });
    const opening = phone.open("cart", 1);
    const other = phone.open("orders", 2);
    await Promise.all([opening, other]);
    await new Promise((done) => setTimeout(done, 200));
    assert.equal(phone.views.shown(1).texts[0], "Cart of ada: 1");
    assert.equal(phone.views.shown(2).texts[0], "Orders of ada, opened 1");
    await phone.stop(1);
    const gone = phone.open("cart", 3);
    await phone.stop(3);
    await gone;
    await new Promise((done) => setTimeout(done, 200));
    assert.deepEqual(phone.views.shown(3).texts, []);
    assert.deepEqual(Array.from(phone.businesses.status(), (one: any) => one.package), ["orders"]);
  });

  test("what cannot run says what to do, and leaves nothing behind", async (t) => {
    if (!needed(t)) return;
    const errors: string[] = [];
    const directories = builtOne();
    const phone = shop(directories, { onError: (err: Error) => errors.push(err.message) });
    const count = () => phone.peek("__slipstreamRegistry.modules.size") as number;
    const base = count();
    const spoil = async (name: string, change: (folder: string) => void) => {
      const folder = workshop.path("spoiled", name);
      cpSync(workshop.path("one/cart"), folder, { recursive: true });
      change(folder);
      directories.cart = folder;
      await phone.open("cart", 7);
      assert.equal(count(), base, name);
      return errors.pop() ?? "";
    };
    const edit = (change: (index: any) => void) => (folder: string) => {
      const index = JSON.parse(readFileSync(join(folder, "index.json"), "utf8"));
      change(index);
      writeFileSync(join(folder, "index.json"), JSON.stringify(index));
    };
    assert.match(await spoil("newer base", edit((index) => (index.needs["123"] = "shared/coupons.js"))), /needs shared\/coupons\.js of the base.*publish the base that has it.*--requires 'base>=SEQ'/);
    assert.match(await spoil("other package", edit((index) => (index.package = "orders"))), /published under the wrong name/);
    assert.match(await spoil("dev", edit((index) => (index.dev = true))), /built with --dev and the base without it: build both alike/);
    assert.match(await spoil("format", edit((index) => (index.format = 2))), /format 2, this base knows 1/);
    assert.match(await spoil("no JSON", (folder) => writeFileSync(join(folder, "index.json"), "<html>")), /is not JSON/);
    assert.match(await spoil("mixed", (folder) => cpSync(workshop.path("one/orders/orders.bundle"), join(folder, "cart.bundle"))), /did not define the business's entry/);
    const addShared = (folder: string) => {
      const [shared] = Object.keys(JSON.parse(readFileSync(join(folder, "index.json"), "utf8")).needs);
      writeFileSync(join(folder, "cart.bundle"), `__d(function(){},${shared},[]);\n` + readFileSync(join(folder, "cart.bundle"), "utf8"));
    };
    assert.match(await spoil("taken", addShared), /1 module\(s\) of business "cart" have ids that are taken/);
    assert.match(await spoil("silent", (folder) => writeFileSync(join(folder, "cart.bundle"), readFileSync(join(folder, "cart.bundle"), "utf8").replace('"cart",function', '"kart",function'))), /did not register "cart" \(it registered kart\)/);
    assert.match(await spoil("broken", (folder) => writeFileSync(join(folder, "cart.bundle"), "not code")), /Unexpected identifier/);
    directories.cart = workshop.path("one/cart");
    assert.equal((await phone.open("cart", 8)).texts[0], "Cart of ada: 1");
  });

  test("a split that cannot work is refused when it is built", async (t) => {
    if (!needed(t)) return;
    let back = workshop.edit(root, "businesses/orders/Orders.js", (text) => 'import "../cart/summary";\n' + text);
    const refused = await workshop.build(root, "cross");
    back();
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /business "orders" imports businesses\/cart\/summary\.js, which belongs to business "cart" \(imported by businesses\/orders\/Orders\.js\)/);
    assert.match(refused.stderr, /move what both need into a shared folder that base\/index\.js imports/);

    const released = workshop.path("one/base.build/modules.json");
    back = workshop.edit(root, "base/index.js", (text) => text.replace('import "../shared/Price";\n', ""));
    const shrunk = await workshop.build(root, "moved", ["--released", released, "--only", "base"]);
    assert.equal(shrunk.code, 1);
    assert.match(shrunk.stderr, /modules have left the base that is released: .*shared\/Price\.js.*--base-may-shrink.*--requires 'base>=SEQ'/);

    const alone = await workshop.build(root, "alone", ["--released", released, "--only", "cart"]);
    back();
    assert.equal(alone.code, 0, alone.stderr);
    assert.ok(readFileSync(workshop.path("alone/cart/cart.bundle")).equals(readFileSync(workshop.path("one/cart/cart.bundle"))), "built against the released base, whatever the base in the tree is");
  });

  /** The app on a phone whose packages lie in these directories. */
  function shop(directories: Record<string, string>, shell: object = {}): Phone & { businesses: any } {
    const phone = new Phone({
      shopShell: {
        directory: (pkg: string) => directories[pkg],
        readText: (path: string) => readFileSync(path, "utf8"),
        evaluate: (path: string) => phone.evaluate(path),
        registerFont: () => undefined,
        ready: (businesses: unknown) => (phone.businesses = businesses),
        ...shell,
      },
    }) as Phone & { businesses: any };
    phone.evaluate(join(directories.base, "base.bundle"));
    return phone;
  }

  function builtOne(): Record<string, string> {
    return Object.fromEntries(["base", "cart", "orders"].map((name) => [name, workshop.path("one", name)]));
  }
});

interface Published {
  digest: string;
}

/** What an update costs, split and not split. */
async function printSizes(t: TestContext, server: SlipstreamServer, workshop: Workshop, releases: Record<"base" | "cart" | "orders" | "next", Published>): Promise<void> {
  const whole = (version: string) => {
    const folder = workshop.path("whole", version);
    for (const name of ["base", "cart", "orders"]) cpSync(workshop.path(version, name), join(folder, name), { recursive: true });
    for (const name of ["base", "cart", "orders"]) rmSync(join(folder, name, "slipstream.json"));
    return folder;
  };
  const unsplit = (folder: string, version: string) => server.publish(folder, version, "--app", "shop", "--package", "whole", "--entry", "base/base.bundle", "--platform", "android", "--runtime", ">=3.0.0");
  const before = unsplit(whole("one"), "1.0.0");
  const after = unsplit(whole("next"), "1.1.0");
  const sizes = {
    "base, whole": await server.download(releases.base.digest),
    "orders, whole": await server.download(releases.orders.digest),
    "cart 1.0, whole": await server.download(releases.cart.digest),
    "cart 1.1, whole": await server.download(releases.next.digest),
    "cart 1.0 to 1.1, incremental": await server.download(releases.next.digest, releases.cart.digest),
    "not split 1.1, whole": await server.download(after.digest),
  };
  assert.ok(sizes["cart 1.0 to 1.1, incremental"] < sizes["cart 1.1, whole"] / 10, JSON.stringify(sizes));
  assert.ok(sizes["cart 1.1, whole"] < sizes["not split 1.1, whole"] / 10, JSON.stringify(sizes));
  assert.notEqual(before.digest, after.digest);
  for (const [what, bytes] of Object.entries(sizes)) t.diagnostic(`${what.padEnd(30)} ${String(bytes).padStart(8)} bytes`);
}
