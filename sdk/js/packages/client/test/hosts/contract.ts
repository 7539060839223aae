// What every host's directory must do: run by each of them, in Node and in a browser alike.
import { NotFound, type Files } from "../../src/host.js";

const bytes = (text: string) => new TextEncoder().encode(text);
const text = (b: Uint8Array) => new TextDecoder().decode(b);

function same(got: unknown, want: unknown): void {
  const a = JSON.stringify(got), b = JSON.stringify(want);
  if (a !== b) throw new Error(`got ${a}, want ${b}`);
}

async function refused(what: Promise<unknown>, kind: new (...args: never[]) => Error): Promise<void> {
  let error: unknown;
  await what.catch((e: unknown) => (error = e));
  if (!(error instanceof kind)) throw new Error(`got ${String(error)}, want a ${kind.name}`);
}

async function put(files: Files, path: string, content: string, append = false): Promise<void> {
  const sink = await files.create(path, { append });
  await sink.write(bytes(content));
  await sink.close();
}

export const contract: Record<string, (files: Files) => Promise<void>> = {
  "what was written is read": async (f) => {
    await put(f, "a/b/c.txt", "hello");
    same(text(await f.read("a/b/c.txt")), "hello");
    same(await f.size("a/b/c.txt"), 5);
  },
  "bytes of every value, and none": async (f) => {
    const all = Uint8Array.from({ length: 70000 }, (_, i) => i & 255);
    const sink = await f.create("bin");
    await sink.write(all.subarray(0, 1000));
    await sink.write(all.subarray(1000));
    await sink.close();
    const got = await f.read("bin");
    same(got.length, all.length);
    same(got.every((b, i) => b === all[i]), true);
    await put(f, "none", "");
    same(await f.size("none"), 0);
    same((await f.read("none")).length, 0);
  },
  "names that are not ASCII": async (f) => {
    await put(f, "页面/été 1.json", "{}");
    same(await f.list("页面"), ["été 1.json"]);
    same(text(await f.read("页面/été 1.json")), "{}");
  },
  "creating cuts an old file, appending goes on": async (f) => {
    await put(f, "x", "12345");
    await put(f, "x", "ab");
    same(text(await f.read("x")), "ab");
    await put(f, "x", "cd", true);
    same(text(await f.read("x")), "abcd");
    await put(f, "fresh", "1", true);
    same(text(await f.read("fresh")), "1");
  },
  "a buffer may be used again after write": async (f) => {
    const sink = await f.create("reused"), buffer = bytes("one");
    await sink.write(buffer);
    buffer.set(bytes("two"));
    await sink.write(buffer);
    await sink.close();
    same(text(await f.read("reused")), "onetwo");
  },
  "reading at any place": async (f) => {
    await put(f, "x", "0123456789");
    const source = await f.open("x");
    same(source.size, 10);
    same(text(await source.read(3, 4)), "3456");
    same(text(await source.read(9, 1)), "9");
    same((await source.read(10, 0)).length, 0);
    await refused(source.read(8, 3), Error);
    await source.close();
  },
  "what is missing is told apart": async (f) => {
    await refused(f.read("no"), NotFound);
    await refused(f.read("no/where"), NotFound);
    await refused(f.open("no"), NotFound);
    await refused(f.rename("no", "other"), NotFound);
    same(await f.size("no"), undefined);
    same(await f.list("no"), []);
    await f.remove("no");
    await f.remove("no/where");
  },
  "replacing": async (f) => {
    await f.replace("state.json", bytes("one"));
    await f.replace("state.json", bytes("two, longer"));
    same(text(await f.read("state.json")), "two, longer");
    await f.replace("deep/er/state.json", bytes("3"));
    same(await f.list("deep/er"), ["state.json"]);
    same((await f.list("")).sort(), ["deep/", "state.json"]);
  },
  "a folder moves whole": async (f) => {
    await put(f, "staging/1/main.js", "m");
    await put(f, "staging/1/img/a.png", "a");
    await put(f, "staging/2/other", "o");
    await f.rename("staging/1", "releases/abc");
    same(text(await f.read("releases/abc/img/a.png")), "a");
    same((await f.list("releases/abc")).sort(), ["img/", "main.js"]);
    same(await f.list("staging"), ["2/"]);
    await put(f, "staging/1/main.js", "again");
    same(text(await f.read("releases/abc/main.js")), "m");
  },
  "a file moves, and not onto another one": async (f) => {
    await put(f, "a", "1");
    await put(f, "b", "2");
    await refused(f.rename("a", "b"), Error);
    await f.rename("a", "sub/c");
    same(text(await f.read("sub/c")), "1");
    same(await f.size("a"), undefined);
  },
  "removing a folder removes all below it": async (f) => {
    await put(f, "d/e/f", "1");
    await put(f, "d/g", "1");
    await put(f, "dd", "stays");
    await f.remove("d");
    same(await f.list("d"), []);
    same(await f.size("d/e/f"), undefined);
    same(text(await f.read("dd")), "stays");
    await put(f, "d/e/f", "2");
    same(text(await f.read("d/e/f")), "2");
  },
};
