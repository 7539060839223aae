// For pages inside releases: where they are, and what they say of themselves to the shell that shows them.
import type { Message } from "./frame.js";

/** The parts of a page's window that are used. */
export interface PageWindow {
  location: { href: string; origin: string };
  parent: unknown;
}

/** Says that this release works. Needed where the shell confirms when it is told. */
export function confirm(page: PageWindow = globalThis as unknown as PageWindow): void {
  tell(page, { slipstream: "confirm" });
}

/** Says that this release does not work, before the shell has confirmed it. */
export function crash(detail: string, page: PageWindow = globalThis as unknown as PageWindow): void {
  tell(page, { slipstream: "crash", detail });
}

/** The release that an address belongs to: its digest, and the folder "/…/" that its files are below. Undefined for any other address, such as the embedded page's. */
export function releaseOf(href: string = (globalThis as unknown as PageWindow).location.href): { digest: string; base: string } | undefined {
  const found = /^[^?#]*\/releases\/([0-9a-f]{64})\//.exec(href);
  return found ? { digest: found[1], base: found[0].replace(/^[a-z]+:\/\/[^/]*/, "") } : undefined;
}

function tell(page: PageWindow, message: Message): void {
  (page.parent as { postMessage(message: unknown, origin: string): void }).postMessage(message, page.location.origin);
}
