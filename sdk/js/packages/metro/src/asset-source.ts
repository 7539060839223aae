// Where an image or a font of a package lies: in the directory of the release that the package was loaded from.
export interface AssetResolver {
  asset: { httpServerLocation: string; name: string; type: string };
  fromSource(uri: string): { uri: string; scale: number };
}

export interface ResolveAssetSource {
  (source: number): { uri: string } | null | undefined;
  addCustomSourceTransformer(transformer: (resolver: AssetResolver) => unknown): void;
}

const placed = /^\/@([a-z0-9][a-z0-9._-]*)\/?(.*)$/;

/** A file URL inside the package's release; undefined leaves the asset to React Native. */
export function assetSource(resolver: AssetResolver, directoryOf: (pkg: string) => string | undefined): unknown {
  const { httpServerLocation, name, type } = resolver.asset;
  const [, pkg, folder] = placed.exec(httpServerLocation) ?? [];
  const directory = pkg === undefined ? undefined : directoryOf(pkg);
  if (directory === undefined) return undefined;
  const { scale } = resolver.fromSource("");
  const suffix = scale === 1 ? "" : `@${scale}x`;
  const path = ["assets", folder, `${name}${suffix}.${type}`].filter(Boolean).join("/");
  return resolver.fromSource(fileURL(`${directory}/${path}`));
}

export function fileURL(path: string): string {
  if (/^[a-z]+:\/\//.test(path)) return path;
  return "file://" + path.split("/").map((part) => encodeURIComponent(part).replace(/%40/g, "@")).join("/");
}
