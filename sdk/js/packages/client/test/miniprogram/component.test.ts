import { test } from "node:test";
import assert from "node:assert/strict";
import { component } from "./simulated.js";

test("the example's component draws what a release says, and nothing without one", async () => {
  const view = component("page-view", {}), opened: unknown[] = [];
  view.on("open", (detail) => opened.push(detail));
  assert.doesNotMatch(view.html(), /class="main--page"/);
  view.set({ page: { title: "现价80元", color: "red", background: "#fff", image: "img/a.png", items: [{ text: "立即购买", link: "/buy" }, { text: "more", link: "/more" }] }, base: "wxfile://usr/slipstream/releases/abc" });
  assert.match(view.html(), /<wx-text class="main--title" style="color:red">现价80元</);
  assert.match(view.html(), /<wx-image class="main--banner">/);
  await view.tap(".item");
  assert.deepEqual(opened, [{ link: "/buy" }]);
  view.set({ page: { title: "原价", color: "blue", background: "#fff", items: [] } });
  assert.match(view.html(), /style="color:blue">原价</);
  assert.doesNotMatch(view.html(), /立即购买|wx-image/);
});
