// Decides, for one graph, which modules belong to the package, which the base gives it, and what is wrong with that.
import { BASE, type Business, type Split } from "./options.js";
import { Ids, moduleId, projectPath } from "./ids.js";
import type { Graph, MetroModule } from "./metro.js";

/** What is remembered of a built package beside its release: for error messages, and to build businesses against it. */
export interface Ledger {
  format: 1;
  package: string;
  platform: string;
  dev: boolean;
  /** Id → path of every module of the package. */
  modules: Record<string, string>;
}

export interface Plan {
  own: MetroModule[];
  /** Id → path of the base's modules that this package imports itself. */
  needs: Record<string, string>;
  ids(path: string): number;
  ledger: Ledger;
}

interface Setting {
  root: string;
  split: Split;
  platform: string;
  dev: boolean;
  ids: Ids;
}

/** Everything in the graph is the base's, and nothing in it may be a business's. */
export function planBase(graph: Graph, setting: Setting): Plan {
  const modules: Record<string, string> = {};
  for (const module of graph.dependencies.values()) {
    const path = projectPath(setting.root, module.path);
    const owner = ownerOf(path, setting.split);
    if (owner) {
      throw new Error(`the base imports ${path}, which belongs to business "${owner.name}"${importers(module, setting.root)}: ` +
        `open the business at run time instead, or move the file out of ${owner.root} so that all can share it`);
    }
    modules[setting.ids.of(BASE, path)] = path;
  }
  return {
    own: [...graph.dependencies.values()], needs: {}, ids: (file) => moduleId(BASE, projectPath(setting.root, file)),
    ledger: { format: 1, package: BASE, platform: setting.platform, dev: setting.dev, modules: sorted(modules) },
  };
}

/** What the base lacks is the business's own; another business's module in it is refused. */
export function planBusiness(graph: Graph, business: Business, base: Ledger, setting: Setting): Plan {
  const inBase = (path: string) => base.modules[moduleId(BASE, path)] === path;
  const own: MetroModule[] = [];
  const modules: Record<string, string> = {};
  const needs: Record<string, string> = {};
  for (const module of graph.dependencies.values()) {
    const path = projectPath(setting.root, module.path);
    if (inBase(path)) continue;
    const owner = ownerOf(path, setting.split);
    if (owner && owner !== business) {
      throw new Error(`business "${business.name}" imports ${path}, which belongs to business "${owner.name}"${importers(module, setting.root)}: ` +
        `businesses are loaded and replaced one by one and cannot import each other; move what both need into a shared folder that ${setting.split.base} imports`);
    }
    own.push(module);
    modules[setting.ids.of(business.name, path)] = path;
    for (const { absolutePath } of module.dependencies.values()) {
      const needed = absolutePath === undefined ? undefined : projectPath(setting.root, absolutePath);
      if (needed !== undefined && inBase(needed)) needs[moduleId(BASE, needed)] = needed;
    }
  }
  for (const [id, path] of Object.entries(base.modules)) setting.ids.claim(Number(id), BASE + ":" + path);
  const ids = (file: string) => {
    const path = projectPath(setting.root, file);
    return moduleId(inBase(path) ? BASE : business.name, path);
  };
  return { own, needs: sorted(needs), ids, ledger: { format: 1, package: business.name, platform: setting.platform, dev: setting.dev, modules: sorted(modules) } };
}

/** Modules that the released base has and the new one has not: businesses that are out would miss them. */
export function checkBase(now: Ledger, released: Ledger): void {
  const gone = Object.entries(released.modules).filter(([id]) => !(id in now.modules)).map(([, path]) => path);
  if (gone.length === 0) return;
  throw new Error(`${gone.length === 1 ? "a module has" : gone.length + " modules have"} left the base that is released: ${shorten(gone)}. ` +
    `Businesses published against it may import them. Import them from the base's entry again; or, if they moved into a business on purpose, ` +
    `build with --base-may-shrink, publish the base first and then every business with --requires 'base>=SEQ' (the new base's number)`);
}

/** Packages of node_modules, and files, that two businesses carry each for themselves. */
export function duplicates(ledgers: Ledger[]): string[] {
  const holders = new Map<string, Set<string>>();
  for (const ledger of ledgers) {
    if (ledger.package === BASE) continue;
    for (const path of Object.values(ledger.modules)) {
      const name = /(?:^|\/)node_modules\/((?:@[^/]+\/)?[^/]+)\/(?!(?:.*\/)?node_modules\/)/.exec(path)?.[1] ?? path;
      holders.set(name, (holders.get(name) ?? new Set()).add(ledger.package));
    }
  }
  return [...holders].filter(([, by]) => by.size > 1)
    .map(([name, by]) => `${name} is in ${[...by].join(" and ")}, a copy for each: import it in the base to share it`);
}

export function ownerOf(path: string, split: Split): Business | undefined {
  return split.businesses.find((one) => path.startsWith(one.root));
}

function importers(module: MetroModule, root: string): string {
  const by = [...module.inverseDependencies].map((file) => projectPath(root, file));
  return by.length === 0 ? "" : ` (imported by ${shorten(by)})`;
}

function shorten(names: string[]): string {
  return names.length <= 5 ? names.join(", ") : names.slice(0, 5).join(", ") + ` and ${names.length - 5} more`;
}

function sorted(record: Record<string, string>): Record<string, string> {
  return Object.fromEntries(Object.entries(record).sort(([a], [b]) => Number(a) - Number(b)));
}
