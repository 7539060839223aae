// Compiles a bundle to Hermes bytecode with the compiler that the app's React Native ships.
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Metro } from "./metro.js";

/** The compiler: the given file, or the one in node_modules/react-native for this machine. */
export function findHermesc(metro: Metro, given?: string): string {
  if (given !== undefined) {
    if (!existsSync(given)) throw new Error(`there is no Hermes compiler at ${given}`);
    return given;
  }
  const folder = { linux: "linux64-bin", darwin: "osx-bin", win32: "win64-bin" }[process.platform as string] ?? process.platform;
  const file = join(dirname(metro.resolve("react-native/package.json")), "sdks/hermesc", folder, process.platform === "win32" ? "hermesc.exe" : "hermesc");
  if (!existsSync(file)) {
    throw new Error(`there is no Hermes compiler for this machine at ${file}: give one with --hermesc FILE, or leave --hermes out and let slipstream publish compile`);
  }
  return file;
}

/** Replaces the bundle by its bytecode and the map by one from the source to the bytecode. */
export function compile(metro: Metro, hermesc: string, bundle: string, map: string): void {
  const out = bundle + ".hbc";
  try {
    execFileSync(hermesc, ["-emit-binary", "-O", "-w", "-max-diagnostic-width=80", "-output-source-map", "-out", out, bundle], { stdio: ["ignore", "pipe", "pipe"] });
  } catch (err) {
    const said = String((err as { stderr?: Buffer }).stderr ?? "").trim();
    throw new Error(`the Hermes compiler ${hermesc} failed on ${bundle}${said ? ": " + said : ""}`, { cause: err });
  }
  const composed = metro.composeMaps(JSON.parse(readFileSync(map, "utf8")), JSON.parse(readFileSync(out + ".map", "utf8")));
  writeFileSync(map, JSON.stringify(composed));
  rmSync(out + ".map");
  renameSync(out, bundle);
}
