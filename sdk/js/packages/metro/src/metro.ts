// The parts of Metro that are used, loaded from the app's own node_modules so that app and build have one Metro.
import { createRequire } from "node:module";
import { join, resolve } from "node:path";

export interface MetroModule {
  path: string;
  dependencies: Map<string, { absolutePath?: string; data: { name: string } }>;
  inverseDependencies: Iterable<string>;
  output: readonly { type: string; data: { code: string } }[];
}

export interface Graph {
  dependencies: Map<string, MetroModule>;
}

/** Options that Metro hands a serializer; more than these are handed through. */
export interface SerializerOptions {
  createModuleId(path: string): number;
  processModuleFilter(module: MetroModule): boolean;
  shouldAddToIgnoreList(module: MetroModule): boolean;
  getSourceUrl(module: MetroModule): string;
  runBeforeMainModule: readonly string[];
  runModule: boolean;
  modulesOnly: boolean;
  dev: boolean;
  sourceUrl?: string;
  sourceMapUrl?: string;
}

export type Serializer = (entry: string, pre: readonly MetroModule[], graph: Graph, options: SerializerOptions) => Promise<{ code: string; map: string }>;

export interface MetroConfig {
  projectRoot: string;
  serializer: {
    customSerializer?: Serializer | null;
    createModuleIdFactory?: () => (path: string) => number;
    getPolyfills?: (options: { platform?: string | null }) => readonly string[];
    processModuleFilter?: (module: MetroModule) => boolean;
  };
  transformer: { assetPlugins: readonly string[]; publicPath: string };
  maxWorkers?: number;
  reporter?: unknown;
}

export interface AssetData {
  files: string[];
  httpServerLocation: string;
  name: string;
  scales: number[];
  type: string;
}

export interface Server {
  build(options: Record<string, unknown>): Promise<{ code: string; map: string }>;
  end(): Promise<void>;
}

/** Metro as the app in projectRoot has it. */
export class Metro {
  readonly version: string;
  private readonly require: NodeJS.Require;

  constructor(readonly projectRoot: string) {
    this.require = createRequire(join(projectRoot, "package.json"));
    this.version = (this.load("metro/package.json") as { version: string }).version;
    if (!/^0\.8[23]\./.test(this.version)) {
      throw new Error(`Metro ${this.version} is not known to work: install 0.82 (React Native 0.79, 0.80) or 0.83 (React Native 0.81, 0.82)`);
    }
  }

  async config(file?: string): Promise<MetroConfig> {
    const { loadConfig } = this.load("metro") as { loadConfig(args: object): Promise<MetroConfig> };
    return loadConfig({ cwd: this.projectRoot, ...(file ? { config: resolve(this.projectRoot, file) } : {}) });
  }

  server(config: MetroConfig): Server {
    const Server = this.part("Server") as new (config: MetroConfig, options: object) => Server;
    return new Server(config, { watch: false });
  }

  /** Code of the bundle, the modules in the order of their ids. */
  bundle(entry: string, pre: readonly MetroModule[], graph: Graph, options: SerializerOptions): string {
    const base = this.part("DeltaBundler/Serializers/baseJSBundle") as (...args: unknown[]) => unknown;
    const text = this.part("lib/bundleToString") as (bundle: unknown) => { code: string };
    return text(base(entry, pre, graph, options)).code;
  }

  async sourceMap(modules: readonly MetroModule[], options: object): Promise<string> {
    const { sourceMapStringNonBlocking } = this.part("DeltaBundler/Serializers/sourceMapString") as { sourceMapStringNonBlocking(modules: unknown, options: object): Promise<string> };
    return sourceMapStringNonBlocking(modules, options);
  }

  async assets(modules: Map<string, MetroModule>, options: object): Promise<AssetData[]> {
    const getAssets = this.part("DeltaBundler/Serializers/getAssets") as (modules: unknown, options: object) => Promise<AssetData[]>;
    return getAssets(modules, options);
  }

  /** The map from the source to the bytecode, of Metro's map and the compiler's. */
  composeMaps(packager: unknown, compiler: unknown): unknown {
    const { composeSourceMaps } = this.load("metro-source-map") as { composeSourceMaps(maps: unknown[]): unknown };
    return composeSourceMaps([packager, compiler]);
  }

  resolve(name: string): string {
    return this.require.resolve(name);
  }

  private part(path: string): unknown {
    const loaded = this.load("metro/private/" + path) as { default?: unknown };
    return loaded.default ?? loaded;
  }

  private load(name: string): unknown {
    try {
      return this.require(name);
    } catch (err) {
      throw new Error(`cannot load ${name} from ${this.projectRoot}: run npm install there, with metro among its devDependencies`, { cause: err });
    }
  }
}
