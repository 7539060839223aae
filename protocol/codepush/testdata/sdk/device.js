// Acts as an app does, with the acquisition SDK that the app would have, and prints what the SDK makes of the answers.
//
//   node device.js SDK SERVER KEY APPVERSION CLIENT [PACKAGEHASH [LABEL]]
"use strict";
const [sdk, server, key, appVersion, clientUniqueId, packageHash, label] = process.argv.slice(2);
const { AcquisitionManager, AcquisitionStatus } = require(sdk + "/script/acquisition-sdk");
const verbs = ["GET", "HEAD", "POST", "PUT", "DELETE", "TRACE", "OPTIONS", "CONNECT", "PATCH"];
const requester = {
  request(verb, url, body, done) {
    if (typeof body === "function") {
      done = body;
      body = undefined;
    }
    fetch(url, { method: verbs[verb], body: body || undefined, headers: { "Content-Type": "application/json", "X-CodePush-SDK-Version": "^4.2.2" } })
      .then(async (r) => done(null, { statusCode: r.status, body: await r.text() }), done);
  },
};
const manager = new AcquisitionManager(requester, { serverUrl: server, appVersion, clientUniqueId, deploymentKey: key });
const call = (method, ...args) => new Promise((resolve, reject) => method.call(manager, ...args, (err, value) => (err ? reject(err) : resolve(value))));
(async () => {
  const update = await call(manager.queryUpdateWithCurrentPackage, { appVersion, packageHash: packageHash || undefined, label: label || undefined });
  const out = { update };
  if (update && update.downloadUrl) {
    const r = await fetch(update.downloadUrl, { headers: { "Accept-Encoding": "identity" } });
    const body = Buffer.from(await r.arrayBuffer());
    out.download = { status: r.status, length: r.headers.get("content-length"), coding: r.headers.get("content-encoding"), bytes: body.length, magic: body.subarray(0, 4).toString("hex") };
    for (let again = 0; again < 2; again++) {
      await call(manager.reportStatusDownload, update);
      await call(manager.reportStatusDeploy, update, AcquisitionStatus.DeploymentSucceeded, label || appVersion, key);
    }
  } else {
    await call(manager.reportStatusDeploy, null, null, label || null, key);
  }
  console.log(JSON.stringify(out));
})().catch((e) => {
  console.error(e.message);
  process.exit(1);
});
