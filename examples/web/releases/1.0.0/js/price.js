export const money = (cents) => `${(cents / 100).toFixed(2)} €`;

export function discounted(cents, { percent }) {
  if (percent < 0 || percent >= 100) throw new RangeError(`a promotion of ${percent} % leaves no price`);
  return Math.round((cents * (100 - percent)) / 100);
}
