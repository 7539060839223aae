// What a split may be, and the ids that follow from it: no Metro needed.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Ids, moduleId } from "../src/ids.js";
import type { Graph } from "../src/metro.js";
import { readOptions } from "../src/options.js";
import { checkBase, duplicates, planBase, planBusiness, type Ledger } from "../src/plan.js";

const split = readOptions({ base: "base/index.js", businesses: { cart: "businesses/cart/index.js", orders: { entry: "./businesses/orders/start.js", root: "businesses/orders/" } } });
const setting = () => ({ root: "/app", split, platform: "ios", dev: false, ids: new Ids() });

/** A graph of files and what each imports. */
function graph(files: Record<string, string[]>): Graph {
  const at = (path: string) => "/app/" + path;
  return {
    dependencies: new Map(Object.entries(files).map(([path, imports]) => [at(path), {
      path: at(path), output: [],
      dependencies: new Map(imports.map((one) => [one, { absolutePath: at(one), data: { name: one } }])),
      inverseDependencies: Object.keys(files).filter((other) => files[other].includes(path)).map(at),
    }])),
  };
}

const baseFiles = { "base/index.js": ["shared/session.js"], "shared/session.js": [] };

describe("ids", () => {
  test("are of package and path alone, and exact integers", () => {
    assert.equal(moduleId("cart", "businesses/cart/index.js"), 5650433982810389);
    assert.notEqual(moduleId("cart", "node_modules/a/index.js"), moduleId("orders", "node_modules/a/index.js"));
    for (let n = 0; n < 1000; n++) assert.ok(Number.isSafeInteger(moduleId("cart", `file${n}.js`)));
  });

  test("that two paths share end the build", () => {
    const ids = new Ids();
    ids.claim(7, "cart:a.js");
    ids.claim(7, "cart:a.js");
    assert.throws(() => ids.claim(7, "cart:b.js"), /cart:a\.js and cart:b\.js have the same id 7: rename one/);
  });
});

describe("options", () => {
  const refused = (businesses: any, wanted: RegExp) => assert.throws(() => readOptions({ base: "base/index.js", businesses }), wanted);

  test("fill in a business's folder", () => {
    assert.deepEqual(split.businesses.map((one) => one.root), ["businesses/cart/", "businesses/orders/"]);
    assert.equal(split.businesses[1].entry, "businesses/orders/start.js");
  });

  test("that cannot work are refused", () => {
    assert.throws(() => readOptions({} as any), /say how the app is split/);
    refused({ base: "x/index.js" }, /"base" cannot be a business's name/);
    refused({ Cart: "x/index.js" }, /"Cart" cannot be a business's name/);
    refused({ cart: "cart.js" }, /move it into a folder of its own/);
    refused({ cart: "biz/index.js", orders: "biz/orders/index.js" }, /"orders" lies in biz\/orders\/, inside biz\/ of business "cart"/);
  });
});

describe("a package's plan", () => {
  const base = planBase(graph(baseFiles), setting()).ledger;

  test("gives the base what its entry reaches, and a business the rest", () => {
    const plan = planBusiness(graph({ ...baseFiles, "businesses/cart/index.js": ["shared/session.js", "node_modules/left/index.js"], "node_modules/left/index.js": [] }), split.businesses[0], base, setting());
    assert.deepEqual(Object.values(plan.ledger.modules).sort(), ["businesses/cart/index.js", "node_modules/left/index.js"]);
    assert.deepEqual(plan.needs, { [moduleId("base", "shared/session.js")]: "shared/session.js" });
    assert.equal(plan.ids("/app/shared/session.js"), moduleId("base", "shared/session.js"));
    assert.equal(plan.ids("/app/node_modules/left/index.js"), moduleId("cart", "node_modules/left/index.js"));
  });

  test("refuses a base that imports a business", () => {
    assert.throws(() => planBase(graph({ "base/index.js": ["businesses/cart/price.js"], "businesses/cart/price.js": [] }), setting()),
      /the base imports businesses\/cart\/price\.js, which belongs to business "cart" \(imported by base\/index\.js\).*move the file out of businesses\/cart\//);
  });

  test("names every module that left the released base, and what to do", () => {
    const now = planBase(graph({ "base/index.js": [] }), setting()).ledger;
    assert.throws(() => checkBase(now, base), /a module has left the base that is released: shared\/session\.js\. .*--base-may-shrink/);
    checkBase(base, now);
  });

  test("notes what two businesses carry twice", () => {
    const ledger = (pkg: string, ...paths: string[]): Ledger => ({ format: 1, package: pkg, platform: "ios", dev: false, modules: Object.fromEntries(paths.map((path, n) => [n, path])) });
    assert.deepEqual(duplicates([
      ledger("base", "node_modules/x/a.js"),
      ledger("cart", "node_modules/x/a.js", "node_modules/@s/left/a.js", "lib/tax.js"),
      ledger("orders", "node_modules/y/node_modules/@s/left/b.js", "lib/tax.js"),
    ]), ["@s/left is in cart and orders, a copy for each: import it in the base to share it", "lib/tax.js is in cart and orders, a copy for each: import it in the base to share it"]);
  });
});
