// The service worker of a shell whose first page is reached by a redirect.
import { serveReleases, type WorkerScope } from "../../src/hosts/web/worker.js";

serveReleases(globalThis as unknown as WorkerScope, { shell: ["/", "/start"] });
