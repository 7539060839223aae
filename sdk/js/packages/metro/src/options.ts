// How an app is split, as its metro.config.js says it.
import { dirname } from "node:path/posix";

export interface SplitOptions {
  /** Entry of the base bundle, relative to the project: what every business shares. */
  base: string;
  /** Entry of each business, or entry and folder where its modules lie (default: the entry's folder). */
  businesses: Record<string, string | { entry: string; root?: string }>;
  /** Settings for the slipstream.json of every package: app, runtime, channel, mode, … */
  publish?: Record<string, string | string[]>;
}

export interface Business {
  name: string;
  entry: string;
  /** Folder with a "/" behind it. */
  root: string;
}

export interface Split {
  base: string;
  businesses: Business[];
  publish: Record<string, string | string[]>;
}

/** The name that the base has as a package. */
export const BASE = "base";

const packageName = /^[a-z0-9][a-z0-9._-]{0,63}$/;

/** Checks the options and fills in what they leave out. */
export function readOptions(options: SplitOptions): Split {
  if (!options || typeof options.base !== "string" || typeof options.businesses !== "object") {
    throw new Error('say how the app is split: withSlipstream(config, { base: "base/index.js", businesses: { cart: "businesses/cart/index.js" } })');
  }
  const businesses = Object.entries(options.businesses).map(([name, value]) => readBusiness(name, value));
  for (const one of businesses) {
    const outer = businesses.find((other) => other !== one && one.root.startsWith(other.root));
    if (outer) {
      throw new Error(`business "${one.name}" lies in ${one.root}, inside ${outer.root} of business "${outer.name}": give each a folder of its own`);
    }
  }
  return { base: clean(options.base), businesses, publish: options.publish ?? {} };
}

function readBusiness(name: string, value: string | { entry: string; root?: string }): Business {
  if (!packageName.test(name) || name === BASE) {
    throw new Error(`"${name}" cannot be a business's name: it is a package's name too, of a-z, 0-9, ".", "_", "-", and not "${BASE}"`);
  }
  const { entry, root } = typeof value === "string" ? { entry: value, root: undefined } : value;
  const folder = root === undefined ? dirname(clean(entry)) : clean(root);
  if (folder === "." || folder === "") {
    throw new Error(`business "${name}": its entry ${entry} lies at the top of the project; move it into a folder of its own`);
  }
  return { name, entry: clean(entry), root: folder + "/" };
}

function clean(path: string): string {
  return path.replace(/^\.\//, "").replace(/\/+$/, "");
}
