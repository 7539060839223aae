// Metro's registry of modules as the polyfill slipstream-metro/registry left it.
export interface Registry {
  modules: Map<number, { isInitialized: boolean; hasError?: boolean }>;
  prefix: string;
}

type Define = (factory: unknown, id: number, ...rest: unknown[]) => void;

function scope(): Record<string, unknown> {
  return globalThis as unknown as Record<string, unknown>;
}

export function findRegistry(): Registry {
  const registry = scope()["__slipstreamRegistry"] as Registry | undefined;
  if (!registry) throw new Error("the base bundle was built without slipstream-metro: wrap the configuration in metro.config.js with withSlipstream and build it again");
  return registry;
}

/** Runs a module that is defined, and hands back what it exports. */
export function requireModule(id: number): unknown {
  return (scope()["__r"] as (id: number) => unknown)(id);
}

/** Notes what is defined from now on until stop: Metro itself would pass over an id that is taken. */
export function watchDefinitions(registry: Registry): { ids: Set<number>; taken: number[]; stop(): void } {
  const name = registry.prefix + "__d";
  const define = scope()[name] as Define;
  const ids = new Set<number>();
  const taken: number[] = [];
  scope()[name] = (factory: unknown, id: number, ...rest: unknown[]) => {
    if (registry.modules.has(id)) {
      taken.push(id);
      return;
    }
    ids.add(id);
    define(factory, id, ...rest);
  };
  return { ids, taken, stop: () => void (scope()[name] = define) };
}
