// The example app as its developers have it: checkouts with node_modules, built by the slipstream-metro command.
import { execFile, execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

export const repository = join(dirname(fileURLToPath(import.meta.url)), "../../../../../..");
const example = join(repository, "examples/react-native");
const plugin = join(repository, "sdk/js/packages/metro");

/** Where a pair of React Native and Metro is pinned and installed: the example's own, and the older one that works too. */
export const installs = { "0.83": example, "0.82": join(plugin, "testdata/react-native-0.80") } as const;
export type MetroVersion = keyof typeof installs;

interface Lock {
  packages: Record<string, { version?: string; optional?: boolean }>;
}

/** Installs what the pair's package-lock.json says, unless it is there. Answers what is missing, if it cannot. */
export function installPair(metro: MetroVersion): string | undefined {
  const folder = installs[metro];
  if (isInstalled(join(folder, "package-lock.json"), join(folder, "node_modules/.package-lock.json"))) return undefined;
  try {
    execFileSync("npm", ["ci", "--ignore-scripts", "--no-audit", "--no-fund"], { cwd: folder, stdio: ["ignore", "ignore", "pipe"], timeout: 240_000 });
    return undefined;
  } catch (err) {
    return `npm ci of ${relative(repository, folder)}: ` + String((err as { stderr?: Buffer }).stderr ?? err).split("\n")[0];
  }
}

function isInstalled(wanted: string, found: string): boolean {
  if (!existsSync(found)) return false;
  const read = (file: string) => (JSON.parse(readFileSync(file, "utf8")) as Lock).packages;
  const have = read(found);
  return Object.entries(read(wanted)).every(([path, one]) => path === "" || one.optional || have[path]?.version === one.version);
}

export class Workshop {
  readonly folder = mkdtempSync(join(tmpdir(), "slipstream-metro-"));

  constructor(private readonly metro: MetroVersion = "0.83") {}

  /** A checkout of the example at this path, with these files (path → text) besides. */
  checkout(path: string, files: Record<string, string> = {}): string {
    const root = join(this.folder, path);
    const installed = ["package.json", "package-lock.json", "node_modules"];
    mkdirSync(root, { recursive: true });
    for (const name of readdirSync(example)) if (!installed.includes(name)) take(join(example, name), join(root, name));
    for (const name of installed) take(join(installs[this.metro], name), join(root, name));
    const linked = join(root, "node_modules/slipstream-metro");
    rmSync(linked, { recursive: true, force: true });
    mkdirSync(linked, { recursive: true });
    cpSync(join(plugin, "package.json"), join(linked, "package.json"));
    for (const part of ["esm", "cjs"]) cpSync(join(plugin, "dist", part), join(linked, "dist", part), { recursive: true });
    for (const [file, text] of Object.entries(files)) {
      mkdirSync(dirname(join(root, file)), { recursive: true });
      writeFileSync(join(root, file), text);
    }
    return root;
  }

  /** Edits a file of a checkout; the answer puts it back. */
  edit(root: string, file: string, change: (text: string) => string): () => void {
    const target = join(root, file);
    const text = readFileSync(target, "utf8");
    const write = (next: string) => {
      rmSync(target); // a hard link: the example itself stays as it is
      writeFileSync(target, next);
    };
    write(change(text));
    return () => write(text);
  }

  /** Runs slipstream-metro build in a checkout. cache names Metro's cache: one of another name is cold. */
  build(root: string, out: string, args: string[] = [], cache = "cache"): Promise<{ stdout: string; stderr: string; code: number }> {
    const temp = join(this.folder, cache);
    mkdirSync(temp, { recursive: true });
    const cli = join(root, "node_modules/slipstream-metro/dist/esm/cli.js");
    return new Promise((done) => {
      execFile(process.execPath, [cli, "build", "--project", root, "--platform", "android", "--out", join(this.folder, out), ...args],
        { env: { ...process.env, TMPDIR: temp, NODE_ENV: "" }, maxBuffer: 1 << 24 },
        (err, stdout, stderr) => done({ stdout, stderr, code: err ? Number(err.code ?? 1) : 0 }));
    });
  }

  path(...parts: string[]): string {
    return join(this.folder, ...parts);
  }

  clean(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Copies a file or folder as hard links, where the file system has them. */
function take(from: string, to: string): void {
  try {
    execFileSync("cp", ["-al", from, to], { stdio: "ignore" });
  } catch {
    rmSync(to, { recursive: true, force: true });
    execFileSync("cp", ["-a", from, to]);
  }
}

/** Every file under a folder, relative, sorted. */
export function filesIn(folder: string): string[] {
  return (readdirSync(folder, { recursive: true }) as string[]).filter((file) => statSync(join(folder, file)).isFile()).sort();
}
