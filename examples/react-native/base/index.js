// The base: what every business shares. Whatever is imported here is loaded once and stays.
import "react/jsx-runtime";
import { AppRegistry, Image } from "react-native";
import { createBusinesses } from "slipstream-metro/runtime";
import "../shared/session";
import "../shared/Price";

// The native shell puts this here before it runs the base bundle.
const shell = globalThis.shopShell;

export const businesses = createBusinesses({
  AppRegistry,
  resolveAssetSource: Image.resolveAssetSource,
  businesses: ["cart", "orders"],
  shell,
  onEnter: shell.onEnter,
  onLeave: shell.onLeave,
  onError: shell.onError,
});

shell.ready?.(businesses);
