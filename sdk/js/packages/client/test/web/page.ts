// Runs inside a browser's page: the test drives it from outside.
import { StorageFull, type Host } from "../../src/host.js";
import { webHost, type Browser, type WebHost } from "../../src/hosts/web/index.js";
import { contract } from "../hosts/contract.js";

const browser = globalThis as unknown as Browser;
const crypto = { sha256: () => { throw new Error("not needed here"); }, verifyEd25519: () => false };
const open = (storage: "opfs" | "cache", directory: string): Promise<WebHost> => webHost({ browser, crypto, storage, directory });

const put = async (host: Pick<Host, "files">, path: string, text: string) => {
  const sink = await host.files.create(path);
  await sink.write(new TextEncoder().encode(text));
  await sink.close();
};

const page = {
  /** What fails, by name. */
  async contract(storage: "opfs" | "cache"): Promise<Record<string, string>> {
    const failed: Record<string, string> = {};
    let n = 0;
    for (const [name, check] of Object.entries(contract)) {
      try {
        await check((await open(storage, `${storage}-${n++}`)).files);
      } catch (e) {
        failed[name] = String((e as Error).stack);
      }
    }
    return { ...failed, ran: String(n) };
  },
  async lacks(): Promise<{ storage: string; lacks: string[] }> {
    const host = await webHost({ browser, crypto, directory: "lacks" });
    return { storage: host.storage, lacks: host.lacks.map((l) => l.capability) };
  },
  async lock(): Promise<boolean> {
    return (await (await open("opfs", "locked")).locks.tryLock("lock")) !== undefined;
  },
  /** Leaves a folder move as a killed tab does: noted, and half done. */
  async halfMoved(storage: "opfs" | "cache"): Promise<void> {
    const host = await open(storage, "half");
    await put(host, "releases/a/done.txt", "done");
    await put(host, "staging/a/rest/left.txt", "left");
    await put(host, "moving.json", JSON.stringify({ from: "staging/a", to: "releases/a" }));
  },
  async recovered(storage: "opfs" | "cache"): Promise<string[]> {
    const host = await open(storage, "half");
    await host.locks.tryLock("lock");
    return [...(await host.files.list("releases/a")), ...(await host.files.list("releases/a/rest")), ...(await host.files.list("staging")), ...(await host.files.list(""))].sort();
  },
  /** How writing more than there is room for ends, every one of so many times. */
  async full(storage: "opfs" | "cache", times: number): Promise<string[]> {
    const host = await open(storage, "full"), ends = new Set<string>();
    await put(host, "state.json", "before");
    for (let i = 0; i < times; i++) {
      try {
        const sink = await host.files.create("big");
        await sink.write(new Uint8Array(40 << 20));
        await sink.close();
        ends.add("it fitted");
      } catch (e) {
        ends.add(`${e instanceof StorageFull ? "full" : String(e)}, ${new TextDecoder().decode(await host.files.read("state.json"))}`);
      }
    }
    return [...ends];
  },
  async release(storage: "opfs" | "cache", files: Record<string, string>): Promise<string> {
    const host = await open(storage, storage);
    for (const [path, text] of Object.entries(files)) await put(host, "releases/d1/" + path, text);
    await put(host, "state.json", "secret");
    await navigator.serviceWorker.register("/sw.js?" + storage, { scope: "/" });
    const controls = () => navigator.serviceWorker.controller?.scriptURL.endsWith("?" + storage) === true;
    await new Promise<void>((done) => {
      navigator.serviceWorker.addEventListener("controllerchange", () => controls() && done());
      if (controls()) done();
    });
    return host.files.locate("releases/d1/");
  },
  async get(url: string, headers: Record<string, string> = {}, method = "GET"): Promise<[number, string | null, string]> {
    const r = await fetch(url, { headers, method });
    return [r.status, r.headers.get("content-type"), await r.text()];
  },
  /** The directories of this origin, in either storage. */
  async directories(): Promise<string[]> {
    const names = await caches.keys(), root = (await navigator.storage.getDirectory()) as unknown as { keys(): AsyncIterable<string> };
    for await (const name of root.keys()) names.push(name);
    return names;
  },
  /** Its scripts have run when it has loaded. */
  async frame(url: string): Promise<string> {
    const frame = document.createElement("iframe");
    frame.src = url;
    const loaded = new Promise((done) => (frame.onload = done));
    document.body.append(frame);
    await loaded;
    return frame.contentDocument?.body.textContent ?? "";
  },
};

(globalThis as unknown as { page: typeof page }).page = page;
