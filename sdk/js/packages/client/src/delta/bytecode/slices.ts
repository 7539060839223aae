// Work in slices, so that an engine without a compiler can draw between them.

/** Lets others have their turn. */
export type Rest = () => Promise<void>;

/** What is done in one turn, in numbers that are looked at. */
export const slice = 1 << 14;

/** Does work for every number below n: a slice at a time, in its order. */
export async function sliced(n: number, rest: Rest, work: (from: number, to: number) => void): Promise<void> {
  for (let from = 0; from < n; from += slice) {
    work(from, Math.min(n, from + slice));
    await rest();
  }
}
