import { loadShop } from "./data.js";
import { Basket } from "./basket.js";
import { priceOf, money } from "./pricing.js";
import { speak, setLanguage } from "./strings.js";

const $ = (id) => document.getElementById(id);
const state = { shelf: "all", query: "", shop: null, basket: new Basket(localStorage) };

async function start() {
  state.shop = await loadShop();
  await setLanguage(localStorage.getItem("language") || "en");
  $("language").value = localStorage.getItem("language") || "en";
  $("language").onchange = async (e) => {
    localStorage.setItem("language", e.target.value);
    await setLanguage(e.target.value);
    draw();
  };
  $("search").oninput = (e) => { state.query = e.target.value.trim().toLowerCase(); draw(); };
  $("version").textContent = `${state.shop.name} ${state.shop.version}`;
  state.basket.onChange(draw);
  draw();
}

function draw() {
  drawBanner();
  drawShelves();
  drawProducts();
  drawBasket();
}

function drawBanner() {
  const running = state.shop.promotions.find((p) => p.active);
  $("banner").hidden = !running;
  if (running) $("banner").textContent = `${running.title}: −${running.percent} %`;
}

function drawShelves() {
  const shelves = ["all", ...new Set(state.shop.products.map((p) => p.shelf))];
  $("shelves").replaceChildren(...shelves.map((shelf) => {
    const b = document.createElement("button");
    b.textContent = speak(shelf);
    b.setAttribute("aria-pressed", String(shelf === state.shelf));
    b.onclick = () => { state.shelf = shelf; draw(); };
    return b;
  }));
}

function drawProducts() {
  const wanted = state.shop.products.filter((p) =>
    (state.shelf === "all" || p.shelf === state.shelf) &&
    (!state.query || (p.name + " " + p.text).toLowerCase().includes(state.query)));
  $("products").replaceChildren(...wanted.map(card));
}

function card(product) {
  const { now, was } = priceOf(state.shop, product);
  const el = document.createElement("article");
  el.className = "card";
  el.innerHTML = `<img alt=""><h3></h3><p></p><div class="price"></div>`;
  el.querySelector("img").src = product.image;
  el.querySelector("h3").textContent = product.name;
  el.querySelector("p").textContent = product.text;
  const price = el.querySelector(".price");
  if (was !== now) {
    const del = document.createElement("del");
    del.textContent = money(state.shop, was);
    price.append(del);
  }
  price.append(money(state.shop, now));
  const add = document.createElement("button");
  add.textContent = speak("add");
  add.onclick = () => state.basket.add(product.id);
  el.append(add);
  return el;
}

function drawBasket() {
  const box = $("basket");
  const lines = state.basket.lines();
  box.innerHTML = `<h2></h2>`;
  box.querySelector("h2").textContent = speak("basket");
  if (!lines.length) {
    box.append(speak("empty"));
    return;
  }
  const list = document.createElement("ul");
  let total = 0;
  for (const [id, count] of lines) {
    const product = state.shop.products.find((p) => p.id === id);
    if (!product) continue;
    const sum = priceOf(state.shop, product).now * count;
    total += sum;
    const li = document.createElement("li");
    const name = document.createElement("span");
    name.textContent = `${count} × ${product.name}`;
    const remove = document.createElement("button");
    remove.className = "quiet";
    remove.textContent = speak("remove");
    remove.onclick = () => state.basket.remove(id);
    li.append(name, money(state.shop, sum), remove);
    list.append(li);
  }
  const sum = document.createElement("div");
  sum.className = "total";
  sum.append(speak("total"), money(state.shop, state.basket.discounted(total)));
  box.append(list, sum, voucherForm());
}

function voucherForm() {
  const form = document.createElement("form");
  form.className = "voucher";
  const input = document.createElement("input");
  input.placeholder = speak("voucher");
  input.value = state.basket.voucher || "";
  const apply = document.createElement("button");
  apply.textContent = speak("apply");
  form.append(input, apply);
  form.onsubmit = (e) => {
    e.preventDefault();
    if (state.basket.useVoucher(input.value)) return;
    const wrong = document.createElement("p");
    wrong.className = "wrong";
    wrong.textContent = speak("unknownVoucher");
    form.after(wrong);
  };
  return form;
}

start();
