// A Slipstream server of this repository and the publisher's tool, by the slipstream command.
import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { mkdirSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";

export interface Container {
  from?: string;
  codec: string;
  size: number;
}

/** Builds the command; answers what is missing, if it cannot. */
export function buildCommand(repository: string, into: string): string | undefined {
  try {
    execFileSync("go", ["build", "-o", into, "./cmd/slipstream"], { cwd: repository, stdio: ["ignore", "ignore", "pipe"], timeout: 300_000 });
    return undefined;
  } catch (err) {
    return "go build of the slipstream command: " + String((err as { stderr?: Buffer }).stderr ?? err).split("\n")[0];
  }
}

export class SlipstreamServer {
  url = "";
  private process: ChildProcess | undefined;
  private readonly env: NodeJS.ProcessEnv;

  constructor(private readonly command: string, private readonly folder: string) {
    mkdirSync(folder, { recursive: true });
    this.env = { ...process.env, XDG_CONFIG_HOME: join(folder, "config"), SLIPSTREAM_PASSPHRASE: "" };
  }

  async start(): Promise<void> {
    const port = await freePort();
    this.url = `http://127.0.0.1:${port}`;
    this.process = spawn(this.command, ["serve", "--listen", `127.0.0.1:${port}`, "--data", join(this.folder, "data"), "--log", "error"], { env: this.env, stdio: "ignore" });
    await until("the server to answer", async () => (await fetch(this.url + "/readyz").catch(() => undefined))?.ok || undefined);
  }

  async stop(): Promise<void> {
    const { process } = this;
    if (!process || process.exitCode !== null) return;
    const ended = new Promise((done) => process.once("exit", done));
    process.kill();
    await ended;
  }

  run(...args: string[]): any {
    const out = execFileSync(this.command, [...args, "--json"], { env: this.env, cwd: this.folder, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
    return out.trim() === "" ? undefined : JSON.parse(out);
  }

  publish(folder: string, version: string, ...args: string[]): { digest: string; seq: number } {
    return this.run("publish", folder, "--version", version, ...args);
  }

  /** Size of the smallest download of a release: whole, or from another release. */
  async download(digest: string, from?: string): Promise<number> {
    return until(`a container of ${digest}`, async () => {
      const list = (await (await fetch(`${this.url}/v1/releases/${digest}/containers`)).json()) as Container[];
      const sizes = list.filter((one) => one.from === from && (from === undefined || one.codec !== "changed/1")).map((one) => one.size);
      return sizes.length > 0 ? Math.min(...sizes) : undefined;
    });
  }
}

export async function until<T>(what: string, look: () => Promise<T | undefined>): Promise<T> {
  for (let n = 0; n < 300; n++) {
    const found = await look();
    if (found !== undefined) return found;
    await new Promise((done) => setTimeout(done, 100));
  }
  throw new Error(`waited 30 s for ${what}`);
}

function freePort(): Promise<number> {
  return new Promise((done, failed) => {
    const server = createServer();
    server.once("error", failed).listen(0, "127.0.0.1", () => {
      const { port } = server.address() as { port: number };
      server.close(() => done(port));
    });
  });
}
