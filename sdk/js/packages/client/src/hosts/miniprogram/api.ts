// The parts of a mini-program platform that the host uses, in the shape of wx; my and tt differ in few places, named below.

export interface Failure {
  errMsg?: string;
  errno?: number;
  errCode?: number;
  /** tt. */
  errNo?: number;
  errorCode?: number;
  /** my: a number and a text. */
  error?: number;
  errorMessage?: string;
}

interface Call<T> {
  success?(res: T): void;
  fail?(res: Failure): void;
}

export interface Stats {
  size: number;
  isFile(): boolean;
  isDirectory(): boolean;
}

export interface FileSystemManager {
  readFile(o: Call<{ data: ArrayBuffer | string }> & { filePath: string; position?: number; length?: number }): void;
  writeFile(o: Call<unknown> & { filePath: string; data: ArrayBuffer | string; encoding?: string }): void;
  appendFile(o: Call<unknown> & { filePath: string; data: ArrayBuffer | string; encoding?: string }): void;
  rename(o: Call<unknown> & { oldPath: string; newPath: string }): void;
  unlink(o: Call<unknown> & { filePath: string }): void;
  mkdir(o: Call<unknown> & { dirPath: string; recursive?: boolean }): void;
  rmdir(o: Call<unknown> & { dirPath: string; recursive?: boolean }): void;
  readdir(o: Call<{ files: string[] }> & { dirPath: string }): void;
  /** recursive gives a list of stats on some platforms; it is never asked for. */
  stat(o: Call<{ stats: Stats }> & { path: string; recursive?: boolean }): void;
}

export interface Task {
  abort(): void;
  onHeadersReceived?(then: (res: { header: Record<string, unknown> }) => void): void;
  onProgressUpdate?(then: (res: { totalBytesWritten: number }) => void): void;
}

export interface RequestResult {
  data: ArrayBuffer | string;
  statusCode?: number;
  header?: Record<string, unknown>;
  /** my. */
  status?: number;
  headers?: Record<string, unknown>;
}

export interface MiniProgramApi {
  env?: { USER_DATA_PATH?: string };
  getFileSystemManager?(): FileSystemManager;
  request?(o: Call<RequestResult> & Record<string, unknown> & { url: string }): Task | undefined;
  downloadFile?(o: Call<{ tempFilePath?: string; apFilePath?: string; statusCode?: number; header?: Record<string, unknown> }> & Record<string, unknown> & { url: string }): Task | undefined;
  getRandomValues?(o: Call<{ randomValues: ArrayBuffer }> & { length: number }): void;
  onMemoryWarning?(then: (res: { level?: number }) => void): void;
  onAppHide?(then: () => void): void;
  onAppShow?(then: () => void): void;
  restartMiniProgram?(o?: Call<unknown> & { path?: string }): void;
  canIUse?(name: string): boolean;
}

/** How a platform names the same things. */
export interface Dialect {
  readonly name: "wx" | "my" | "tt";
  /** The option of request that carries headers, and what makes the answer come as bytes. */
  readonly header: "header" | "headers";
  readonly binary: Record<string, unknown>;
}

export const DIALECTS: Record<"wx" | "my" | "tt", Dialect> = {
  wx: { name: "wx", header: "header", binary: { responseType: "arraybuffer" } },
  my: { name: "my", header: "headers", binary: { dataType: "arraybuffer" } },
  tt: { name: "tt", header: "header", binary: { dataType: "string", responseType: "arraybuffer" } },
};

/** What a platform says when a call fails. */
export function words(f: Failure): string {
  return f.errMsg ?? f.errorMessage ?? `error ${code(f) ?? "unknown"}`;
}

/** Its number for that, where it gives one. */
function code(f: Failure): number | undefined {
  return f.errno ?? f.errNo ?? f.errCode ?? f.errorCode ?? f.error;
}

/** A call with callbacks as a promise; what the platform says when it fails goes through explain. */
export function call<T>(make: (callbacks: Call<T>) => void, explain: (said: string, code?: number) => Error): Promise<T> {
  return new Promise((done, failed) => {
    try {
      make({ success: done, fail: (f) => failed(explain(words(f ?? {}), code(f ?? {}))) });
    } catch (e) {
      failed(explain((e as Failure).errMsg ?? String((e as Error).message ?? e), code(e as Failure)));
    }
  });
}
