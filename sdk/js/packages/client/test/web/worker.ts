// The service worker of the tests: the storage is told by its address.
import { serveReleases, type WorkerScope } from "../../src/hosts/web/worker.js";

const scope = globalThis as unknown as WorkerScope & { location: { search: string } };
serveReleases(scope, { storage: scope.location.search === "?cache" ? "cache" : "opfs", headers: { "x-app": "shop" } });
