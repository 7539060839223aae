/// <reference types="node" />
// The two requests of a script's update. perform is also run as the whole program of a worker thread, so it names nothing
// outside itself but what it is given.

/** One GET: into memory, or with dir into a file there named by its MD5. */
export interface Job {
  url: string;
  /** ms for the whole. */
  timeout: number;
  /** Most bytes of the answer. */
  limit: number;
  /** Origins that are reached under another one. */
  moved: Record<string, string>;
  dir?: string;
  md5?: string;
}

/** What came of it: text, or the path of a file that is whole. */
export interface Done {
  error?: string;
  /** The address that answered in the end. */
  url?: string;
  text?: string;
  path?: string;
}

/** The modules of Node that perform needs. */
export interface Modules {
  fs: typeof import("node:fs");
  path: typeof import("node:path");
  crypto: typeof import("node:crypto");
}

export async function perform(job: Job, node: Modules): Promise<Done> {
  const done: Done = {};
  let temporary = "";
  const stop = new AbortController();
  // A timer holds 2^31-1 ms; for a longer time it would go off at once.
  const timer = setTimeout(() => stop.abort(new Error(`nothing whole came within ${job.timeout} ms`)), Math.min(job.timeout, 0x7fffffff));
  try {
    const asked = new URL(job.url);
    const to = asked.origin in job.moved ? job.moved[asked.origin] + job.url.replace(/^[a-z]+:\/\/[^/?#]*/i, "") : job.url;
    const answer = await fetch(to, { signal: stop.signal, headers: { "accept-encoding": "identity" } });
    done.url = job.url;
    if (to === job.url) done.url = answer.url || to;
    const inMemory: Uint8Array[] = [];
    const sum = node.crypto.createHash("md5");
    let file: number | undefined, size = 0;
    if (job.dir !== undefined) {
      if (answer.status !== 200) throw new Error(`the server answered ${answer.status}`);
      node.fs.mkdirSync(job.dir, { recursive: true });
      temporary = node.path.join(job.dir, ".download-" + node.crypto.randomBytes(8).toString("hex"));
      file = node.fs.openSync(temporary, "wx");
    }
    try {
      const reader = answer.body?.getReader();
      for (let piece = await reader?.read(); piece && !piece.done; piece = await reader?.read()) {
        size += piece.value.length;
        if (size > job.limit) throw new Error(`more than ${job.limit} bytes came`);
        if (file === undefined) inMemory.push(piece.value);
        else node.fs.writeSync(file, piece.value);
        sum.update(piece.value);
      }
      if (file !== undefined) node.fs.fsyncSync(file);
    } finally {
      if (file !== undefined) node.fs.closeSync(file);
    }
    if (job.dir === undefined) {
      done.text = Buffer.concat(inMemory).toString("utf8");
      if (answer.status !== 200) throw new Error(`the server answered ${answer.status}`);
      return done;
    }
    const md5 = sum.digest("hex");
    if (size === 0) throw new Error("the file is empty");
    if (job.md5 && job.md5 !== md5) throw new Error(`the file has MD5 ${md5}, the server says ${job.md5}`);
    done.path = node.path.join(job.dir, md5 + ".iec");
    node.fs.renameSync(temporary, done.path);
    temporary = "";
    return done;
  } catch (e) {
    stop.abort();
    const cause = (e as { cause?: { message?: string; code?: string } }).cause;
    done.error = (e as Error).message + (cause ? ": " + (cause.message || cause.code) : "");
    delete done.path;
    return done;
  } finally {
    clearTimeout(timer);
    if (temporary) node.fs.rmSync(temporary, { force: true });
  }
}
