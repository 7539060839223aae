// Joins the mini-program with the client: opens it, runs what it says, and lets the platform's code see its update manager.
const { createClient, delta, miniProgramHost, openSettings, session, updates } = require("./lib/slipstream");
const { bytesOf, readContent } = require("./content");

/** The release that ships inside the mini-program's own package: it runs until another one is good. */
function embedded(fs) {
  return {
    location: "/embedded",
    open: (path) => new Promise((done, failed) => fs.readFile({
      filePath: "embedded/" + path,
      success: ({ data }) => {
        const bytes = new Uint8Array(data);
        done({ size: bytes.length, read: async (offset, length) => bytes.slice(offset, offset + length), close: async () => undefined });
      },
      fail: (res) => failed(new Error(res.errMsg)),
    })),
  };
}

/** Opens the shop; show(content) is called with what a release says, at every cold start. */
async function openShop(wx, config, show) {
  const log = (text, error) => console.warn(text, error || "");
  const host = await miniProgramHost({ api: wx });
  for (const lack of host.lacks) console.info("lacks", lack.capability, "-", lack.effect);
  const client = await createClient({
    host, delta, app: config.app, channel: config.channel, servers: config.servers, root: bytesOf(config.root), runtime: config.runtime,
    packages: ["main", "config"], embedded: { main: embedded(wx.getFileSystemManager()) }, hooks: { log },
  });
  // Switches come into force as soon as they are here, without a start.
  const settings = await openSettings({ client, defaults: { banner: true, sale: {} }, log });
  const life = session({
    client, package: "main", clock: host.clock, platform: host, log,
    run: async (launch) => {
      const content = await readContent(client, launch.packages.main, settings);
      show(content);
      await launch.confirm();
    },
  });
  const update = updates({
    client, packages: ["main"], log, silent: config.silent === true, showModal: (options) => wx.showModal(options),
    restart: async () => (await host.restart()) || life.restart().then(() => true),
  });
  const opened = await life.open();
  settings.onChange(() => life.launch && void readContent(client, life.launch.packages.main, settings).then(show));
  void update.launched();
  return {
    client, settings, life, update, opened,
    /** wx with Slipstream's update manager in the place of the platform's: for code written for that one. */
    wx: update.in(wx),
    async failed(message) {
      if (life.launch && life.launch.trial) await life.launch.crash(message);
    },
  };
}

module.exports = { openShop };
