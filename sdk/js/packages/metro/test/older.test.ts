// The older pair that works: Metro 0.82 with React Native 0.80. Its require, its registry and its React Native are other
// code, so what a split promises is seen again: bytes that depend on the source alone, and businesses that come and go.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { Phone } from "./phone.js";
import { plain } from "./plain.js";
import { filesIn, installPair, Workshop } from "./workshop.js";

describe("Metro 0.82 with React Native 0.80", () => {
  const workshop = new Workshop("0.82");
  let missing: string | undefined;
  let root = "";

  before(() => {
    missing = installPair("0.82");
    if (!missing) root = workshop.checkout("ada/shop", plain);
  });
  after(() => workshop.clean());

  test("the same source gives the same bytes in another checkout, with another cache", async (t) => {
    if (missing) return t.skip("MISSING: " + missing);
    assert.match(readFileSync(join(root, "node_modules/metro/package.json"), "utf8"), /"version": "0\.82\./);
    const other = workshop.checkout("another place/of bob/shop", plain);
    const built = [await workshop.build(root, "one", ["--config", "metro.plain.js"]), await workshop.build(other, "two", ["--config", "metro.plain.js"], "cold cache")];
    for (const { code, stderr } of built) assert.equal(code, 0, stderr);
    const files = filesIn(workshop.path("one"));
    assert.deepEqual(filesIn(workshop.path("two")), files);
    assert.ok(files.includes("hello/hello.bundle"));
    for (const file of files) assert.ok(readFileSync(workshop.path("one", file)).equals(readFileSync(workshop.path("two", file))), file);
  });

  test("a business that was left runs its new code at the next entry; the base and the other business stay", async (t) => {
    if (missing) return t.skip("MISSING: " + missing);
    const first = await workshop.build(root, "app", ["--no-minify"]);
    assert.equal(first.code, 0, first.stderr);
    const back = workshop.edit(root, "businesses/cart/summary.js", (text) => text.replace("Cart of", "Basket of"));
    const next = await workshop.build(root, "next", ["--no-minify", "--only", "cart", "--released", workshop.path("app/base.build")]);
    back();
    assert.equal(next.code, 0, next.stderr);

    const directories: Record<string, string> = Object.fromEntries(["base", "cart", "orders"].map((name) => [name, workshop.path("app", name)]));
    const phone: Phone = new Phone({
      shopShell: {
        directory: (pkg: string) => directories[pkg], readText: (path: string) => readFileSync(path, "utf8"),
        evaluate: (path: string) => phone.evaluate(path), registerFont: () => undefined,
      },
    }, { minor: 80, patch: 3 });
    phone.evaluate(join(directories.base, "base.bundle"));
    const modules = () => phone.peek("__slipstreamRegistry.modules.size") as number;
    const base = modules();
    assert.equal((await phone.open("orders", 1)).texts[0], "Orders of ada, opened 1");
    const withOrders = modules();
    const cart = await phone.open("cart", 2);
    assert.equal(cart.texts[0], "Cart of ada: 1");
    assert.equal(cart.images[0], `file://${directories.cart}/assets/businesses/cart/img/cart@2x.png`);
    await phone.stop(2);
    assert.equal(modules(), withOrders, "exactly the cart's modules are gone");
    directories.cart = workshop.path("next/cart");
    const again = await phone.open("cart", 3);
    assert.equal(again.texts[0], "Basket of ada: 2", "new code; the basket of the base was kept");
    assert.equal(again.images[0], `file://${directories.cart}/assets/businesses/cart/img/cart@2x.png`);
    assert.equal((await phone.open("orders", 4)).texts[0], "Orders of ada, opened 2");
    for (const open of [1, 3, 4]) await phone.stop(open);
    assert.equal(modules(), base);
    assert.deepEqual(phone.errors, []);
  });
});
