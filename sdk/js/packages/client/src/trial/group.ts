// Which of the releases that a device should take must go together because one needs the other.
import { dict, names, type Dict } from "../words/dict.js";
import { meets } from "../words/documents.js";
import { running, type Env, type Release, type TrialState } from "./state.js";
import { broken, Step } from "./step.js";

/** The sets that go together beside what runs now; unmet says of the packages that cannot go at all what is missing. */
export function group(s: TrialState, env: Env, offered: Dict<Release>): { sets: Dict<Release>[]; unmet: Dict<string> } {
  const targets = dict(offered), unmet = dict<string>(), all = new Step(s, env).packages();
  const now = (pkg: string) => running(s, env, pkg);
  const met = (r: Release, pkg: string, by: Release) => !r.requires || !(pkg in r.requires) || meets(r.requires[pkg], by.seq, by.digest || "");
  const bears = (other: string, r: Release, pkg: string) => other === pkg || met(r, pkg, targets[pkg]);
  /** What stands in the way of pkg's target, "" when nothing. */
  const obstacle = (pkg: string) => {
    const why = broken(pkg, targets[pkg], (dep) => met(targets[pkg], dep, now(dep)) ? now(dep) : targets[dep] || now(dep));
    if (why) return why;
    const other = all.filter((o) => !bears(o, now(o), pkg) && !bears(o, targets[o] || now(o), pkg))[0];
    return other ? `${other} ${now(other).version} needs another one` : "";
  };
  for (let pruned = true; pruned;) {
    pruned = false;
    for (const pkg of names(targets)) {
      const why = obstacle(pkg);
      if (!why) continue;
      unmet[pkg] = why;
      delete targets[pkg];
      pruned = true;
      break;
    }
  }
  const parent = dict<string>(), sets = dict<Dict<Release>>();
  const root = (pkg: string): string => parent[pkg] === pkg ? pkg : root(parent[pkg]);
  for (const pkg of names(targets)) parent[pkg] = pkg;
  for (const pkg of names(targets)) {
    for (const other of names(targets)) {
      if (other === pkg || met(targets[pkg], other, now(other)) && bears(other, now(other), pkg)) continue;
      const [first, second] = [root(pkg), root(other)].sort();
      parent[second] = first;
    }
  }
  for (const pkg of names(targets)) (sets[root(pkg)] = sets[root(pkg)] || dict())[pkg] = targets[pkg];
  return { sets: names(sets).map((first) => sets[first]), unmet };
}
