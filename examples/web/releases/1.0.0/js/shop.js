// A page of a release: every address is relative, so all files come from the release that the page was loaded from.
import { discounted, money } from "./price.js";

const json = async (path) => (await fetch(path)).json();
const [{ products }, promotion] = await Promise.all([json("data/products.json"), json("data/promotion.json")]);

const banner = document.getElementById("promotion");
banner.hidden = false;
banner.textContent = `${promotion.title}: ${promotion.percent} % off`;
document.getElementById("products").replaceChildren(...products.map(({ name, cents }) => {
  const line = document.createElement("li"), price = document.createElement("span"), before = document.createElement("del");
  before.textContent = money(cents);
  price.append(before, money(discounted(cents, promotion)));
  line.append(name, price);
  return line;
}));
document.getElementById("release").textContent = `Prices of ${promotion.since}`;
