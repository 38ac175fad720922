// @vitest-environment happy-dom
import { expect, test } from "vitest";

import { pathOf } from "../src/parts/sparkline";

test("the lowest stands at the foot, the highest at the top, time runs to the right", () => {
  expect(pathOf([[0, 10], [50, 20], [100, 15]], 0, 100, false)).toBe("M0.0 22.0h.1L60.0 2.0L120.0 12.0");
});

test("a gap breaks the line", () => {
  expect(pathOf([[0, 1], [40, null], [80, 2]], 0, 100, false)).toBe("M0.0 22.0h.1M96.0 2.0h.1");
});

test("a switch is drawn in steps, a value that never changes in the middle", () => {
  expect(pathOf([[0, 0], [50, 1]], 0, 100, true)).toBe("M0.0 22.0h.1H60.0V2.0");
  expect(pathOf([[0, 7], [100, 7]], 0, 100, false)).toBe("M0.0 12.0h.1L120.0 12.0");
});

test("nothing known draws nothing", () => {
  expect(pathOf([], 0, 100, false)).toBe("");
  expect(pathOf([[1, null]], 0, 100, false)).toBe("");
});
