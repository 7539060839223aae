// What a release says: pages/home.json (what stands where), prices.json, texts.json, images.

/** UTF-8, for hosts without TextEncoder. */
function bytesOf(text) {
  return Uint8Array.from(unescape(encodeURIComponent(text)), (c) => c.charCodeAt(0));
}

function textOf(bytes) {
  let out = "";
  for (let n = 0; n < bytes.length; n++) out += String.fromCharCode(bytes[n]);
  return decodeURIComponent(escape(out));
}

const BLOCKS = ["banner", "title", "prices", "links"];

/** Reads and joins the files of a release; throws when a page of it cannot be drawn. */
async function readContent(client, tree, settings) {
  const json = async (path) => JSON.parse(textOf(await client.read(tree, path)));
  const [page, prices, texts] = [await json("pages/home.json"), await json("prices.json"), await json("texts.json")];
  for (const block of page.blocks) {
    if (!BLOCKS.includes(block.kind)) throw new Error(`pages/home.json has a block of kind "${block.kind}", this mini-program draws ${BLOCKS.join(", ")}`);
  }
  const say = (key) => {
    if (typeof texts[key] !== "string") throw new Error(`texts.json lacks "${key}"`);
    return texts[key];
  };
  const sale = settings.active("sale");
  const off = sale ? settings.number("sale.off") : 0;
  return {
    version: tree.version || "embedded",
    base: tree.embedded ? "/embedded" : tree.location,
    title: say(page.title), color: page.color, background: page.background,
    blocks: page.blocks.filter((block) => block.kind !== "banner" || settings.enabled("banner")).map((block) => ({
      ...block,
      ...(block.text ? { text: say(block.text) } : {}),
      ...(block.kind === "prices" ? { sale, items: block.items.map((name) => ({ name: say(name), price: money(prices[name] * (100 - off) / 100) })) } : {}),
      ...(block.kind === "links" ? { items: block.items.map((item) => ({ text: say(item.text), link: item.link })) } : {}),
    })),
  };
}

/** Cents as text. */
function money(cents) {
  if (!(cents >= 0)) throw new Error("prices.json lacks a price");
  return (cents / 100).toFixed(2);
}

module.exports = { bytesOf, readContent };
