// A phone with a mini-program platform, for running the app here: the platform's API in memory over a disk that is kept,
// the app in a JavaScript context with what a platform gives and nothing else (no eval, no BigInt, no Node), the page
// drawn by miniprogram-simulate.
import { randomFillSync } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { createContext, runInContext } from "node:vm";

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, "app");
const load = createRequire(join(here, "../../sdk/js/package.json"));

/** A component or page of the app, drawn in a document of its own. */
export function draw(path, data = {}) {
  const { JSDOM } = load("jsdom");
  const { window } = new JSDOM("<!doctype html><body></body>", { pretendToBeVisual: true });
  // The simulator expects a browser's names around it.
  for (const known of ["document", "HTMLElement", "Node", "MutationObserver", "Element", "Event", "CustomEvent", "TouchEvent"]) globalThis[known] = window[known];
  globalThis.getComputedStyle = window.getComputedStyle.bind(window);
  globalThis.window = window;
  const simulate = load("miniprogram-simulate");
  const drawn = simulate.render(simulate.load(join(root, path), { rootPath: root }), data);
  drawn.attach(window.document.createElement("div"));
  return {
    html: () => drawn.dom.outerHTML,
    set: (next) => drawn.setData(next),
    on: (event, then) => drawn.addEventListener(event, (e) => then(e.detail)),
    async tap(selector) {
      // "a >>> b" is b inside the component a.
      selector.split(" >>> ").reduce((within, one) => within?.querySelector(one), drawn)?.dispatchEvent("tap");
      await new Promise((done) => setTimeout(done, 20));
    },
    gone: () => drawn.detach(),
  };
}

export class Phone {
  /** What the app asked and said. */
  modals = [];
  log = [];
  starts = 0;
  #offset = 0;
  #alive;

  /** platform makes the platform's API: memoryPlatform of slipstream-client/miniprogram/memory with the phone's disk. config is app/config.js. */
  constructor({ platform, config }) {
    this.makePlatform = platform;
    this.config = config;
  }

  /** The user opens the mini-program: it goes on when it is alive, else it is started. */
  async open() {
    if (!this.#alive) this.#launch();
    else {
      this.platform.show();
      await this.app.shop.life.open();
    }
    await this.settled();
  }

  /** The user leaves it. */
  hide() {
    this.platform.hide();
  }

  /** Time passes, and nothing happens meanwhile: the phone sleeps. */
  sleep(ms) {
    this.#offset += ms;
  }

  /** The phone runs out of memory. */
  async warn() {
    this.platform.warn(15);
    await this.settled();
  }

  /** The platform ends the mini-program. */
  kill() {
    this.platform?.kill();
    for (const id of this.#alive?.timers ?? []) clearTimeout(id);
    this.#alive?.page?.gone();
    this.#alive = undefined;
  }

  get app() {
    return this.#alive?.app;
  }

  /** Waits until what was begun by opening is done, also a start anew that came meanwhile. */
  async settled() {
    for (let alive; alive !== this.#alive; ) {
      alive = this.#alive;
      await alive?.app.ready;
      await new Promise((done) => setTimeout(done, 30));
    }
  }

  /** What the user sees. */
  screen() {
    const html = this.#alive?.page.html() ?? "";
    return {
      html,
      texts: [...html.matchAll(/>([^<>]+)</g)].map((m) => m[1].trim()).filter(Boolean),
      images: [...html.matchAll(/<wx-image[^>]*>/g)].length,
    };
  }

  /** Taps the first item that this selects. */
  tap(selector) {
    return this.#alive.page.tap(selector);
  }

  #launch() {
    this.starts++;
    const alive = (this.#alive = { timers: new Set(), app: undefined, page: undefined });
    this.platform = this.makePlatform({
      code: (path) => (existsSync(join(root, path)) ? new Uint8Array(readFileSync(join(root, path))) : undefined),
      later: (then) => void setImmediate(then),
      random: (length) => randomFillSync(new Uint8Array(length)),
      restarted: () => {
        this.kill();
        this.#launch();
      },
    });
    const wx = Object.assign(this.platform, {
      showModal: (options) => this.modals.push(options),
      navigateTo: ({ url }) => this.log.push("navigateTo " + url),
    });
    const say = (...parts) => void this.log.push(parts.map((p) => p?.message ?? String(p)).join(" "));
    const timers = {
      setTimeout: (then, ms) => {
        const id = setTimeout(() => (alive.timers.delete(id), then()), ms);
        alive.timers.add(id);
        return id;
      },
      clearTimeout: (id) => (alive.timers.delete(id), clearTimeout(id)),
    };
    const context = createContext({ wx, ...timers, console: { log: say, info: say, warn: say, error: say }, now: () => Date.now() + this.#offset }, { codeGeneration: { strings: false, wasm: false } });
    runInContext("Date.now = now; delete globalThis.now; delete globalThis.BigInt; delete globalThis.WebAssembly;", context);
    const modules = new Map();
    const require = (from, name) => {
      const file = join(dirname(from), name.endsWith(".js") ? name : name + ".js");
      if (file === join(root, "config.js")) return this.config;
      if (!modules.has(file)) {
        const module = { exports: {} };
        modules.set(file, module);
        runInContext(`(function (require, module, exports) {${readFileSync(file, "utf8")}\n})`, context, { filename: file })((other) => require(file, other), module, module.exports);
      }
      return modules.get(file).exports;
    };
    context.App = (app) => (alive.app = app);
    context.getApp = globalThis.getApp = () => alive.app;
    globalThis.wx = wx;
    require(join(root, "app.js"), "./app.js");
    alive.app.onLaunch({});
    alive.page = draw("pages/home/index");
  }
}
