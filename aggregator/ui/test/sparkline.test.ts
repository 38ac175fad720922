// @vitest-environment happy-dom
import { expect, test } from "vitest";

import { pathOf, pointsOf, type Curve } from "../src/parts/sparkline";

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

const curve = (more: Partial<Curve>): Curve => ({ is_held: false, before: null, time_us: [], values: [], quality: [], ...more });

test("bad times and holes break the line, uncertain ones do not", () => {
  const said = curve({ time_us: [1, 2, 3, 4], values: [10, 20, null, 40], quality: [0, 0x43, 255, 0x81] });
  expect(pointsOf(said, 0, 10)).toEqual([[1, 10], [2, 20], [3, null], [4, null]]);
});

test("a value that is held reaches from edge to edge, one that is bad does not", () => {
  const held = curve({ is_held: true, before: [-50, 7, 0], time_us: [5], values: [8], quality: [0] });
  expect(pointsOf(held, 0, 10)).toEqual([[0, 7], [5, 8], [10, 8]]);
  expect(pointsOf(curve({ is_held: true, before: [-50, 7, 0] }), 0, 10)).toEqual([[0, 7], [10, 7]]);
  expect(pointsOf(curve({ is_held: true, before: [-50, 7, 0x81] }), 0, 10)).toEqual([]);
  expect(pointsOf({ ...held, quality: [0x81] }, 0, 10)).toEqual([[0, 7], [5, null]]);
});
