// Serves public/ on http://localhost:8090 (PORT): what any web server does. Browsers count localhost as secure.
import { createReadStream, statSync } from "node:fs";
import { createServer } from "node:http";
import { dirname, extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";

const TYPES = { ".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css", ".json": "application/json", ".svg": "image/svg+xml" };

/** Answers with the files of a folder; the shell is asked for anew each time, since it has no hash in its name. */
export function serve(folder) {
  return createServer((request, response) => {
    let path;
    try {
      path = normalize(decodeURIComponent(new URL(request.url, "http://x").pathname));
    } catch {
      return response.writeHead(400).end();
    }
    const file = join(folder, path.endsWith("/") ? path + "index.html" : path);
    if (!statSync(file, { throwIfNoEntry: false })?.isFile()) return response.writeHead(404, { "content-type": "text/plain" }).end("not here");
    response.writeHead(200, { "content-type": TYPES[extname(file)] ?? "application/octet-stream", "cache-control": "no-cache", "x-content-type-options": "nosniff" });
    createReadStream(file).pipe(response);
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const port = Number(process.env.PORT ?? 8090);
  serve(join(dirname(fileURLToPath(import.meta.url)), "public")).listen(port, "127.0.0.1", () => console.log(`http://localhost:${port}/`));
}
