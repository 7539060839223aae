// Images, fonts and other assets of a package: copied into its release, and named in its code so that the runtime
// finds them there.
import { copyFileSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import type { AssetData, MetroModule } from "./metro.js";

/** A font that the native side must register before text can use it. */
export interface Font {
  family: string;
  /** Relative to the release's directory. */
  file: string;
}

const fontTypes = new Set(["ttf", "otf", "ttc", "woff", "woff2"]);

/** Where an asset's files lie inside the release: "assets/" and the folder that Metro would serve it from. */
function folderOf(asset: AssetData, publicPath: string): string {
  const rest = asset.httpServerLocation.startsWith(publicPath) ? asset.httpServerLocation.slice(publicPath.length) : asset.httpServerLocation;
  return rest.split("/").filter((part) => part !== "" && part !== ".").map((part) => (part === ".." ? "_" : part)).join("/");
}

/** Copies every file of the assets into the release and says what was copied. */
export function copyAssets(assets: AssetData[], publicPath: string, into: string): { files: string[]; fonts: Font[] } {
  const files: string[] = [];
  const fonts: Font[] = [];
  for (const asset of assets) {
    const folder = ["assets", folderOf(asset, publicPath)].filter(Boolean).join("/");
    mkdirSync(join(into, folder), { recursive: true });
    asset.scales.forEach((scale, n) => {
      const file = `${folder}/${asset.name}${scale === 1 ? "" : `@${scale}x`}.${asset.type}`;
      copyFileSync(asset.files[n], join(into, file));
      files.push(file);
      if (fontTypes.has(asset.type)) fonts.push({ family: asset.name, file });
    });
  }
  return { files: files.sort(), fonts: fonts.sort((a, b) => (a.file < b.file ? -1 : 1)) };
}

/** Metro writes into an asset's module where it would be served from; this makes it "/@package/folder". */
export function placeAssets(modules: MetroModule[], pkg: string, publicPath: string): MetroModule[] {
  return modules.map((module) => {
    if (module.output[0]?.type !== "js/module/asset") return module;
    const output = module.output.map((out) => ({ ...out, data: { ...out.data, code: place(out.data.code, module.path, pkg, publicPath) } }));
    return { ...module, output };
  });
}

function place(code: string, path: string, pkg: string, publicPath: string): string {
  let found = 0;
  const placed = code.replace(/(httpServerLocation["']?\s*:\s*["'])([^"']*)(["'])/g, (_, before: string, location: string, after: string) => {
    found++;
    return before + "/@" + pkg + "/" + folderOf({ httpServerLocation: location } as AssetData, publicPath) + after;
  });
  if (found !== 1) {
    throw new Error(`the module that Metro made for ${path} does not say where the asset is served from: an asset plugin or transformer changed it; leave httpServerLocation in it`);
  }
  return placed;
}
