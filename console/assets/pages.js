// All pages there are, and how one comes to them. The first path that fits is shown.
import { Overview } from "./pages/overview.js";

// path names its parts; page is drawn with them.
export const pages = [
  { path: "/", page: Overview },
];

// appSections are the entries below the app in the sidebar: path is behind /apps/{app}.
export const appSections = [];

// serverSections are those for the server as a whole.
export const serverSections = [];
