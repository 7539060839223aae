// priceOf gives what a product costs now and what it cost before, in cents.
export function priceOf(shop, product) {
  const was = shop.cents[product.id];
  const offer = shop.promotions.find((p) => p.active && (p.shelf === product.shelf || p.shelf === "all"));
  return { was, now: offer ? Math.round(was * (100 - offer.percent) / 100) : was };
}

export function money(shop, cents) {
  return new Intl.NumberFormat(undefined, { style: "currency", currency: shop.currency }).format(cents / 100);
}
