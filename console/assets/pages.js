// All pages there are, and how one comes to them. The first path that fits is shown.
import { Account } from "./pages/account.js";
import { App } from "./pages/app.js";
import { ChannelPage, Channels } from "./pages/channel.js";
import { Overview } from "./pages/overview.js";
import { Protocols } from "./pages/protocols.js";
import { Release } from "./pages/release.js";
import { Releases } from "./pages/releases.js";
import { RolloutPage } from "./pages/rollout.js";
import { Server } from "./pages/server.js";

// path names its parts; page is drawn with them.
export const pages = [
  { path: "/", page: Overview },
  { path: "/apps/:app", page: App },
  { path: "/apps/:app/channels", page: Channels },
  { path: "/apps/:app/channels/:channel", page: ChannelPage },
  { path: "/apps/:app/channels/:channel/rollouts/:rollout", page: RolloutPage },
  { path: "/apps/:app/releases", page: Releases },
  { path: "/apps/:app/releases/:release", page: Release },
  { path: "/apps/:app/protocols", page: Protocols },
  { path: "/server", page: Server },
  { path: "/account", page: Account },
];

// appSections are the entries below the app in the sidebar: path is behind /apps/{app}. needs is the right that one must
// have for it to be offered.
export const appSections = [
  { path: "", icon: "app", title: "nav.app" },
  { path: "/channels", icon: "rollouts", title: "nav.channels" },
  { path: "/releases", icon: "releases", title: "nav.releases" },
  { path: "/protocols", icon: "protocols", title: "nav.protocols" },
];

// serverSections are those for the server as a whole. everywhere is for who sees all apps.
export const serverSections = [
  { path: "/server", icon: "server", title: "nav.thisServer", everywhere: true },
];
