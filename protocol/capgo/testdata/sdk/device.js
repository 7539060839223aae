// Acts as an app of Electron does that starts once, with the updater that the app would have, and prints what came of it.
//
//   node device.js FOLDER SERVER ready|hangs [CHANNEL]
"use strict";
const fs = require("fs");
const Module = require("module");
const [folder, server, way, channel] = process.argv.slice(2);

const nothing = () => {};
const electron = {
  app: { getPath: () => folder, getVersion: () => "1.0.0", isPackaged: true, on: nothing },
  safeStorage: { isEncryptionAvailable: () => false },
  ipcMain: { handle: nothing, removeHandler: nothing },
  globalShortcut: { register: nothing, unregister: nothing },
};
const load = Module._load;
Module._load = function (name, ...rest) {
  return name === "electron" ? electron : load.call(this, name, ...rest);
};
const { ElectronUpdater } = require("@capgo/electron-updater");

const page = { on: nothing, loadFile: async () => {} };
const updater = new ElectronUpdater({
  appId: "com.example.shop",
  version: "1.0.0",
  updateUrl: server + "/updates",
  statsUrl: server + "/stats",
  channelUrl: server + "/channel_self",
  appReadyTimeout: 200,
  disableJSLogging: true,
});
(async () => {
  fs.mkdirSync(folder, { recursive: true });
  fs.writeFileSync(folder + "/builtin.html", "builtin");
  const seen = [];
  for (const event of ["downloadFailed", "updateFailed", "noNeedUpdate", "downloadComplete"]) {
    updater.addListener(event, () => seen.push(event));
  }
  await updater.initialize(page, folder + "/builtin.html");
  if (way === "ready") {
    await updater.notifyAppReady();
  } else {
    await new Promise((done) => setTimeout(done, 600));
  }
  const set = channel ? await updater.setChannel({ channel }) : undefined;
  const latest = await updater.getLatest();
  if (latest.version === "builtin") {
    await updater.reset(); // what the host has to do itself: this updater does not know the way back
    await updater.notifyAppReady();
  } else {
    await updater.checkForUpdates();
  }
  const next = await updater.getNextBundle();
  const { bundle } = await updater.current();
  console.log(
    JSON.stringify({
      running: bundle.version,
      page: fs.readFileSync(updater.getCurrentBundlePath(), "utf8"),
      next: next ? next.version : "",
      latest,
      seen,
      set,
      channels: (await updater.listChannels()).channels,
      channel: await updater.getChannel(),
    }),
  );
  process.exit(0);
})().catch((e) => {
  console.error(e);
  process.exit(1);
});
