// A real server for tests: the project's own binary, built once a run, with a directory of its own.
import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdtempSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import type { TestContext } from "node:test";

export interface RealServer {
  url: string;
  /** The envelope of shop's root. */
  root: Uint8Array;
  /** A folder that goes with the server. */
  dir: string;
  /** Runs the command with the publisher's settings and gives what it printed. */
  run(...args: string[]): string;
  /** Publishes files (path → text or bytes) to app shop. */
  publish(version: string, files: Record<string, string | Uint8Array>, ...args: string[]): void;
}

/** The project's folder, wherever inside it the tests run. */
export function repository(): string {
  for (let dir = process.cwd(); ; dir = dirname(dir)) {
    if (existsSync(join(dir, "go.mod"))) return dir;
    if (dir === dirname(dir)) throw new Error("run the tests inside the repository");
  }
}

/** The binary, or undefined where Go is missing. SLIPSTREAM_BIN names one that is built already; else the first test to ask builds it. */
async function binary(): Promise<string | undefined> {
  if (process.env.SLIPSTREAM_BIN) return resolve(process.env.SLIPSTREAM_BIN);
  const to = resolve("dist/bin/slipstream");
  try {
    execFileSync("go", ["version"], { stdio: "ignore" });
  } catch {
    return undefined;
  }
  let mine = true;
  try {
    mkdirSync(dirname(to));
  } catch {
    mine = false;
  }
  if (mine) {
    execFileSync("go", ["build", "-o", to + ".new", "./cmd/slipstream"], { cwd: repository(), env: { ...process.env, CGO_ENABLED: "0" } });
    renameSync(to + ".new", to);
  }
  for (let i = 0; !existsSync(to); i++) {
    if (i > 6000) throw new Error("another test was to build the server and did not");
    await new Promise((done) => setTimeout(done, 100));
  }
  return to;
}

/** Starts a server with the app shop; undefined, and the test skipped by name, where Go is missing. */
export async function realServer(t: TestContext): Promise<RealServer | undefined> {
  const bin = await binary();
  if (!bin) {
    t.skip("MISSING: go");
    return undefined;
  }
  const dir = mkdtempSync(join(tmpdir(), "slipstream-js-"));
  const env = { ...process.env, XDG_CONFIG_HOME: join(dir, "config"), SLIPSTREAM_PASSPHRASE: "" };
  const child = spawn(bin, ["serve", "--listen", "127.0.0.1:0", "--data", join(dir, "data")], { env, stdio: "ignore" });
  t.after(async () => {
    const ended = new Promise((done) => child.once("exit", done));
    child.kill();
    await ended;
    rmSync(dir, { recursive: true, force: true });
  });
  const settings = join(dir, "config/slipstream/server.json");
  for (let i = 0; !existsSync(settings) && i < 200; i++) await new Promise((done) => setTimeout(done, 50));
  const url = JSON.parse(readFileSync(settings, "utf8")).url as string;
  const run = (...args: string[]) => execFileSync(bin, args, { env, cwd: dir, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
  run("app", "create", "shop");
  let trees = 0;
  return {
    url, dir, run, root: readFileSync(join(dir, "config/slipstream/apps/shop/root.json")),
    publish(version, files, ...args) {
      const tree = join(dir, `tree${trees++}`);
      for (const [path, text] of Object.entries(files)) {
        mkdirSync(dirname(join(tree, path)), { recursive: true });
        writeFileSync(join(tree, path), text);
      }
      run("publish", tree, "--app", "shop", "--version", version, ...args);
    },
  };
}
