import { test } from "node:test";
import assert from "node:assert/strict";
import { draw } from "./phone.js";

const home = (title: string) => ({
  title, color: "red", background: "#fff", base: "wxfile://usr/slipstream/releases/abc",
  blocks: [
    { kind: "banner", image: "img/a.png" }, { kind: "title", text: title },
    { kind: "prices", sale: true, items: [{ name: "龙井", price: "80.00" }] },
    { kind: "links", items: [{ text: "立即购买", link: "/buy" }, { text: "more", link: "/more" }] },
  ],
});

test("the example's component draws what a release says, and nothing without one", async () => {
  const view = await draw("components/page-view/index"), opened: unknown[] = [];
  view.on("open", (detail) => opened.push(detail));
  assert.doesNotMatch(view.html(), /class="main--page"/);
  view.set({ content: home("现价80元") });
  assert.match(view.html(), /<wx-text class="main--title" style="color:red">现价80元</);
  assert.match(view.html(), /<wx-image class="main--banner">/);
  assert.match(view.html(), /class="main--price main--sale">龙井 80.00</);
  await view.tap(".item");
  assert.deepEqual(opened, [{ link: "/buy" }]);
  view.set({ content: { ...home("原价"), color: "blue", blocks: [{ kind: "title", text: "原价" }] } });
  assert.match(view.html(), /style="color:blue">原价</);
  assert.doesNotMatch(view.html(), /立即购买|wx-image|龙井/);
});
