import { describe, expect, it } from "vitest";

import { blank, pick, read, written, type View } from "../src/trend/address";
import { DAY, following, HOUR, isLive, MINUTE, panned, standing, Steps, toggled, windowOf, zoomed } from "../src/trend/period";

const NOON = Date.UTC(2026, 10, 21, 12);

describe("the address", () => {
  it("means an hour of the present when it says nothing", () => {
    const { view, faults } = read("");
    expect(faults).toEqual([]);
    expect(view.period).toEqual({ spanMs: HOUR, widthMs: HOUR });
    expect(view.hasBalloon).toBe(true);
  });

  it("takes the link of another page", () => {
    expect(read("s=roof.collector&s=roof.pump").view.picks).toEqual([pick("roof.collector"), pick("roof.pump")]);
  });

  it("is readable", () => {
    const view: View = { ...blank(), picks: [pick("roof.collector", { axis: "2", form: "step" }), pick("a:b-c")] };
    expect(written(view)).toBe("s=roof.collector~2~step&s=a:b-c&live=1h");
  });

  it.each<[string, Partial<View>]>([
    ["everything of a series", { picks: [pick("u", { axis: "12", form: "bar", colour: 24, shiftMs: 7 * DAY, isHidden: true })] }],
    ["the same signal, now and a day before", { picks: [pick("u"), pick("u", { shiftMs: DAY })] }],
    ["fixed axes of any unit", { bounds: new Map([["°C", [-20.5, 90]], ["", [0, 1e-7]], ["1", [0, 1]], ["a~b&c=d+e %", [1, 2]]]) }],
    ["following, closer", { period: following(8 * HOUR, 15 * MINUTE) }],
    ["a standing window", { period: standing([NOON, NOON + HOUR], [NOON + 1234, NOON + 5678]) }],
    ["rulers, no balloon", { ruler: NOON + 1, second: NOON + 2000, hasBalloon: false }],
  ])("gives back %s", (_, part) => {
    const view = { ...blank(), ...part };
    expect(read(written(view))).toEqual({ view, faults: [] });
  });

  it("names what it does not understand, and goes on with the rest", () => {
    const { view, faults } = read("s=ok&s=not%20a%20uid&s=x~~circle&y=C~9~1&live=soon&ruler=noon&from=2026-11-21T12:00:00Z");
    expect(view.picks).toEqual([pick("ok")]);
    expect(view.period).toEqual({ spanMs: HOUR, widthMs: HOUR });
    expect(faults).toEqual(["s=not a uid", "s=x~~circle", "y=C~9~1", "live=soon", "ruler=noon"]);
  });
});

describe("the period", () => {
  it("keeps the instant under the pointer when it zooms", () => {
    const before = standing([NOON, NOON + HOUR]);
    const anchor = NOON + 15 * MINUTE;
    const [from, to] = windowOf(zoomed(before, 0.5, anchor), 0);
    expect((anchor - from) / (to - from)).toBeCloseTo(0.25, 6);
    expect(to - from).toBe(HOUR / 2);
  });

  it("goes on following while zooming, and stops when the past is wanted", () => {
    const live = following(HOUR);
    expect(windowOf(zoomed(live, 0.5, NOON - HOUR), NOON)).toEqual([NOON - HOUR / 2, NOON]);
    expect(isLive(zoomed(live, 4, NOON))).toBe(true);
    const past = panned(live, NOON, -MINUTE);
    expect(isLive(past)).toBe(false);
    expect(windowOf(past, NOON + DAY)).toEqual([NOON - HOUR - MINUTE, NOON - MINUTE]);
    expect(isLive(toggled(past, NOON))).toBe(true);
  });

  it("grows the range when the window leaves it, and never turns around", () => {
    const out = zoomed(standing([NOON, NOON + HOUR]), 3, NOON + HOUR / 2);
    expect(out).toEqual({ whole: [NOON - HOUR, NOON + 2 * HOUR], window: [NOON - HOUR, NOON + 2 * HOUR] });
    const [from, to] = windowOf(standing([NOON, NOON + HOUR], [NOON + 5000, NOON + 5000]), 0);
    expect(to - from).toBe(200);
  });

  it("goes back and forth, and forgets what was ahead when it turns off", () => {
    const steps = new Steps();
    const [a, b, c] = [following(1 * HOUR), following(2 * HOUR), following(3 * HOUR)];
    steps.leave(a);
    steps.leave(b);
    expect(steps.back(c)).toEqual(b);
    expect(steps.back(b)).toEqual(a);
    expect(steps.back(a)).toBeNull();
    expect(steps.forth(a)).toEqual(b);
    steps.leave(b);
    expect(steps.canForth).toBe(false);
  });
});
