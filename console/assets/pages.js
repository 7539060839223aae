// All pages there are, and how one comes to them. The first path that fits is shown.
import { Account } from "./pages/account.js";
import { Alerts } from "./pages/alerts.js";
import { App } from "./pages/app.js";
import { Audit } from "./pages/audit.js";
import { ChannelPage, Channels } from "./pages/channel.js";
import { DevicePage } from "./pages/device.js";
import { Devices } from "./pages/devices.js";
import { Fleet } from "./pages/fleet.js";
import { MemberPage, Members } from "./pages/members.js";
import { Overview } from "./pages/overview.js";
import { Protocols } from "./pages/protocols.js";
import { Release } from "./pages/release.js";
import { Releases } from "./pages/releases.js";
import { RolloutPage } from "./pages/rollout.js";
import { Server } from "./pages/server.js";
import { Tokens } from "./pages/tokens.js";

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
  { path: "/apps/:app/devices", page: Devices },
  { path: "/apps/:app/devices/:device", page: DevicePage },
  { path: "/apps/:app/fleet", page: Fleet },
  { path: "/alerts", page: Alerts },
  { path: "/audit", page: Audit },
  { path: "/tokens", page: Tokens },
  { path: "/members", page: Members },
  { path: "/members/:member", page: MemberPage },
  { path: "/server", page: Server },
  { path: "/account", page: Account },
];

// appSections are the entries below the app in the sidebar: path is behind /apps/{app}. needs is the right that one must
// have for it to be offered.
export const appSections = [
  { path: "", icon: "app", title: "nav.app" },
  { path: "/channels", icon: "rollouts", title: "nav.channels" },
  { path: "/releases", icon: "releases", title: "nav.releases" },
  { path: "/devices", icon: "devices", title: "nav.devices" },
  { path: "/fleet", icon: "fleet", title: "nav.fleet" },
  { path: "/protocols", icon: "protocols", title: "nav.protocols" },
];

// serverSections are those for the server as a whole. everywhere is for who sees all apps.
export const serverSections = [
  { path: "/alerts", icon: "alerts", title: "nav.alerts" },
  { path: "/audit", icon: "audit", title: "nav.audit" },
  { path: "/members", icon: "members", title: "nav.members", needs: "admit" },
  { path: "/tokens", icon: "tokens", title: "nav.tokens", needs: "admit" },
  { path: "/server", icon: "server", title: "nav.thisServer", everywhere: true },
];
