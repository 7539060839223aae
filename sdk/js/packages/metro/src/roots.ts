// The two moments that the native side tells JavaScript of: a root view starts, a root view goes away.
import { each, type MaybePromise } from "./maybe.js";

interface RunParameters {
  rootTag: unknown;
}

export interface AppRegistryLike {
  runApplication(key: string, parameters: any, displayMode?: number): void;
  unmountApplicationComponentAtRootTag(rootTag: any): void;
  registerComponent(key: string, provider: any, section?: boolean): string;
  registerRunnable(key: string, run: any): string;
}

export interface RootEvents {
  packageOf(key: string): string | undefined;
  /** Loads what the root shows; afterwards it may run. */
  enter(pkg: string, key: string, root: unknown): MaybePromise<void>;
  leave(root: unknown): void;
  registered(key: string): void;
  failed(error: Error, pkg: string): void;
}

interface Scope {
  RN$stopSurface?: (root: unknown) => void;
  RN$SurfaceRegistry?: { renderSurface: unknown };
}

/** Puts the events into AppRegistry and, on the new architecture, into what it calls directly. Hands back how to take them out. */
export function hookRoots(registry: AppRegistryLike, events: RootEvents): () => void {
  const original = {
    runApplication: registry.runApplication,
    unmountApplicationComponentAtRootTag: registry.unmountApplicationComponentAtRootTag,
    registerComponent: registry.registerComponent,
    registerRunnable: registry.registerRunnable,
  };
  const scope = globalThis as unknown as Scope;
  const waiting = new Set<unknown>();
  let stopSurface: Scope["RN$stopSurface"];
  let restoreStop = () => undefined as void;

  const gone = (root: unknown) => {
    waiting.delete(root);
    events.leave(root);
  };
  // Fabric's renderer sets this when it is first used, and native code calls it instead of AppRegistry's.
  const hookStop = () => {
    const found = scope.RN$stopSurface;
    if (!found || found === stopSurface) return;
    stopSurface = (root) => { found(root); gone(root); };
    scope.RN$stopSurface = stopSurface;
    restoreStop = () => { scope.RN$stopSurface = found; };
  };
  const run: AppRegistryLike["runApplication"] = (key, parameters: RunParameters, displayMode) => {
    const pkg = events.packageOf(key);
    const start = () => {
      original.runApplication.call(registry, key, parameters, displayMode);
      hookStop();
    };
    if (pkg === undefined) return start();
    const root = parameters.rootTag;
    const failed = (error: unknown) => {
      waiting.delete(root);
      events.leave(root);
      events.failed(error as Error, pkg);
    };
    waiting.add(root);
    try {
      const entered = each(() => events.enter(pkg, key, root), () => {
        // The root may have gone while its business was loaded.
        if (!waiting.delete(root)) return events.leave(root);
        start();
      });
      if (entered) void entered.catch(failed);
    } catch (error) {
      failed(error);
    }
  };
  registry.runApplication = run;
  registry.unmountApplicationComponentAtRootTag = (root) => {
    try {
      original.unmountApplicationComponentAtRootTag.call(registry, root);
    } finally {
      gone(root);
    }
  };
  registry.registerComponent = (key, provider, section) => {
    events.registered(key);
    return original.registerComponent.call(registry, key, provider, section);
  };
  registry.registerRunnable = (key, runnable) => {
    events.registered(key);
    return original.registerRunnable.call(registry, key, runnable);
  };
  const surfaces = scope.RN$SurfaceRegistry;
  if (surfaces && surfaces.renderSurface === original.runApplication) surfaces.renderSurface = run;
  hookStop();
  return () => {
    Object.assign(registry, original);
    if (surfaces && surfaces.renderSurface === run) surfaces.renderSurface = original.runApplication;
    restoreStop();
  };
}
