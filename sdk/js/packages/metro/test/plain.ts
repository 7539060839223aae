// A project so small that Metro is quick: the same require, without React Native.
export const plain = {
  "metro.plain.js": `const { getDefaultConfig } = require("@react-native/metro-config");
const { withSlipstream } = require("slipstream-metro");
module.exports = withSlipstream(getDefaultConfig(__dirname), { base: "plain/base.js", businesses: { hello: "plain/hello/index.js" }, publish: { app: "shop" } });`,
  "plain/base.js": `import { createBusinesses } from "slipstream-metro/runtime";
import "./count";
globalThis.businesses = createBusinesses({ ...globalThis.given, businesses: { HelloScreen: "hello" } });`,
  "plain/count.js": `export const count = { value: 0 };`,
  "plain/hello/index.js": `import { count } from "../count";
import { word } from "./word";
const { AppRegistry, said } = globalThis.given;
AppRegistry.registerRunnable("HelloScreen", () => said.push(word + " " + ++count.value));`,
  "plain/hello/word.js": `export const word = "hello";`,
};
