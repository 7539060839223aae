export { build, type Built, type BuildOptions, type BuildReport, type Index } from "./build.js";
export { withSlipstream } from "./config.js";
export type { Font } from "./assets.js";
export type { SplitOptions } from "./options.js";
export type { Ledger } from "./plan.js";
