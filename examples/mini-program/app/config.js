// Where updates come from. root is the text of root.json, which `slipstream app create` writes: trust starts there.
module.exports = {
  app: "shop",
  channel: "production",
  servers: ["https://updates.example.com"],
  root: "",
  runtime: "3.1.0",
};
