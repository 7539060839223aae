// What the EasyClick document says about update.json, the request and the answer. Pure.

/** update.json. */
export interface Config {
  update_url: string;
  version: string;
  appendDeviceInfo: boolean;
  /** ms; 0 takes the default of 30 000. */
  timeout: number;
}

/** What a host appends to its request; missing fields are sent empty, as hosts do. */
export interface DeviceInfo {
  deviceId?: string;
  apkVersion?: string;
  osVersion?: string;
  pkgName?: string;
  model?: string;
  ecVersion?: string;
  brand?: string;
  androidId?: string;
}

/** What a server answers when there is an update. */
export interface Answer {
  download_url: string;
  version: string;
  dialog: boolean;
  force: boolean;
  msg: string;
  /** Lower case; "" when the server names none. */
  md5: string;
  /** Seconds. */
  download_timeout: number;
}

/** What a script says itself in updateReq; what is missing comes from update.json. */
export interface Asked {
  url?: string;
  version?: string | number;
  appendDeviceInfo?: boolean;
  /** ms. */
  timeout?: number;
}

export const DEFAULT_TIMEOUT = 30000;
/** A shorter timeout is raised to it. */
export const MIN_TIMEOUT = 1000;
/** Seconds. */
export const DEFAULT_DOWNLOAD_TIMEOUT = 60;
/** The text that getErrorMsg gives when the server has nothing newer. */
export const NO_UPDATE = "no update";

type Fields = Record<string, unknown>;

function fieldsOf(text: string, what: string): Fields {
  let value: unknown;
  try {
    value = JSON.parse(text.replace(/^\uFEFF/, ""));
  } catch (e) {
    throw new Error(`${what}: ${(e as Error).message} (JSON knows no comments and no comma before a closing brace)`);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new Error(`${what}: not a JSON object`);
  return value as Fields;
}

function field<T>(from: Fields, name: string, kind: "string" | "boolean" | "number", missing: T, what: string): T {
  const v = from[name];
  if (v === undefined || v === null) return missing;
  if (typeof v !== kind) throw new Error(`${what}: "${name}" is ${JSON.stringify(v)}, not a ${kind}`);
  return v as unknown as T;
}

/** A version is text on Android and a number on iOS. */
function versionOf(from: Fields, what: string): string {
  const v = from.version;
  if (v === undefined || v === null) return "";
  if (typeof v === "string") return v;
  if (typeof v === "number" && Number.isFinite(v)) return String(v);
  throw new Error(`${what}: "version" is ${JSON.stringify(v)}, neither text nor a number`);
}

/** Reads the text of an update.json. */
export function readConfig(text: string): Config {
  const what = "update.json", from = fieldsOf(text, what);
  return {
    update_url: field(from, "update_url", "string", "", what), version: versionOf(from, what),
    appendDeviceInfo: field(from, "appendDeviceInfo", "boolean", false, what), timeout: field(from, "timeout", "number", 0, what),
  };
}

/** Reads a server's answer; undefined when it says that there is no update. */
export function readAnswer(text: string): Answer | undefined {
  if (text.trim() === "") return undefined;
  const what = "the answer is no update", from = fieldsOf(text, what);
  const answer: Answer = {
    download_url: field(from, "download_url", "string", "", what), version: versionOf(from, what),
    dialog: field(from, "dialog", "boolean", false, what), force: field(from, "force", "boolean", false, what),
    msg: field(from, "msg", "string", "", what), md5: field(from, "md5", "string", "", what).toLowerCase(),
    download_timeout: field(from, "download_timeout", "number", 0, what),
  };
  if (answer.download_url === "") throw new Error("the answer has no download_url");
  return answer;
}

/**
 * The address of a request and how many ms it may take. Parameters that the address has already stay. A script that gives no
 * address means update.json as it stands, so its version 0 is none; with an address of its own, 0 is a version.
 */
export function request(config: Config, info: DeviceInfo, asked: Asked): { url: string; timeout: number } {
  const url = asked.url || config.update_url;
  if (!/^https?:\/\/[^/?#]/i.test(url)) {
    throw new Error(`update_url ${JSON.stringify(url)} is no address: it looks like https://update.example.com/easyclick/shop/production/update`);
  }
  const said = asked.version === undefined || asked.version === null || asked.version === "" || (!asked.url && Number(asked.version) === 0) ? config.version : String(asked.version);
  if (said === "") throw new Error('no version to tell the server: update.json needs "version"');
  const pairs: [string, string | undefined][] = [["version", said]];
  if (asked.appendDeviceInfo ?? config.appendDeviceInfo) {
    for (const name of ["deviceId", "apkVersion", "osVersion", "pkgName", "model", "ecVersion", "brand", "androidId"] as const) pairs.push([name, info[name]]);
  }
  const query = pairs.map(([name, value]) => name + "=" + encodeURIComponent(value ?? "")).join("&");
  const [before, fragment] = cut(url, "#");
  const [path, old] = cut(before, "?");
  return { url: path + "?" + (old ? old + "&" : "") + query + (fragment === undefined ? "" : "#" + fragment), timeout: Math.max(asked.timeout || config.timeout || DEFAULT_TIMEOUT, MIN_TIMEOUT) };
}

function cut(text: string, at: string): [string, string | undefined] {
  const i = text.indexOf(at);
  return i < 0 ? [text, undefined] : [text.slice(0, i), text.slice(i + 1)];
}
