// The shell: the small part of the app that its site or its WebView ships, and that changes rarely. It keeps the release up
// to date and shows the one that is in force.
import { createClient } from "slipstream-client";
import { delta } from "slipstream-client/delta";
import { embeddedAt, show, webHost } from "slipstream-client/web";

const state = document.getElementById("state"), restart = document.getElementById("restart");
const bytes = async (path) => new Uint8Array(await (await fetch(path)).arrayBuffer());

async function open() {
  const config = await (await fetch("config.json")).json();
  await navigator.serviceWorker.register("sw.js");
  const host = await webHost({ browser: window });
  for (const { capability, effect } of host.lacks) console.info(`lacks ${capability}: ${effect}`);
  const client = await createClient({
    host, app: config.app, servers: config.servers, root: await bytes("root.json"), runtime: config.shell, delta,
    embedded: { main: await embeddedAt("embedded", fetch.bind(window)) },
    poll: config.poll, spread: -1,
    hooks: { log: (text, error) => console.info(text, error ?? ""), restart: () => void run() },
  });

  // One at a time: the client may ask to start again while a start is being judged.
  let running = Promise.resolve();
  const run = () => (running = running.then(() => start(client), () => start(client)));

  client.on("ready", (offers) => {
    restart.textContent = `Version ${offers[0].release.version} is ready: start it`;
    restart.hidden = false;
  });
  restart.onclick = () => void run();
  client.on("failed", ({ stage, reason }) => console.warn(`${stage}: ${reason}`));
  window.shop = client; // to look at in the browser's console

  await run();
  client.run();
}

async function start(client) {
  restart.hidden = true;
  const { launch, outcomes, unkept } = await show({ client, window, into: document.getElementById("page"), embedded: "embedded/index.html" });
  const { version, embedded, trial } = launch.packages.main;
  const failed = outcomes.filter((o) => o.kind !== "confirmed").map((o) => o.detail);
  state.textContent = [
    embedded ? `The shell's own release ${version}`.trim() : `Release ${version}`,
    trial ? "just tried and confirmed" : "",
    failed.length > 0 ? `went back after: ${failed[failed.length - 1]}` : "",
    client.status().locked ? "another tab keeps this app up to date" : unkept ? `not kept: ${unkept.message}` : "",
  ].filter(Boolean).join(" · ");
  document.body.dataset.starts = String(Number(document.body.dataset.starts ?? 0) + 1);
}

open().catch((error) => {
  console.error(error);
  state.textContent = error.message;
});
