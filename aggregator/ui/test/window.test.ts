import { expect, test } from "vitest";

import { offsetsOf, rowAt, rowsOnScreen } from "../src/parts/window";

const offsets = offsetsOf(Array.from({ length: 5000 }, (_, i) => (i % 10 === 0 ? 40 : 46)));

test("of five thousand rows only those on the screen and a few around are drawn", () => {
  const { first, end } = rowsOnScreen(offsets, -100_000, 900);
  expect(end - first).toBeLessThan(40);
  expect(offsets[first]!).toBeLessThan(100_000);
  expect(offsets[end]!).toBeGreaterThan(100_900);
});

test("begin and end of the list", () => {
  expect(rowsOnScreen(offsets, 300, 900).first).toBe(0);
  expect(rowsOnScreen(offsets, -1e9, 900).end).toBe(5000);
  expect(rowsOnScreen([0], 0, 900)).toEqual({ first: 0, end: 0 });
  expect(rowsOnScreen(offsetsOf([40]), 0, 900)).toEqual({ first: 0, end: 1 });
});

test("the row at a place is the one that covers it", () => {
  const uneven = offsetsOf([10, 20, 30]);
  expect([0, 9, 10, 29, 30, 59, 1000, -5].map((place) => rowAt(uneven, place))).toEqual([0, 0, 1, 1, 2, 2, 2, 0]);
});
