// State that outlives every business: who is signed in, and what lies in the basket.
export const session = { user: "ada", basket: [], visits: 0 };

export function addToBasket(item) {
  session.basket.push(item);
}
