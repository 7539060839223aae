// A phone without a screen: the real React Native runs in a JavaScript context of its own, and only what C++, Java or
// Objective-C would do stands here. Views live in a tree that can be read.
import { readFileSync } from "node:fs";
import { createContext, runInContext, type Context } from "node:vm";

interface ViewNode {
  tag: number;
  name: string;
  root: number;
  props: Record<string, any>;
  children: ViewNode[];
}

/** What native code would show in a root view. */
export interface Shown {
  texts: string[];
  /** URI of every image that is shown. */
  images: string[];
}

/** The Fabric UI manager: makes nodes, and shows a finished tree. */
class Views {
  readonly roots = new Map<number, ViewNode[]>();

  readonly manager = {
    createNode: (tag: number, name: string, root: number, props: object): ViewNode => ({ tag, name, root, props: { ...props }, children: [] }),
    cloneNode: (node: ViewNode): ViewNode => ({ ...node }),
    cloneNodeWithNewChildren: (node: ViewNode): ViewNode => ({ ...node, children: [] }),
    cloneNodeWithNewProps: (node: ViewNode, props: object): ViewNode => ({ ...node, props: { ...node.props, ...props } }),
    cloneNodeWithNewChildrenAndProps: (node: ViewNode, props: object): ViewNode => ({ ...node, props: { ...node.props, ...props }, children: [] }),
    createChildSet: (): ViewNode[] => [],
    appendChild: (parent: ViewNode, child: ViewNode) => void parent.children.push(child),
    appendChildToSet: (set: ViewNode[], child: ViewNode) => void set.push(child),
    completeRoot: (root: number, set: ViewNode[]) => void this.roots.set(root, set),
    registerEventHandler: () => undefined,
    measure: () => undefined,
    setNativeProps: () => undefined,
    unstable_DefaultEventPriority: 32,
    unstable_DiscreteEventPriority: 2,
    unstable_ContinuousEventPriority: 8,
    unstable_IdleEventPriority: 268435456,
    unstable_getCurrentEventPriority: () => 32,
  };

  shown(root: number): Shown {
    const shown: Shown = { texts: [], images: [] };
    const walk = (node: ViewNode) => {
      if (node.name === "RCTRawText") shown.texts.push(node.props.text);
      for (const source of node.props.source ?? node.props.src ?? []) if (source?.uri) shown.images.push(source.uri);
      node.children.forEach(walk);
    };
    (this.roots.get(root) ?? []).forEach(walk);
    return shown;
  }
}

const screen = { width: 390, height: 844, scale: 2, fontScale: 1, densityDpi: 320 };

/** Native modules that answer with facts of the device; the rest are there and do nothing. What C++ may add is left out. */
function nativeModule(name: string, version: { minor: number; patch: number }): unknown {
  if (name === "NativeMicrotasksCxx") return { queueMicrotask };
  if (name.endsWith("Cxx")) return null;
  const constants: Record<string, object> = {
    PlatformConstants: { isTesting: false, Version: 34, Release: "14", Model: "phone", uiMode: "normal", reactNativeVersion: { major: 0, ...version, prerelease: null } },
    DeviceInfo: { Dimensions: { windowPhysicalPixels: { ...screen, width: 780, height: 1688 }, screenPhysicalPixels: { ...screen, width: 780, height: 1688 } } },
    SourceCode: { scriptURL: "file:///app/base.bundle" },
    I18nManager: { isRTL: false, doLeftAndRightSwapInRTL: true },
  };
  return new Proxy({}, {
    get: (_, method) => (method === "getConstants" ? () => constants[name] ?? {} : method === "then" ? undefined : () => undefined),
  });
}

export class Phone {
  readonly views = new Views();
  readonly log: string[] = [];
  readonly errors: unknown[] = [];
  private readonly context: Context;
  private readonly callable = new Map<string, () => any>();

  constructor(globals: Record<string, unknown>, version = { minor: 81, patch: 6 }) {
    const say = (...parts: unknown[]) => void this.log.push(parts.map(String).join(" "));
    this.context = createContext({
      console: { log: say, info: say, warn: say, error: say, debug: say, trace: say },
      setTimeout, clearTimeout, setInterval, clearInterval, setImmediate, clearImmediate, queueMicrotask,
      requestAnimationFrame: (then: (now: number) => void) => setTimeout(() => then(performance.now()), 1),
      cancelAnimationFrame: clearTimeout,
      nativePerformanceNow: () => performance.now(),
      performance: { now: () => performance.now() },
      RN$Bridgeless: true,
      RN$registerCallableModule: (name: string, module: () => unknown) => void this.callable.set(name, module),
      RN$useAlwaysAvailableJSErrorHandling: true,
      RN$handleException: (error: unknown) => { this.errors.push(error); return true; },
      __turboModuleProxy: (name: string) => nativeModule(name, version),
      __nativeComponentRegistry__hasComponent: () => true,
      nativeFabricUIManager: this.views.manager,
      ...globals,
    });
    runInContext("globalThis.global = globalThis; globalThis.window = globalThis;", this.context);
  }

  evaluate(file: string): void {
    runInContext(readFileSync(file, "utf8"), this.context, { filename: file });
  }

  /** A value of the JavaScript side. */
  peek(expression: string): any {
    return runInContext(expression, this.context);
  }

  /** Native opens a root view, as ReactSurface does. */
  async open(key: string, root: number, props: object = {}): Promise<Shown> {
    this.peek("RN$AppRegistry").runApplication(key, { rootTag: root, initialProps: props, fabric: true }, 1);
    await settle();
    return this.views.shown(root);
  }

  /** Native takes the root view away, as the new architecture does it. */
  async stop(root: number): Promise<void> {
    this.peek("RN$stopSurface")(root);
    await settle();
  }

  /** The same by AppRegistry, as the old architecture does it. */
  async unmount(root: number): Promise<void> {
    this.peek("RN$AppRegistry").unmountApplicationComponentAtRootTag(root);
    await settle();
  }
}

/** Lets React finish what it scheduled. */
export function settle(): Promise<void> {
  return new Promise((done) => setTimeout(done, 60));
}
