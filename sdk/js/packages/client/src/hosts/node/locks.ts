/// <reference types="node" />
// Locks between processes, with what Node has on each system.
import { randomBytes } from "node:crypto";
import { closeSync, openSync, promises as fs } from "node:fs";
import { connect, createServer, type Server } from "node:net";
import * as path from "node:path";
import type { Locks } from "../../host.js";
import { codeOf, worded } from "./files.js";

interface Held {
  release(): Promise<void>;
}

/**
 * A lock is held by one process, or one thread of it, at a time and is free the moment its holder is gone, also by kill -9
 * or a power cut. root is the directory's real path; child processes do not inherit a lock.
 *
 * - Windows: the file root/name is open and shared with nobody. macOS and the BSDs: it is open with O_EXLOCK, which is
 *   flock. The Go client takes the same lock there, so the two keep each other out.
 * - Linux and other systems: root/name is a folder with a listening socket in it (see SocketLock). It holds between
 *   containers that share the directory on one kernel, not between machines that share it over a network. The Go client,
 *   which wants a file of that name, refuses such a directory.
 */
export function nodeLocks(root: string, taken: (name: string) => Promise<void>): Locks {
  const openExclusive = exclusiveFlags(process.platform);
  return {
    async tryLock(name) {
      const at = path.join(root, name);
      let held: Held | undefined;
      try {
        held = openExclusive === undefined ? await new SocketLock(at).take() : await takeFile(at, openExclusive);
      } catch (e) {
        throw worded(e, `the lock ${at}`);
      }
      if (!held) return undefined;
      try {
        await taken(name);
      } catch (e) {
        await held.release();
        throw e;
      }
      return held;
    },
  };
}

/** Flags that open a file for this process alone. Node hands them to the system (on Windows to libuv) as they are. */
function exclusiveFlags(platform: string): number | undefined {
  const readWrite = 2;
  switch (platform) {
    case "win32":
      return readWrite | 0x100 /* create */ | 0x10000000; /* libuv's UV_FS_O_EXLOCK: a share mode of nothing */
    case "darwin":
    case "freebsd":
    case "openbsd":
    case "netbsd":
      return readWrite | 0x200 /* O_CREAT */ | 0x20 /* O_EXLOCK */ | 0x4; /* O_NONBLOCK */
  }
  return undefined;
}

async function takeFile(file: string, flags: number): Promise<Held | undefined> {
  await fs.mkdir(path.dirname(file), { recursive: true });
  try {
    const fd = openSync(file, flags, 0o600); // a number, which no garbage collector closes
    return { release: async () => closeSync(fd) };
  } catch (e) {
    if (["EAGAIN", "EWOULDBLOCK", "EBUSY"].includes(codeOf(e))) return undefined;
    throw e;
  }
}

/**
 * A folder of symbolic links 1, 2, 3 … of which the highest counts: it leads to a socket that its holder listens on for as
 * long as it lives, so asking whether somebody answers is asking whether the lock is held. Who finds it dead makes the next
 * link, which the file system lets one of them do, and looks again: with a higher link there now, it was too late. Only the
 * holder removes links, and only lower ones, so the highest never falls; what is numbered n and not the highest will never
 * be a lock again. A socket listens before its link is there and is named by the same number.
 */
class SocketLock {
  constructor(private readonly folder: string) {}

  async take(): Promise<Held | undefined> {
    await fs.mkdir(this.folder, { recursive: true });
    for (;;) {
      const last = Math.max(0, ...(await this.links()));
      if (last > 0 && (await this.answers(String(last)))) return undefined;
      const mine = last + 1, socket = `${mine}-${randomBytes(6).toString("hex")}`;
      const server = await this.listen(socket);
      try {
        await fs.symlink(socket, path.join(this.folder, String(mine)));
        if (Math.max(...(await this.links())) === mine) {
          await this.clear(mine);
          return { release: () => closed(server) };
        }
        await fs.rm(path.join(this.folder, String(mine)), { force: true });
      } catch (e) {
        if (codeOf(e) !== "EEXIST") {
          await closed(server);
          throw e;
        }
      }
      await closed(server);
      await fs.rm(path.join(this.folder, socket), { force: true });
    }
  }

  private async links(): Promise<number[]> {
    return (await fs.readdir(this.folder)).filter((n) => /^[1-9]\d*$/.test(n)).map(Number);
  }

  /** Links and sockets of those before the holder. */
  private async clear(mine: number): Promise<void> {
    for (const name of await fs.readdir(this.folder)) if (parseInt(name, 10) < mine) await fs.rm(path.join(this.folder, name), { force: true });
  }

  private async listen(name: string): Promise<Server> {
    const server = createServer((visitor) => visitor.destroy());
    // A worker of a cluster would share its parent's socket, which outlives it.
    await this.near(name, (at) => new Promise<void>((done, failed) => server.once("error", failed).listen({ path: at, exclusive: true }, done)));
    return server.removeAllListeners("error").unref();
  }

  /** Whether somebody listens. What is not clearly dead is alive. */
  private answers(name: string): Promise<boolean> {
    return this.near(name, (at) =>
      new Promise((done) => {
        const visit = connect({ path: at });
        visit.once("connect", () => {
          visit.destroy();
          done(true);
        });
        visit.once("error", (e) => done(!["ECONNREFUSED", "ENOENT"].includes(codeOf(e))));
      }));
  }

  /** The path of a socket, which may have some 100 bytes: a longer one is walked by way of an open folder. */
  private async near<T>(name: string, work: (at: string) => Promise<T>): Promise<T> {
    const direct = path.join(this.folder, name);
    if (process.platform !== "linux" || Buffer.byteLength(direct) < 100) return work(direct);
    const folder = await fs.open(this.folder, "r");
    try {
      return await work(`/proc/self/fd/${folder.fd}/${name}`);
    } finally {
      await folder.close();
    }
  }
}

function closed(server: Server): Promise<void> {
  return new Promise((done) => void server.close(() => done()));
}
