// The shell page of the frame tests: it opens pages of its own site and says how each start went.
import { startInFrame, type Outcome, type Rules } from "../../src/hosts/web/frame.js";

const frames = {
  async start(url: string, rules: Partial<Rules> = {}): Promise<Outcome> {
    const slot = document.getElementById("slot") as HTMLElement;
    const { kind, detail } = await startInFrame(window as never, slot, url, { confirm: "shown", settle: 50, watchdog: 20000, ...rules });
    return { kind, detail };
  },
  /** How many frames are in the page, and what the last one says. */
  shown(): [number, string] {
    const all = document.querySelectorAll("iframe");
    return [all.length, all[all.length - 1]?.contentDocument?.body.innerText ?? ""];
  },
};

(globalThis as unknown as { frames: typeof frames }).frames = frames;
