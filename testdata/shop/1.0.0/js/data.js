async function json(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

export async function loadShop() {
  const about = await json("shop.json");
  const [catalogue, prices, promotions] = await Promise.all(about.data.map(json));
  const today = new Date().toISOString().slice(0, 10);
  return {
    name: about.name,
    version: about.version,
    products: catalogue.products,
    currency: prices.currency,
    cents: prices.cents,
    promotions: promotions.promotions.map((p) => ({ ...p, active: p.from <= today && today <= p.until })),
  };
}
