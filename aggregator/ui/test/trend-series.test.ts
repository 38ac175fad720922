import { describe, expect, it } from "vitest";

import { pick, type Pick } from "../src/trend/address";
import { NO_CURVE, type Curve } from "../src/trend/curve";
import { knownOf, readingAt, recoloured, scalesOf, seriesOf, unknownOf, type Series } from "../src/trend/series";

const ABOUT = { name: "n", gateway: "g", unit: "°C", kind: "float" as const };
const curve = (rows: [number, number, number?][], rest: Partial<Curve> = {}): Curve => ({
  ...NO_CURVE,
  timeMs: Float64Array.from(rows.map((row) => row[0])),
  value: Float64Array.from(rows.map((row) => row[1])),
  quality: Uint8Array.from(rows.map((row) => row[2] ?? 0)),
  ...rest,
});
const series = (rows: [number, number, number?][], more: Partial<Pick> = {}, untilMs = 100): Series =>
  seriesOf(pick("u", more), 0, ABOUT, curve(rows), untilMs);

describe("the scales of what is seen", () => {
  it("are not spoilt by a signal that has nothing", () => {
    const scales = scalesOf([series([[0, 10], [10, 20]]), series([])], [0, 10], new Map(), 5);
    expect(scales.get("°C")).toEqual({ low: 10, high: 20, step: 2 });
    expect(scalesOf([series([]), series([])], [0, 10], new Map(), 5).get("°C")).toEqual({ low: 0, high: 1, step: 0.2 });
  });

  it("hold zero where there are bars, leave out what is hidden, and stay where they are fixed", () => {
    expect(scalesOf([series([[0, 10], [10, 20]], { form: "bar" })], [0, 10], new Map(), 5).get("°C")).toEqual({ low: 0, high: 20, step: 4 });
    expect(scalesOf([series([[0, 10]], { isHidden: true })], [0, 10], new Map(), 5).size).toBe(0);
    expect(scalesOf([series([[0, 10]])], [0, 10], new Map([["°C", [-5, 45]]]), 5).get("°C")).toEqual({ low: -5, high: 45, step: 10 });
  });

  it("look at the time that is drawn, also of what is shifted", () => {
    const shifted = series([[0, 1], [10, 2], [1000, 99]], { shiftMs: 1000 });
    expect(scalesOf([shifted], [1000, 1010], new Map(), 5).get("°C")!.high).toBeLessThan(99.01);
    expect(readingAt(shifted, 1010)).toMatchObject({ value: 2, timeMs: 10 });
    expect(knownOf(shifted, [1000, 1010]).map((part) => [part.fromMs, part.toMs])).toEqual([[1000, 1010]]);
  });
});

describe("a reading", () => {
  const one = series([[10, 1], [20, NaN, 0x81], [30, 3], [40, NaN, 255], [60, 5, 0x43]], {}, 70);
  it.each([
    [5, null, "none"], [10, 1, "good"], [19, 1, "good"], [25, null, "bad"], [35, 3, "good"], [50, null, "none"], [65, 5, "uncertain"], [71, null, "none"],
  ])("at %d is %s and %s", (ms, value, state) => {
    expect(readingAt(one, ms)).toMatchObject({ value, state });
  });

  it("before the first sample is the one before the range", () => {
    const held = seriesOf(pick("u"), 0, ABOUT, curve([[10, 1]], { before: { timeMs: -50, value: 7, quality: 0 } }), 20);
    expect(readingAt(held, 5)).toMatchObject({ value: 7, timeMs: -50 });
    expect(readingAt(held, -60).state).toBe("none");
  });
});

describe("times of which nothing is known", () => {
  const known = (parts: [number, number, "good" | "bad" | "none" | "uncertain"][]) =>
    parts.map(([fromMs, toMs, state], row) => ({ fromMs, toMs, row, state }));

  it("are those that no signal tells of", () => {
    const a = known([[0, 30, "good"], [30, 60, "bad"], [60, 100, "none"]]);
    const b = known([[0, 40, "none"], [40, 50, "none"], [50, 80, "uncertain"], [80, 100, "bad"]]);
    expect(unknownOf([a, b], [0, 100])).toEqual([[30, 50], [80, 100]]);
    expect(unknownOf([a], [0, 100])).toEqual([[30, 100]]);
    expect(unknownOf([], [0, 100])).toEqual([]);
  });
});

describe("colours", () => {
  it("stay with their signal when others come and go", () => {
    const three = [pick("a"), pick("b"), pick("c")];
    const left = recoloured(three, [three[1]!, three[2]!]);
    expect(left.map((one) => one.colour)).toEqual([2, 3]);
    const again = recoloured(left, [...left, pick("d")]);
    expect(again.map((one) => one.colour)).toEqual([2, 3, 4]);
    const five = recoloured(again, [...again, pick("e")]);
    expect(new Set(five.map((one, i) => one.colour || i + 1)).size).toBe(4);
  });
});
