const prices = { tea: 450 };

export function title({ user, basket }) {
  return `Cart of ${user}: ${basket.length}`;
}

export function total(basket) {
  return basket.reduce((sum, item) => sum + prices[item], 0);
}
