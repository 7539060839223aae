const { getDefaultConfig } = require("@react-native/metro-config");
const { withSlipstream } = require("slipstream-metro");

module.exports = withSlipstream(getDefaultConfig(__dirname), {
  base: "base/index.js",
  businesses: {
    cart: "businesses/cart/index.js",
    orders: "businesses/orders/index.js",
  },
  publish: { app: "shop", runtime: ">=3.0.0" },
});
