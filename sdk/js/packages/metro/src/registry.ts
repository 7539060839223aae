// Runs as a polyfill right behind Metro's require and before the first module is defined. Metro keeps its registry of
// modules private and offers only to clear it; clearing it now, while it is empty, hands out the map that require goes
// on using, so that a business can later be taken out of it.
declare const __METRO_GLOBAL_PREFIX__: string;

{
  const scope = globalThis as unknown as Record<string, unknown>;
  const clear = scope["__c"] as () => Map<number, unknown>;
  const registry = { modules: clear(), prefix: __METRO_GLOBAL_PREFIX__ };
  scope["__c"] = () => (registry.modules = clear());
  scope["__slipstreamRegistry"] = registry;
}
