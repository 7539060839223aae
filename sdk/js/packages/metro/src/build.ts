// Builds the packages of an app: one folder each that `slipstream publish` takes, and beside it one that stays with the
// publisher (source map and ledger).
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { gzipSync } from "node:zlib";
import { copyAssets, placeAssets, type Font } from "./assets.js";
import { compile, findHermesc } from "./hermes.js";
import { Ids, projectPath } from "./ids.js";
import { Metro, type Graph, type MetroConfig, type MetroModule, type SerializerOptions } from "./metro.js";
import { BASE, type Business, type Split } from "./options.js";
import { checkBase, duplicates, planBase, planBusiness, type Ledger, type Plan } from "./plan.js";
import { splitOf } from "./config.js";

export interface BuildOptions {
  projectRoot: string;
  /** "android", "ios", … as Metro knows it. */
  platform: string;
  /** Folder that the packages are written to: out/base, out/base.build, out/cart, … */
  out: string;
  /** metro.config.js of the project, if it has another name. */
  config?: string;
  /** A build for development: names and warnings, nothing minified. */
  dev?: boolean;
  /** Default: not for development and not for Hermes. */
  minify?: boolean;
  /** Packages to build; default all. Without the base among them, released must be given. */
  only?: string[];
  /** modules.json of the base that is released: businesses alone are built against it; a new base may not lack what it has. */
  released?: string;
  /** Let the new base lack modules of the released one. */
  baseMayShrink?: boolean;
  /** Compile to Hermes bytecode: true, or the compiler's file. */
  hermes?: boolean | string;
  /** Settings added to every package's slipstream.json, e.g. requires. */
  publish?: Record<string, string | string[]>;
  reporter?: { update(event: unknown): void };
}

/** The index of a release, index.json: what the runtime knows of the package before it runs it. */
export interface Index {
  format: 1;
  package: string;
  platform: string;
  dev: boolean;
  bundle: string;
  /** Id of the module that starts the business. */
  entry: number;
  /** Modules in the bundle. */
  modules: number;
  /** Id → path of the base's modules that the business imports. */
  needs: Record<string, string>;
  fonts: Font[];
}

export interface Built {
  package: string;
  directory: string;
  modules: number;
  assets: string[];
  /** Bytes of the bundle, as it is and gzipped. */
  bytes: number;
  gzip: number;
}

export interface BuildReport {
  packages: Built[];
  /** What could be better. */
  notes: string[];
}

export async function build(options: BuildOptions): Promise<BuildReport> {
  const projectRoot = resolve(options.projectRoot);
  const metro = new Metro(projectRoot);
  const loaded = await metro.config(options.config);
  const split = splitOf(loaded);
  const only = options.only ?? [BASE, ...split.businesses.map((one) => one.name)];
  for (const name of only) {
    if (name !== BASE && !split.businesses.some((one) => one.name === name)) {
      throw new Error(`there is no business "${name}": metro.config.js names ${split.businesses.map((one) => one.name).join(", ")}`);
    }
  }
  const job = new Job(metro, loaded, split, { ...options, projectRoot });
  try {
    const released = options.released === undefined ? undefined : readLedger(options.released, options.platform, options.dev ?? false);
    const base = only.includes(BASE) ? await job.base(options.baseMayShrink ? undefined : released) : released;
    if (base === undefined) throw new Error("businesses are built against a base: build it too, or give --released FILE, the modules.json of the base that is released");
    for (const business of split.businesses) {
      if (only.includes(business.name)) await job.business(business, base);
    }
  } finally {
    await job.end();
  }
  return { packages: job.built, notes: duplicates(job.ledgers) };
}

function readLedger(file: string, platform: string, dev: boolean): Ledger {
  const path = existsSync(file) && statSync(file).isDirectory() ? join(file, "modules.json") : file;
  let ledger: Ledger;
  try {
    ledger = JSON.parse(readFileSync(path, "utf8")) as Ledger;
  } catch (err) {
    throw new Error(`cannot read the released base's modules from ${path}: keep base.build/modules.json of every build that is published`, { cause: err });
  }
  if (ledger.format !== 1 || ledger.package !== BASE || typeof ledger.modules !== "object") {
    throw new Error(`${path} is not the modules.json of a base: it lies in base.build of a build`);
  }
  if (ledger.platform !== platform || ledger.dev !== dev) {
    throw new Error(`${path} is of a base for ${ledger.platform}${ledger.dev ? " (dev)" : ""}, this build is for ${platform}${dev ? " (dev)" : ""}: take the one that fits`);
  }
  return ledger;
}

/** One Metro server that builds package after package. */
class Job {
  readonly built: Built[] = [];
  readonly ledgers: Ledger[] = [];
  private readonly ids = new Ids();
  private readonly config: MetroConfig;
  private readonly server: ReturnType<Metro["server"]>;
  private plan: (graph: Graph) => Plan = () => { throw new Error("no package is being built"); };
  private pkg = BASE;
  private last: { plan: Plan; graph: Map<string, MetroModule>; entry: number } | undefined;

  constructor(private readonly metro: Metro, loaded: MetroConfig, private readonly split: Split, private readonly options: BuildOptions) {
    this.config = {
      ...loaded,
      reporter: options.reporter ?? { update: () => undefined },
      serializer: { ...loaded.serializer, customSerializer: (...args) => this.serialize(...args) },
    };
    this.server = metro.server(this.config);
  }

  end(): Promise<void> {
    return this.server.end();
  }

  async base(released: Ledger | undefined): Promise<Ledger> {
    this.plan = (graph) => {
      const plan = planBase(graph, this.setting());
      if (released) checkBase(plan.ledger, released);
      return plan;
    };
    return this.emit(BASE, this.split.base);
  }

  async business(business: Business, base: Ledger): Promise<Ledger> {
    this.plan = (graph) => planBusiness(graph, business, base, this.setting());
    return this.emit(business.name, business.entry);
  }

  private setting() {
    return { root: this.options.projectRoot, split: this.split, platform: this.options.platform, dev: this.options.dev ?? false, ids: this.ids };
  }

  private async emit(name: string, entry: string): Promise<Ledger> {
    const { platform, dev = false, hermes, minify = !dev && !hermes } = this.options;
    if (!existsSync(join(this.options.projectRoot, entry))) {
      throw new Error(`the entry of "${name}", ${entry}, is not there: correct it in metro.config.js (paths are relative to ${this.options.projectRoot})`);
    }
    this.pkg = name;
    const { code, map } = await this.server.build({
      entryFile: entry, platform, dev, minify, bundleType: "bundle", customTransformOptions: {}, customResolverOptions: {}, excludeSource: false,
      inlineSourceMap: false, lazy: false, modulesOnly: name !== BASE, runModule: name === BASE, shallow: false, onProgress: null, sourceMapUrl: null,
      sourceUrl: null, sourcePaths: "absolute", unstable_transformProfile: hermes ? "hermes-stable" : "default",
    });
    const { plan, graph, entry: id } = this.last!;
    const directory = join(resolve(this.options.out), name);
    const beside = directory + ".build";
    for (const folder of [directory, beside]) {
      rmSync(folder, { recursive: true, force: true });
      mkdirSync(folder, { recursive: true });
    }
    const bundle = `${name}.bundle`;
    const file = join(directory, bundle);
    writeFileSync(file, code);
    writeFileSync(join(beside, bundle + ".map"), map);
    writeJSON(join(beside, "modules.json"), plan.ledger);
    if (hermes) compile(this.metro, findHermesc(this.metro, hermes === true ? undefined : hermes), file, join(beside, bundle + ".map"));
    const { assetPlugins, publicPath } = this.config.transformer;
    const assets = await this.metro.assets(graph, { assetPlugins, platform, projectRoot: this.options.projectRoot, publicPath, processModuleFilter: () => true });
    const { files, fonts } = copyAssets(assets, publicPath, directory);
    const index: Index = { format: 1, package: name, platform, dev, bundle, entry: id, modules: plan.own.length, needs: plan.needs, fonts };
    writeJSON(join(directory, "index.json"), index);
    const { requires, ...publish } = { ...this.split.publish, ...this.options.publish };
    const settings = name === BASE || requires === undefined ? publish : { ...publish, requires };
    writeJSON(join(directory, "slipstream.json"), { ...settings, package: name, platform, entry: bundle, kind: "react-native" });
    const bytes = readFileSync(file);
    this.built.push({ package: name, directory, modules: plan.own.length, assets: files, bytes: bytes.length, gzip: gzipSync(bytes, { level: 9 }).length });
    this.ledgers.push(plan.ledger);
    return plan.ledger;
  }

  private async serialize(entry: string, pre: readonly MetroModule[], graph: Graph, options: SerializerOptions): Promise<{ code: string; map: string }> {
    const plan = this.plan(graph);
    const filter = this.config.serializer.processModuleFilter ?? (() => true);
    const own = placeAssets(plan.own, this.pkg, this.config.transformer.publicPath).sort((a, b) => plan.ids(a.path) - plan.ids(b.path));
    const modules = new Map(own.map((module) => [module.path, module]));
    this.last = { plan, graph: modules, entry: plan.ids(entry) };
    const code = this.metro.bundle(entry, pre, { ...graph, dependencies: modules }, {
      ...options, createModuleId: (path) => plan.ids(path), processModuleFilter: filter, runBeforeMainModule: this.pkg === BASE ? options.runBeforeMainModule : [],
    });
    const map = await this.metro.sourceMap(this.pkg === BASE ? [...pre, ...own] : own, {
      excludeSource: false, processModuleFilter: filter, shouldAddToIgnoreList: options.shouldAddToIgnoreList,
      getSourceUrl: (module: MetroModule) => projectPath(this.options.projectRoot, module.path),
    });
    return { code, map };
  }
}

function writeJSON(file: string, value: unknown): void {
  writeFileSync(file, JSON.stringify(value, null, 1) + "\n");
}
