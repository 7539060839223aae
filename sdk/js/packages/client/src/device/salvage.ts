// What can be saved when the newest generation of the state is not usable.
import type { TrialState } from "../trial/state.js";
import { fits } from "../decide/ranges.js";
import { dict } from "../words/dict.js";
import type { Manifest } from "../words/documents.js";
import type { Device } from "./device.js";
import { describe } from "./settled.js";

/**
 * Raises the anchors to the highest signed releases whose manifests lie on the disk. Which of them were confirmed is lost,
 * so an anchor may be higher than it was, never lower than what ran: damage is no way to a downgrade. In mu.
 */
export async function salvage(d: Device, s: TrialState): Promise<TrialState> {
  const packages = dict(s.packages);
  let found: string[] = [];
  try {
    found = (await d.trees.all()).manifests;
  } catch (e) {
    d.log("releases on disk are unknown", e);
  }
  for (const digest of found) {
    const m = await signedHere(d, digest);
    if (!m || m.app !== d.o.app || !fits(m.runtime, d.o.runtime)) continue;
    const p = packages[m.package] || {};
    if (!p.anchor || m.seq > p.anchor.seq) packages[m.package] = { ...p, anchor: describe(m, digest) };
  }
  return { ...s, packages };
}

/** A manifest on the disk, when the release role of the newest, of the shipped or of a root between them signed it. */
async function signedHere(d: Device, digest: string): Promise<Manifest | undefined> {
  const raw = await d.trees.manifestEnvelope(digest).catch(() => undefined);
  for (const trust of raw ? d.chain.concat(d.root) : []) {
    try {
      const m = await trust.manifest(raw!);
      if (m.digest === digest) return m.manifest;
    } catch (e) {
      // Another root's keys may have signed it.
    }
  }
  return undefined;
}
