/// <reference types="node" />
// A script's hotupdater as the EasyClick document has it, for hosts like Node. Scripts call it and wait, so the requests run
// in a worker thread while the caller's thread stands still; hotUpdaterAsync is the same with promises.
import * as fs from "node:fs";
import * as path from "node:path";
import * as crypto from "node:crypto";
import { MessageChannel, Worker, receiveMessageOnPort } from "node:worker_threads";
import { DEFAULT_DOWNLOAD_TIMEOUT, NO_UPDATE, readAnswer, readConfig, request, type Answer, type Asked, type Config, type DeviceInfo } from "./document.js";
import { perform, type Done, type Job } from "./transfer.js";

export type { Answer, Config, DeviceInfo } from "./document.js";

/** Most bytes of an answer, and of a script: the protocol names no size. */
const MAX_ANSWER = 256 << 10, MAX_FILE = 512 << 20, MAX_CONFIG = 64 << 10;

export interface Options {
  /** The path of update.json, or what it says. Without it scripts must give address and version themselves. */
  config?: string | Partial<Config>;
  /** Where downloads go; a file there bears its MD5 and ".iec" as its name. */
  dir: string;
  /** Appended to requests when asked for. */
  info?: DeviceInfo;
  /** Servers that scripts know under a former address: {"http://old.example": "https://new.example"}. */
  moved?: Record<string, string>;
}

/** The four calls of the document. They do not throw: false or "" means nothing, and getErrorMsg says why. */
export interface HotUpdater {
  /** Asks the server; true when it has an update. Parameters that are left out come from update.json. timeout in ms, at least 1000. */
  updateReq(updateUrl?: string, version?: number | string, appendDeviceInfo?: boolean, timeout?: number): boolean;
  /** Downloads what updateReq found: the path of a file that came whole, with the server's MD5 where it named one; else "". */
  updateDownload(): string;
  /** The server's answer as it came; "" when it had no update. */
  getUpdateResp(): string;
  /** Why the last call gave nothing; "" when it gave something. */
  getErrorMsg(): string;
}

/** The same for a host that must not stand still. */
export interface HotUpdaterAsync {
  updateReq(updateUrl?: string, version?: number | string, appendDeviceInfo?: boolean, timeout?: number): Promise<boolean>;
  updateDownload(): Promise<string>;
  getUpdateResp(): string;
  getErrorMsg(): string;
  /** The answer taken apart, for dialog, msg and force; undefined when there is no update. */
  answer(): Answer | undefined;
}

export function hotUpdater(options: Options): HotUpdater & { answer(): Answer | undefined } {
  const state = new Asking(options);
  return {
    updateReq(url, version, appendDeviceInfo, timeout) {
      const job = state.ask({ url, version, appendDeviceInfo, timeout });
      return job !== undefined && state.answered(inWorker(job));
    },
    updateDownload() {
      const job = state.download();
      return job === undefined ? "" : state.downloaded(inWorker(job));
    },
    getUpdateResp: () => state.response,
    getErrorMsg: () => state.error,
    answer: () => state.found,
  };
}

export function hotUpdaterAsync(options: Options): HotUpdaterAsync {
  const state = new Asking(options);
  const here = (job: Job) => perform(job, { fs, path, crypto });
  return {
    async updateReq(url, version, appendDeviceInfo, timeout) {
      const job = state.ask({ url, version, appendDeviceInfo, timeout });
      return job !== undefined && state.answered(await here(job));
    },
    async updateDownload() {
      const job = state.download();
      return job === undefined ? "" : state.downloaded(await here(job));
    },
    getUpdateResp: () => state.response,
    getErrorMsg: () => state.error,
    answer: () => state.found,
  };
}

/** What a script asked and heard so far. */
class Asking {
  response = "";
  error = "";
  found: Answer | undefined;
  private base = "";

  constructor(private readonly options: Options) {
    if (typeof fetch !== "function") throw new Error("this host lacks fetch: Node 18 has it");
    if (!options.dir) throw new Error("a hot updater needs dir, the folder for its downloads");
  }

  private config(): Config {
    const c = this.options.config;
    if (typeof c !== "string") return { update_url: "", version: "", appendDeviceInfo: false, timeout: 0, ...c };
    if (fs.statSync(c).size > MAX_CONFIG) throw new Error(`${c} is larger than ${MAX_CONFIG} bytes`);
    return readConfig(fs.readFileSync(c, "utf8"));
  }

  ask(asked: Asked): Job | undefined {
    this.response = this.error = "";
    this.found = undefined;
    try {
      return { ...request(this.config(), this.options.info ?? {}, asked), limit: MAX_ANSWER, moved: this.options.moved ?? {} };
    } catch (e) {
      this.error = (e as Error).message;
      return undefined;
    }
  }

  answered(done: Done): boolean {
    this.response = done.text ?? "";
    this.base = done.url ?? "";
    try {
      if (done.error) throw new Error("request an update: " + done.error);
      this.found = readAnswer(this.response);
      if (this.found === undefined) this.error = NO_UPDATE;
    } catch (e) {
      this.error = (e as Error).message;
    }
    return this.found !== undefined;
  }

  download(): Job | undefined {
    this.error = "";
    try {
      if (!this.found) throw new Error("there is no update to download: ask first");
      const to = new URL(this.found.download_url, this.base);
      if (to.protocol !== "http:" && to.protocol !== "https:") throw new Error(`download_url ${JSON.stringify(this.found.download_url)} is no address`);
      const seconds = this.found.download_timeout > 0 ? this.found.download_timeout : DEFAULT_DOWNLOAD_TIMEOUT;
      return { url: to.href, timeout: seconds * 1000, limit: MAX_FILE, moved: this.options.moved ?? {}, dir: path.resolve(this.options.dir), md5: this.found.md5 };
    } catch (e) {
      this.error = (e as Error).message;
      return undefined;
    }
  }

  downloaded(done: Done): string {
    if (done.error) this.error = "download: " + done.error;
    return done.path ?? "";
  }
}

const PROGRAM = `
const { workerData } = require("node:worker_threads");
const modules = { fs: require("node:fs"), path: require("node:path"), crypto: require("node:crypto") };
(${perform.toString()})(workerData.job, modules).then((done) => {
  workerData.port.postMessage(done);
  Atomics.store(workerData.flag, 0, 1);
  Atomics.notify(workerData.flag, 0);
  workerData.port.close();
});
`;

/** Runs the job in a worker thread and waits for it without turning the event loop. */
function inWorker(job: Job): Done {
  const { port1, port2 } = new MessageChannel();
  const flag = new Int32Array(new SharedArrayBuffer(4));
  const worker = new Worker(PROGRAM, { eval: true, workerData: { job, port: port2, flag }, transferList: [port2], stdout: true, stderr: true });
  worker.unref();
  // The job ends by its own timeout; what is waited for beyond it is the start of the thread.
  Atomics.wait(flag, 0, 0, job.timeout + 10000);
  const message = receiveMessageOnPort(port1) as { message: Done } | undefined;
  port1.close();
  if (!message) void worker.terminate();
  return message?.message ?? { error: "the worker thread gave no answer" };
}
