// Development and bytecode builds, on a project so small that Metro is quick: the same require, without React Native.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { createContext, runInContext } from "node:vm";
import { plain } from "./plain.js";
import { installPair, Workshop } from "./workshop.js";

/** An AppRegistry as old as React Native: keys and what they run. */
function appRegistry() {
  const runnables: Record<string, (parameters: object) => void> = {};
  return {
    registerRunnable: (key: string, run: (parameters: object) => void) => ((runnables[key] = run), key),
    registerComponent: (key: string) => key,
    runApplication: (key: string, parameters: object) => runnables[key](parameters),
    unmountApplicationComponentAtRootTag: (_root: number): void => undefined,
  };
}

describe("builds", () => {
  const workshop = new Workshop();
  let missing: string | undefined;
  let root = "";

  before(() => {
    missing = installPair("0.83");
    if (!missing) root = workshop.checkout("plain", plain);
  });
  after(() => workshop.clean());

  test("for development run, are left and are entered again", async (t) => {
    if (missing) return t.skip("MISSING: " + missing);
    const built = await workshop.build(root, "dev", ["--config", "metro.plain.js", "--dev"]);
    assert.equal(built.code, 0, built.stderr);
    const said: string[] = [];
    const left: string[] = [];
    const AppRegistry = appRegistry();
    const evaluate = (file: string) => void runInContext(readFileSync(file, "utf8"), context, { filename: file });
    const shell = { directory: (pkg: string) => workshop.path("dev", pkg), readText: (path: string) => readFileSync(path, "utf8"), evaluate };
    const resolveAssetSource = Object.assign(() => null, { addCustomSourceTransformer: () => undefined });
    const context = createContext({ console, given: { AppRegistry, shell, said, resolveAssetSource, onLeave: (pkg: string) => left.push(pkg) } });
    evaluate(workshop.path("dev/base/base.bundle"));
    AppRegistry.runApplication("HelloScreen", { rootTag: 1 });
    assert.deepEqual(said, ["hello 1"]);

    const back = workshop.edit(root, "plain/hello/word.js", (text) => text.replace("hello", "good day"));
    const next = await workshop.build(root, "dev", ["--config", "metro.plain.js", "--dev", "--only", "hello", "--released", workshop.path("dev/base.build")]);
    back();
    assert.equal(next.code, 0, next.stderr);
    AppRegistry.runApplication("HelloScreen", { rootTag: 2 });
    AppRegistry.unmountApplicationComponentAtRootTag(1);
    assert.deepEqual([said, left], [["hello 1", "hello 2"], []]);
    AppRegistry.unmountApplicationComponentAtRootTag(2);
    assert.deepEqual(left, ["hello"]);
    AppRegistry.runApplication("HelloScreen", { rootTag: 3 });
    assert.deepEqual(said.slice(2), ["good day 3"], "new code, the base's count");
  });

  test("to bytecode are the same again, and their source map leads to the source", async (t) => {
    if (missing) return t.skip("MISSING: " + missing);
    if (process.platform !== "linux" || process.arch !== "x64") return t.skip("MISSING: a Hermes compiler for this machine");
    for (const out of ["bytecode", "again"]) {
      const built = await workshop.build(root, out, ["--config", "metro.plain.js", "--hermes"]);
      assert.equal(built.code, 0, built.stderr);
    }
    const bundle = readFileSync(workshop.path("bytecode/hello/hello.bundle"));
    assert.equal(bundle.readBigUInt64LE(0), 0x1f1903c103bc1fc6n, "the magic number of Hermes bytecode");
    assert.ok(bundle.equals(readFileSync(workshop.path("again/hello/hello.bundle"))));
    const map = JSON.parse(readFileSync(workshop.path("bytecode/hello.build/hello.bundle.map"), "utf8"));
    assert.ok(map.sources.includes("plain/hello/word.js") && map.mappings.length > 0);
  });

  test("that lack something say what", async (t) => {
    if (missing) return t.skip("MISSING: " + missing);
    const refused = async (wanted: RegExp, ...args: string[]) => {
      const { code, stderr } = await workshop.build(root, "refused", ["--config", "metro.plain.js", ...args]);
      assert.equal(code, 1);
      assert.match(stderr, wanted);
    };
    await refused(/there is no business "basket": metro\.config\.js names hello/, "--only", "basket");
    await refused(/give --released FILE, the modules\.json of the base that is released/, "--only", "hello");
    await refused(/keep base\.build\/modules\.json of every build/, "--only", "hello", "--released", "nowhere.json");
    await refused(/is of a base for android \(dev\), this build is for android: take the one that fits/, "--only", "hello", "--released", workshop.path("dev/base.build"));
    await refused(/there is no Hermes compiler at \/nowhere/, "--hermesc", "/nowhere");
  });
});
