import { describe, expect, it } from "vitest";

import { pick } from "../src/trend/address";
import { axisKey, decimals, formOf, freeAxis, niceScale, timeTicks } from "../src/trend/axes";
import { DAY, HOUR, MINUTE } from "../src/trend/period";
import { instantOf, knownZone, offsetOf, readWallText, wallText } from "../src/trend/zone";

const BERLIN = "Europe/Berlin";

describe("a value axis", () => {
  it.each([
    [0, 10, 5], [-3, 17, 5], [61.2, 61.9, 6], [0, 1e-9, 4], [1e6, 1.00001e6, 5], [-1, -0.2, 3], [0, 1e300, 5], [-40, 88.8, 8], [5, 5, 5], [0, 0, 5], [-7, -7, 4],
  ])("holds %d to %d in %d round steps", (low, high, parts) => {
    const scale = niceScale(low, high, parts);
    expect(scale.low).toBeLessThanOrEqual(low);
    expect(scale.high).toBeGreaterThanOrEqual(high);
    expect((scale.high - scale.low) / scale.step).toBeCloseTo(parts, 6);
    const mantissa = scale.step / 10 ** Math.floor(Math.log10(scale.step) + 1e-9);
    expect([1, 2, 2.5, 4, 5].some((nice) => Math.abs(mantissa - nice) < 1e-6)).toBe(true);
    if (high > low) expect(high - low).toBeGreaterThan((scale.high - scale.low) / 4);
  });

  it("does not go below zero without need, and survives nothing and nonsense", () => {
    expect(niceScale(0.2, 9, 5).low).toBe(0);
    expect(niceScale(0.5, 6, 5).low).toBe(0);
    expect(niceScale(Infinity, -Infinity, 5)).toEqual({ low: 0, high: 1, step: 0.2 });
  });

  it("writes as many decimals as its steps need", () => {
    expect(decimals({ low: 0, high: 1, step: 0.25 })).toBe(2);
    expect(decimals({ low: 0, high: 1, step: 20 })).toBe(0);
    expect(decimals({ low: 0, high: 1, step: 2e-7 })).toBe(7);
  });

  it("is shared by those of one unit, unless told otherwise", () => {
    expect(axisKey(pick("a"), "float", "°C")).toBe("°C");
    expect(axisKey(pick("a", { axis: "2" }), "float", "°C")).toBe("2");
    expect(axisKey(pick("a"), "float", "1")).not.toBe("1");
    expect(freeAxis([pick("a", { axis: "1" }), pick("b"), pick("c", { axis: "3" })])).toBe("2");
  });

  it("suits the signal", () => {
    expect(formOf(pick("a"), "float", false)).toBe("line");
    expect(formOf(pick("a"), "integer", true)).toBe("step");
    expect(formOf(pick("a"), "boolean", true)).toBe("row");
    expect(formOf(pick("a", { form: "line" }), "text", true)).toBe("row");
  });
});

describe("wall clocks", () => {
  const SPRING = Date.UTC(2026, 2, 29, 1); // Berlin goes from 2 to 3
  const AUTUMN = Date.UTC(2026, 9, 25, 1); // Berlin goes from 3 to 2

  it("know summer and winter", () => {
    expect(offsetOf(BERLIN, SPRING - 1)).toBe(HOUR);
    expect(offsetOf(BERLIN, SPRING)).toBe(2 * HOUR);
    expect(offsetOf("Asia/Kathmandu", SPRING)).toBe(5.75 * HOUR);
    expect(wallText(BERLIN, SPRING)).toBe("2026-03-29T03:00:00");
  });

  it("give back each instant, but for the hour that comes twice", () => {
    const around = [SPRING, AUTUMN].flatMap((change) => Array.from({ length: 24 }, (_, i) => change + (i - 12) * (HOUR / 2)));
    const months = Array.from({ length: 48 }, (_, i) => Date.UTC(2026, 0, 1) + i * 7.7 * DAY);
    for (const t of [...around, ...months]) {
      const back = readWallText(BERLIN, wallText(BERLIN, t));
      const isSecondTime = t >= AUTUMN && t < AUTUMN + HOUR;
      expect(back).toBe(isSecondTime ? t - HOUR : t);
    }
  });

  it("step over the hour that is not there", () => {
    const missing = Date.UTC(2026, 2, 29, 2, 30);
    expect(instantOf(BERLIN, missing)).toBe(SPRING + HOUR / 2);
  });

  it("fall back to the browser's zone", () => {
    expect(knownZone("Europe/Berlin")).toBe("Europe/Berlin");
    expect(knownZone("Mars/Olympus")).toBe(Intl.DateTimeFormat().resolvedOptions().timeZone);
    expect(readWallText(BERLIN, "tomorrow")).toBeNull();
  });
});

describe("marks of time", () => {
  const walls = (from: number, to: number, most: number) => timeTicks([from, to], most, BERLIN).at.map((t) => wallText(BERLIN, t).slice(5, 16));

  it("are round in the plant's zone", () => {
    const from = Date.UTC(2026, 5, 1, 10, 7);
    expect(walls(from, from + HOUR, 6)).toEqual(["06-01T12:10", "06-01T12:20", "06-01T12:30", "06-01T12:40", "06-01T12:50", "06-01T13:00"]);
    expect(walls(from, from + 2 * DAY, 5)).toEqual(["06-02T00:00", "06-02T12:00", "06-03T00:00", "06-03T12:00"]);
    expect(walls(from, from + 90 * DAY, 4)).toEqual(["07-01T00:00", "08-01T00:00"]);
  });

  it("stay at midnight when summer begins", () => {
    expect(walls(Date.UTC(2026, 2, 27, 12), Date.UTC(2026, 2, 31, 12), 5)).toEqual(["03-28T00:00", "03-29T00:00", "03-30T00:00", "03-31T00:00"]);
  });

  it("are never many, rise and lie within, for any width", () => {
    const from = Date.UTC(2026, 2, 28, 22, 3, 7);
    for (let width = 200; width < 30 * 365 * DAY; width *= 1.7) {
      const { at, stepMs } = timeTicks([from, from + width], 8, BERLIN);
      expect(at.length).toBeLessThanOrEqual(10);
      expect(at.every((t, i) => t >= from && t <= from + width && (i === 0 || t > at[i - 1]!))).toBe(true);
      expect(stepMs).toBeGreaterThan(0);
      if (width < 7 * DAY || width > 500 * DAY) expect(at.length).toBeGreaterThanOrEqual(2);
    }
    expect(timeTicks([from, from + 10 * MINUTE], 8, BERLIN).stepMs).toBe(2 * MINUTE);
  });
});
