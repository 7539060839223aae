// Runs in the base bundle, on the device. It loads a business's bundle from the release in force when the business is
// entered, and takes exactly its modules out of Metro's registry when it is left, so that the next entry runs the code
// of the release that is in force then. The base's modules, and what they hold, stay.
import { hookRoots, type AppRegistryLike } from "./roots.js";
import { findRegistry, requireModule, watchDefinitions, type Registry } from "./registry-map.js";
import { assetSource, type AssetResolver, type ResolveAssetSource } from "./asset-source.js";
import { each, type MaybePromise } from "./maybe.js";

/** What the native shell gives: three small things. Each may answer at once or by a promise. */
export interface Shell {
  /**
   * Directory of the package's release in force: of the Slipstream client, or of what the app ships with. Asked for a
   * business whenever it is loaded, and once for "base": that of the base that runs.
   */
  directory(pkg: string): MaybePromise<string>;
  /** Text of a file. */
  readText(path: string): MaybePromise<string>;
  /** Runs a bundle file, source or bytecode, in this JavaScript runtime's global scope. */
  evaluate(path: string, pkg: string): MaybePromise<void>;
  /** Registers a font file for use as fontFamily. Without it, packages with fonts are refused. */
  registerFont?(family: string, path: string): MaybePromise<void>;
}

export interface RuntimeOptions {
  shell: Shell;
  /** React Native's AppRegistry. */
  AppRegistry: AppRegistryLike;
  /** React Native's Image.resolveAssetSource. */
  resolveAssetSource: ResolveAssetSource;
  /** Packages, by the key that the native side runs: key = package when it is a list. */
  businesses: string[] | Record<string, string>;
  /** Told of what went wrong in a business that the native side opened; default: thrown. */
  onError?(error: Error, pkg: string): void;
  onEnter?(entered: Entered): void;
  onLeave?(pkg: string): void;
}

export interface Entered {
  package: string;
  directory: string;
  /** Modules that were defined. */
  modules: number;
}

/** The part of a release's index.json that the runtime uses. */
interface Index {
  format: number;
  package: string;
  dev: boolean;
  bundle: string;
  entry: number;
  needs: Record<string, string>;
  fonts: { family: string; file: string }[];
}

interface Loaded {
  directory: string;
  ids: Set<number>;
  keys: Set<string>;
  roots: Set<unknown>;
}

declare const __DEV__: boolean | undefined;

export class Businesses {
  private readonly registry: Registry = findRegistry();
  private readonly loaded = new Map<string, Loaded>();
  private readonly directories = new Map<string, string>();
  private readonly packages: Map<string, string>;
  private readonly unhook: () => void;
  private queue: Promise<unknown> | undefined;
  private registering: Set<string> | undefined;

  constructor(private readonly options: RuntimeOptions) {
    const { businesses, AppRegistry, resolveAssetSource } = options;
    this.packages = new Map(Array.isArray(businesses) ? businesses.map((name) => [name, name]) : Object.entries(businesses));
    resolveAssetSource.addCustomSourceTransformer((resolver: AssetResolver) => assetSource(resolver, (pkg) => this.directories.get(pkg)));
    each(options.shell.directory("base"), (directory) => void this.directories.set("base", directory));
    this.unhook = hookRoots(AppRegistry, {
      packageOf: (key) => this.packages.get(key),
      enter: (pkg, key, root) => this.enter(pkg, key, root),
      leave: (root) => this.leaveRoot(root),
      registered: (key) => void this.registering?.add(key),
      failed: (error, pkg) => this.failed(error, pkg),
    });
  }

  /** Loads a business unless it is loaded. Answers at once when the shell does. */
  open(pkg: string): MaybePromise<void> {
    if (this.loaded.has(pkg)) return undefined;
    if (this.queue === undefined) {
      const work = this.load(pkg);
      if (!work) return undefined;
      return this.enqueue(work);
    }
    return this.enqueue(this.queue.then(() => (this.loaded.has(pkg) ? undefined : this.load(pkg))));
  }

  /** Takes a business out that no root shows. Says whether it was loaded. */
  close(pkg: string): boolean {
    const one = this.loaded.get(pkg);
    if (!one) return false;
    if (one.roots.size > 0) throw new Error(`business "${pkg}" is still shown in ${one.roots.size} root view(s): it is left when the last one is unmounted`);
    this.purge(pkg, one);
    return true;
  }

  /** What is loaded now. */
  status(): { package: string; directory: string; modules: number; roots: number }[] {
    return [...this.loaded].map(([name, one]) => ({ package: name, directory: one.directory, modules: one.ids.size, roots: one.roots.size }));
  }

  /** Takes the hooks off AppRegistry again. */
  dispose(): void {
    this.unhook();
  }

  private enqueue(work: Promise<unknown>): Promise<void> {
    const settled = work.then(() => undefined, () => undefined);
    this.queue = settled;
    void settled.then(() => { if (this.queue === settled) this.queue = undefined; });
    return work.then(() => undefined);
  }

  private enter(pkg: string, key: string, root: unknown): MaybePromise<void> {
    return each(this.open(pkg), () => {
      const one = this.loaded.get(pkg)!;
      if (!one.keys.has(key)) {
        if (one.roots.size === 0) this.purge(pkg, one);
        throw new Error(`business "${pkg}" was loaded from ${one.directory} but did not register "${key}" (it registered ${[...one.keys].join(", ") || "nothing"}): call AppRegistry.registerComponent("${key}", …) in its entry`);
      }
      one.roots.add(root);
    });
  }

  private leaveRoot(root: unknown): void {
    for (const [pkg, one] of this.loaded) {
      if (one.roots.delete(root) && one.roots.size === 0) this.purge(pkg, one);
    }
  }

  private load(pkg: string): MaybePromise<void> {
    const { shell, onEnter } = this.options;
    return each(shell.directory(pkg), (directory) =>
      each(shell.readText(`${directory}/index.json`), (text) => {
        const index = this.readIndex(pkg, directory, text);
        return each(this.registerFonts(index, directory), () => each(this.define(index, directory), (one) => {
          this.loaded.set(pkg, one);
          onEnter?.({ package: pkg, directory, modules: one.ids.size });
        }));
      }));
  }

  private define(index: Index, directory: string): MaybePromise<Loaded> {
    const watch = watchDefinitions(this.registry);
    const one: Loaded = { directory, ids: watch.ids, keys: new Set(), roots: new Set() };
    const back = (error: unknown): never => {
      watch.stop();
      this.registering = undefined;
      this.forget(one);
      throw error;
    };
    return each(() => this.options.shell.evaluate(`${directory}/${index.bundle}`, index.package), () => {
      watch.stop();
      if (watch.taken.length > 0) {
        throw new Error(`${watch.taken.length} module(s) of business "${index.package}" have ids that are taken (${watch.taken[0]}): its bundle was not built with this base's split, or was evaluated twice`);
      }
      if (!watch.ids.has(index.entry)) {
        throw new Error(`${directory}/${index.bundle} did not define the business's entry: the shell's evaluate did not run that file, or the release is mixed from two builds`);
      }
      this.directories.set(index.package, directory);
      this.registering = one.keys;
      requireModule(index.entry);
      this.registering = undefined;
      if (!this.registry.modules.get(index.entry)?.isInitialized) throw new Error(`business "${index.package}" failed while it started; React Native's error handler has the reason`);
      return one;
    }, back);
  }

  private readIndex(pkg: string, directory: string, text: string): Index {
    let index: Index;
    try {
      index = JSON.parse(text) as Index;
    } catch {
      throw new Error(`${directory}/index.json is not JSON: publish the folder that slipstream-metro build made, as it is`);
    }
    if (index.format !== 1) throw new Error(`${directory}/index.json has format ${index.format}, this base knows 1: publish a newer base and let the business require it`);
    if (index.package !== pkg) throw new Error(`${directory} holds the package "${index.package}", not "${pkg}": it was published under the wrong name`);
    const dev = typeof __DEV__ !== "undefined" && __DEV__ === true;
    if (index.dev !== dev) throw new Error(`business "${pkg}" was built ${index.dev ? "with" : "without"} --dev and the base ${dev ? "with" : "without"} it: build both alike`);
    const missing = Object.entries(index.needs).filter(([id]) => !this.registry.modules.has(Number(id))).map(([, path]) => path);
    if (missing.length > 0) {
      throw new Error(`business "${pkg}" needs ${missing.slice(0, 3).join(", ")}${missing.length > 3 ? ` and ${missing.length - 3} more` : ""} of the base, and the running base lacks ${missing.length === 1 ? "it" : "them"}: ` +
        `publish the base that has ${missing.length === 1 ? "it" : "them"}, and the business with --requires 'base>=SEQ' (that base's number), so that devices take them together`);
    }
    return index;
  }

  private registerFonts(index: Index, directory: string): MaybePromise<void> {
    const { registerFont } = this.options.shell;
    if (index.fonts.length > 0 && !registerFont) {
      throw new Error(`business "${index.package}" carries fonts (${index.fonts[0].family}) and the shell has no registerFont: pass one, or put the fonts into the app itself`);
    }
    return index.fonts.reduce<MaybePromise<void>>((before, font) => each(before, () => registerFont!(font.family, `${directory}/${font.file}`)), undefined);
  }

  private purge(pkg: string, one: Loaded): void {
    this.loaded.delete(pkg);
    this.directories.delete(pkg);
    this.forget(one);
    this.options.onLeave?.(pkg);
  }

  /** Lets go of the modules and of what the business registered, so that nothing of the old code can run or stay in memory. */
  private forget(one: Loaded): void {
    for (const id of one.ids) this.registry.modules.delete(id);
    for (const key of one.keys) {
      this.options.AppRegistry.registerRunnable(key, () => { throw new Error(`"${key}" was left and is not loaded`); });
    }
  }

  private failed(error: Error, pkg: string): void {
    if (!this.options.onError) throw error;
    this.options.onError(error, pkg);
  }
}

export function createBusinesses(options: RuntimeOptions): Businesses {
  return new Businesses(options);
}
