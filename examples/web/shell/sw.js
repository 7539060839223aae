// The service worker: serves the files of releases, and the shell itself when there is no network.
import { serveReleases } from "slipstream-client/web/worker";

serveReleases(self, { shell: SHELL_FILES, headers: { "content-security-policy": "default-src 'self'" } });
