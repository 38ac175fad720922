// Which rows of a long list are on the screen: the list is as high as all its rows, only these are drawn.

export interface Span {
  first: number;
  /** One behind the last. */
  end: number;
}

const MORE = 6;

/** Where each row begins, and behind the last where the list ends. */
export function offsetsOf(heights: Iterable<number>): number[] {
  const offsets = [0];
  let at = 0;
  for (const height of heights) offsets.push((at += height));
  return offsets;
}

/** Rows between the edges of the screen and a few more; `top` is where the list begins, seen from there. */
export function rowsOnScreen(offsets: readonly number[], top: number, screenHeight: number): Span {
  const count = offsets.length - 1;
  const first = rowAt(offsets, -top) - MORE;
  const end = rowAt(offsets, screenHeight - top) + 1 + MORE;
  const last = Math.max(0, Math.min(count, end));
  return { first: Math.max(0, Math.min(first, last)), end: last };
}

/** The row that covers this place; the first or the last where none does. */
export function rowAt(offsets: readonly number[], place: number): number {
  let low = 0;
  let high = Math.max(0, offsets.length - 2);
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (offsets[middle]! <= place) low = middle;
    else high = middle - 1;
  }
  return low;
}
