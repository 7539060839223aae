// The phone's updates as an app has them: slipstream-client with the React Native host. Its file library has the calls of
// react-native-fs and works on a real folder.
import { randomFillSync } from "node:crypto";
import { appendFile, mkdir, open, readFile, readdir, rename, rm, stat, writeFile } from "node:fs/promises";
import { delta } from "../../client/src/delta/index.js";
import { reactNativeHost, rnfsDrive } from "../../client/src/hosts/react-native/index.js";
import { createClient, type Client, type Launch, type Page } from "../../client/src/index.js";

type RNFS = Parameters<typeof rnfsDrive>[0];

const bytes = (base64: string) => Buffer.from(base64, "base64");

const RNFS: RNFS = {
  readFile: async (path) => (await readFile(path)).toString("base64"),
  async read(path, length, position) {
    const file = await open(path);
    try {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, position);
      return buffer.subarray(0, bytesRead).toString("base64");
    } finally {
      await file.close();
    }
  },
  writeFile: (path, data) => writeFile(path, bytes(data)),
  appendFile: (path, data) => appendFile(path, bytes(data)),
  moveFile: (from, to) => rename(from, to),
  unlink: (path) => rm(path, { recursive: true }),
  mkdir: async (path) => void (await mkdir(path, { recursive: true })),
  exists: (path) => stat(path).then(() => true, () => false),
  stat: async (path) => stat(path),
  readDir: async (path) => readdir(path, { withFileTypes: true }),
};

/** One process of the app. */
export class Device {
  readonly errors: string[] = [];
  readonly left: string[] = [];
  private readonly pages = new Map<string, Page>();

  private constructor(readonly client: Client, private readonly app: Launch) {}

  /** Starts the app on the device in folder: looks for updates first when there is nothing to run. */
  static async start(server: string, root: string, folder: string): Promise<Device> {
    await mkdir(folder, { recursive: true });
    const host = await reactNativeHost({ drive: rnfsDrive(RNFS, folder), location: "file://" + folder, random: (length) => randomFillSync(new Uint8Array(length)) });
    const client = await createClient({
      host, delta, app: "shop", servers: [server], root: await readFile(root), runtime: "3.1.0", platform: "android", packages: ["base", "cart", "orders"],
    });
    if (client.status().packages.base.running.embedded) await client.update();
    const app = await client.start();
    await app.confirm();
    return new Device(client, app);
  }

  /** What the runtime of the base is given: a business that is entered is a page of the client. */
  readonly shell = {
    directory: async (pkg: string) => {
      if (pkg === "base") return this.place(this.app, "base");
      const page = await this.client.page(pkg);
      this.pages.set(pkg, page);
      return this.place(page.launch, pkg);
    },
    onEnter: ({ package: pkg }: { package: string }) => this.pages.get(pkg)!.launch.confirm(),
    onLeave: (pkg: string) => {
      this.left.push(pkg);
      void this.pages.get(pkg)!.destroy();
    },
    onError: (error: Error, pkg: string) => {
      this.errors.push(error.message);
      void this.pages.get(pkg)!.launch.crash(error.message);
    },
  };

  /** Waits until what was told the client is noted. */
  async settled(): Promise<void> {
    await this.client.memoryWarning();
  }

  /** Folder of what runs of a package. */
  place(launch: Launch, pkg: string): string {
    return launch.packages[pkg].location.slice("file://".length);
  }
}
