// request for documents, downloadFile for what is taken in pieces: an answer of request lies in memory whole.
import type { Http, HttpRequest, HttpResponse } from "../../host.js";
import { call, type Dialect, type FileSystemManager, type MiniProgramApi, type RequestResult, type Task } from "./api.js";

const PIECE = 256 << 10;

export function platformHttp(api: MiniProgramApi, fs: FileSystemManager, dialect: Dialect, clock: { after(ms: number, then: () => void): () => void }): Http {
  return {
    async request(q) {
      let task: Task | undefined, stopped = "";
      let end: (e: Error) => void = () => undefined;
      const ended = new Promise<never>((_, no) => (end = no));
      ended.catch(() => undefined);
      const stop = (why: string) => {
        stopped = why;
        end(new Error(`${q.method} ${q.url}: ${why}`));
        abort(task);
      };
      const cancel = clock.after(q.timeout, () => stop(`nothing whole came within ${q.timeout} ms`));
      const aborted = () => stop("given up");
      if (q.signal?.aborted) aborted();
      q.signal?.addEventListener("abort", aborted);
      const started = (t: Task | undefined) => {
        task = t;
        if (stopped) abort(t);
      };
      try {
        const large = q.onBytes && q.method === "GET" && api.downloadFile;
        return await Promise.race([ended, large ? download(api, fs, dialect, q, started, stop) : ask(api, dialect, q, started)]);
      } finally {
        cancel();
        q.signal?.removeEventListener("abort", aborted);
      }
    },
  };
}

/** Some platforms throw where there is nothing to end any more. */
function abort(task: Task | undefined): void {
  try {
    task?.abort();
  } catch (e) {
    // The request is over for us either way.
  }
}

const explain = (q: HttpRequest) => (said: string) => new Error(`${q.method} ${q.url}: ${said}`);

function lower(header: Record<string, unknown> | undefined): Record<string, string> {
  const out: Record<string, string> = {};
  for (const [name, value] of Object.entries(header ?? {})) out[name.toLowerCase()] = Array.isArray(value) ? value.join(", ") : String(value);
  return out;
}

async function ask(api: MiniProgramApi, dialect: Dialect, q: HttpRequest, started: (t: Task | undefined) => void): Promise<HttpResponse> {
  const answer = await call<RequestResult>(
    (c) =>
      started(
        api.request?.({
          url: q.url, method: q.method, [dialect.header]: { ...q.headers }, timeout: q.timeout, ...dialect.binary,
          ...(q.body ? { data: new Uint8Array(q.body).buffer } : {}), ...c,
        }),
      ),
    explain(q),
  );
  if (typeof answer.data === "string") throw explain(q)("the platform gave text instead of bytes");
  let body = new Uint8Array(answer.data ?? new ArrayBuffer(0));
  if (body.length > q.limit) body = body.subarray(0, q.limit);
  const { onBytes } = q, head = { status: answer.statusCode ?? answer.status ?? 0, headers: lower(answer.header ?? answer.headers) };
  if (q.onHead) await q.onHead(head);
  if (onBytes) await onBytes(body);
  return { ...head, body: onBytes ? new Uint8Array(0) : body };
}

/** The platform puts the object into a temporary file, which is handed on in pieces and removed. */
async function download(api: MiniProgramApi, fs: FileSystemManager, dialect: Dialect, q: HttpRequest, started: (t: Task | undefined) => void, stop: (why: string) => void): Promise<HttpResponse> {
  let headers: Record<string, string> = {};
  const answer = await call<{ tempFilePath?: string; apFilePath?: string; statusCode?: number; header?: Record<string, unknown> }>((c) => {
    const task = api.downloadFile?.({ url: q.url, [dialect.header]: { ...q.headers }, timeout: q.timeout, ...c });
    started(task);
    task?.onHeadersReceived?.((res) => (headers = lower(res.header)));
    task?.onProgressUpdate?.((res) => {
      if (res.totalBytesWritten > q.limit) stop(`more than ${q.limit} bytes came`);
    });
  }, explain(q));
  if (answer.header) headers = { ...headers, ...lower(answer.header) };
  const filePath = answer.tempFilePath ?? answer.apFilePath;
  if (!filePath) throw explain(q)("the platform named no file");
  const status = answer.statusCode ?? 200;
  try {
    if (q.onHead) await q.onHead({ status, headers });
    const { stats } = await call<{ stats: { size: number } }>((c) => fs.stat({ path: filePath, ...c }), explain(q));
    const size = Math.min(stats.size, q.limit);
    for (let at = 0; at < size; ) {
      const length = Math.min(PIECE, size - at), position = at;
      const { data } = await call<{ data: ArrayBuffer | string }>((c) => fs.readFile({ filePath, position, length, ...c }), explain(q));
      const bytes = new Uint8Array(data as ArrayBuffer);
      // Older platforms give the whole file whatever is asked for.
      const piece = bytes.length > length ? bytes.subarray(at, at + length) : bytes;
      if (piece.length !== length) throw explain(q)("the temporary file is shorter than it was");
      await q.onBytes?.(piece);
      at += length;
    }
  } finally {
    // Without callbacks some platforms give a promise; the platform tidies its temporary files itself too.
    call((c) => fs.unlink({ filePath, ...c }), explain(q)).catch(() => undefined);
  }
  return { status, headers, body: new Uint8Array(0) };
}
