// What lies between a browser and the real server in tests: it passes requests on, can be down, and can stop in the middle of
// a download.
import { createServer, request } from "node:http";
import type { AddressInfo } from "node:net";
import type { TestContext } from "node:test";

export interface Relay {
  url: string;
  down: boolean;
  /** After so many bytes of one container or blob nothing more comes. */
  stall?: number;
  /** Paths of which the server has nothing. */
  hide?: RegExp;
  /** Method, path and Range of every request, in order. */
  asked: string[];
}

export async function relay(t: TestContext, to: string): Promise<Relay> {
  const out: Relay = { url: "", down: false, asked: [] };
  const server = createServer((q, r) => {
    if (out.down) return void q.socket.destroy();
    out.asked.push([q.method, q.url, q.headers.range].filter(Boolean).join(" "));
    if (out.hide?.test(q.url ?? "")) return void r.writeHead(404, { "access-control-allow-origin": "*" }).end();
    const { stall } = out, bytes = /^\/v1\/(containers|blobs)\//.test(q.url ?? "");
    const onward = request(to + q.url, { method: q.method, headers: { ...q.headers, host: new URL(to).host } }, (a) => {
      r.writeHead(a.statusCode ?? 502, a.headers);
      let sent = 0;
      a.on("data", (d: Buffer) => {
        const room = bytes && stall !== undefined ? Math.max(stall - sent, 0) : d.length;
        sent += d.length;
        if (room > 0) r.write(d.subarray(0, room));
      });
      a.on("end", () => (bytes && stall !== undefined && sent > stall ? undefined : r.end()));
      a.on("error", () => r.destroy());
    });
    onward.on("error", () => r.destroy());
    r.on("close", () => onward.destroy());
    q.pipe(onward);
  });
  await new Promise<void>((up) => server.listen(0, "127.0.0.1", up));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  out.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return out;
}
