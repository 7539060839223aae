// A Slipstream server of this repository and the publisher's tool, by the slipstream command.
import { execFile, execFileSync, spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { promisify } from "node:util";

export class Server {
  url = "";

  /** command is the slipstream binary, folder an empty one for everything. */
  constructor(command, folder) {
    mkdirSync(folder, { recursive: true });
    this.command = command;
    this.folder = folder;
    this.env = { ...process.env, XDG_CONFIG_HOME: join(folder, "config"), SLIPSTREAM_PASSPHRASE: "" };
  }

  async start() {
    const port = await freePort();
    this.url = `http://127.0.0.1:${port}`;
    this.process = spawn(this.command, ["serve", "--listen", `127.0.0.1:${port}`, "--data", join(this.folder, "data"), "--log", "error"], { env: this.env, stdio: "ignore" });
    for (let n = 0; n < 300; n++) {
      if ((await fetch(this.url + "/readyz").catch(() => undefined))?.ok) return;
      await new Promise((done) => setTimeout(done, 100));
    }
    throw new Error("waited 30 s for the server to answer");
  }

  async stop() {
    if (!this.process || this.process.exitCode !== null) return;
    const ended = new Promise((done) => this.process.once("exit", done));
    this.process.kill();
    await ended;
  }

  /** Runs the command and answers its JSON. */
  async run(...args) {
    const { stdout } = await promisify(execFile)(this.command, [...args, "--json"], { env: this.env, cwd: this.folder });
    return stdout.trim() === "" ? undefined : JSON.parse(stdout);
  }

  publish(folder, version, ...args) {
    return this.run("publish", folder, "--version", version, ...args);
  }
}

/** Builds the slipstream command of this repository into a file. */
export function buildCommand(repository, into) {
  execFileSync("go", ["build", "-o", into, "./cmd/slipstream"], { cwd: repository, stdio: ["ignore", "ignore", "pipe"], timeout: 300_000 });
}

function freePort() {
  return new Promise((done, failed) => {
    const server = createServer();
    server.once("error", failed).listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => done(port));
    });
  });
}
