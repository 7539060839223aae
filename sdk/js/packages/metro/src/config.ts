// What metro.config.js calls.
import { createRequire } from "node:module";
import { join } from "node:path";
import { Ids, projectPath } from "./ids.js";
import type { MetroConfig } from "./metro.js";
import { BASE, readOptions, type Split, type SplitOptions } from "./options.js";
import { ownerOf } from "./plan.js";

// Survives Metro's merging of configurations, which copies the properties of each section.
const key = Symbol.for("slipstream.split");

/** Adds to a Metro configuration how the app is split. The development server goes on serving the app as one bundle. */
export function withSlipstream<T extends object>(config: T, options: SplitOptions): T {
  const split = readOptions(options);
  const { serializer = {} as MetroConfig["serializer"], projectRoot = process.cwd() } = config as unknown as Partial<MetroConfig>;
  const registry = createRequire(join(projectRoot, "package.json")).resolve("slipstream-metro/registry");
  const polyfills = serializer.getPolyfills;
  const createModuleIdFactory = () => {
    const ids = new Ids();
    return (file: string) => {
      const path = projectPath(projectRoot, file);
      return ids.of(ownerOf(path, split)?.name ?? BASE, path);
    };
  };
  return {
    ...config,
    serializer: { ...serializer, createModuleIdFactory, getPolyfills: (ctx: { platform?: string | null }) => [registry, ...(polyfills?.(ctx) ?? [])], [key]: split },
  } as T;
}

/** The split that a loaded configuration carries. */
export function splitOf(config: MetroConfig): Split {
  const split = (config.serializer as unknown as Record<symbol, Split | undefined>)[key];
  if (!split) {
    throw new Error('metro.config.js does not say how the app is split: module.exports = withSlipstream(config, { base: "base/index.js", businesses: { … } })');
  }
  return split;
}
