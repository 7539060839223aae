import { test } from "node:test";
import assert from "node:assert/strict";
import type { Client, Launch, PlainHost } from "../src/index.js";
import type { MiniProgramHost } from "../src/hosts/miniprogram/index.js";
import type { ReactNativeHost } from "../src/hosts/react-native/index.js";
import type { WebHost } from "../src/hosts/web/index.js";
import { openSettings, type SettingsClient } from "../src/settings/index.js";
import { session, updates, type StartingClient, type UpdatingClient } from "../src/update-manager/index.js";

// What is checked here is checked by the compiler: the client is what settings, update manager and sessions take, and the
// hosts are what the client takes.
const takes = {
  settings: (client: Client): SettingsClient => client,
  updates: (client: Client): UpdatingClient => client,
  session: (client: Client): StartingClient<Launch> => client,
  host: (host: MiniProgramHost | ReactNativeHost | WebHost): PlainHost => host,
};

test("the client fits what builds on it", () => {
  assert.deepEqual(Object.keys(takes), ["settings", "updates", "session", "host"]);
  for (const f of [openSettings, session, updates]) assert.equal(typeof f, "function");
});
