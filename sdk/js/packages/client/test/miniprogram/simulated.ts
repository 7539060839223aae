// The components of the mini-program example, drawn by miniprogram-simulate in a document of jsdom.
import { createRequire } from "node:module";
import { resolve } from "node:path";

export interface Component {
  html(): string;
  set(data: Record<string, unknown>): void;
  tap(selector: string): Promise<void>;
  on(event: string, then: (detail: unknown) => void): void;
}

export const EXAMPLE = resolve("../../../../examples/mini-program");

interface Rendered {
  dom: { outerHTML: string };
  attach(to: unknown): void;
  setData(data: Record<string, unknown>): void;
  querySelector(selector: string): { dispatchEvent(name: string): void } | undefined;
  addEventListener(name: string, then: (event: { detail: unknown }) => void): void;
}

export function component(name: string, data: Record<string, unknown>): Component {
  const load = createRequire(import.meta.url), { JSDOM } = load("jsdom") as { JSDOM: new (html: string, o: object) => { window: Record<string, unknown> } };
  const { window } = new JSDOM("<!doctype html><body></body>", { pretendToBeVisual: true });
  const global = globalThis as unknown as Record<string, unknown>;
  // The simulator expects a browser's names around it.
  for (const known of ["document", "HTMLElement", "Node", "MutationObserver", "Element", "Event", "CustomEvent", "TouchEvent"]) global[known] = window[known];
  global.getComputedStyle = (window.getComputedStyle as (e: unknown) => unknown).bind(window);
  global.window = window;
  const simulate = load("miniprogram-simulate") as { load(path: string, o: object): string; render(id: string, data: object): Rendered };
  const c = simulate.render(simulate.load(resolve(EXAMPLE, "components", name, "index"), { rootPath: EXAMPLE }), data);
  c.attach((window.document as { createElement(n: string): unknown }).createElement("div"));
  return {
    html: () => c.dom.outerHTML,
    set: (data) => c.setData(data),
    on: (event, then) => c.addEventListener(event, (e) => then(e.detail)),
    async tap(selector) {
      c.querySelector(selector)?.dispatchEvent("tap");
      await new Promise((done) => setTimeout(done, 20));
    },
  };
}
