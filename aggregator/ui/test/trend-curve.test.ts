import { describe, expect, it } from "vitest";

import { clipped, extent, HOLE, inForce, joined, NO_CURVE, nearest, stretches, strokes, Tail, valueAt, type Curve, type Sample } from "../src/trend/curve";

const BAD = 0x81;
const DOUBT = 0x43;
type Row = [ms: number, value: number, quality?: number];

const curve = (rows: Row[], rest: Partial<Curve> = {}): Curve => ({
  ...NO_CURVE,
  timeMs: Float64Array.from(rows.map((row) => row[0])),
  value: Float64Array.from(rows.map((row) => row[1])),
  quality: Uint8Array.from(rows.map((row) => row[2] ?? 0)),
  ...rest,
});
const sample = (timeMs: number, value: Sample["value"], quality = 0): Sample => ({ timeMs, value, quality });
const pairs = (points: Float64Array): string =>
  Array.from({ length: points.length / 2 }, (_, i) => (Number.isNaN(points[2 * i + 1]!) ? "|" : `${points[2 * i]},${points[2 * i + 1]}`)).join(" ");

describe("where history ends and the present begins", () => {
  const history = curve([[1000, 1], [2000, 2], [3000, 3]], { samples: 3 });

  it("nothing is there twice", () => {
    const both = joined(history, [sample(2000, 2), sample(3000, 3), sample(4000, 4)]);
    expect([...both.timeMs]).toEqual([1000, 2000, 3000, 4000]);
    expect([...both.value]).toEqual([1, 2, 3, 4]);
    expect(both.samples).toBe(4);
  });

  it("a silence that was noticed is a hole until it speaks again", () => {
    const tail = new Tail();
    tail.lose(100);
    tail.take(sample(4000, 4));
    tail.lose(6000);
    tail.lose(7000);
    tail.take(sample(9000, 9));
    const holed = joined(history, tail.after(3000));
    expect([...holed.timeMs]).toEqual([1000, 2000, 3000, 4000, 6001, 9000]);
    expect(holed.quality[4]).toBe(HOLE);
    expect(holed.samples).toBe(5);
    expect(pairs(strokes(holed, false, 9000).sure)).toBe("1000,1 2000,2 3000,3 4000,4");
    expect(pairs(strokes(holed, false, 9000).lone)).toBe("9000,9");
  });

  it("a silence right behind the last sample is one too, whether history has that sample or the tail", () => {
    const tail = new Tail();
    tail.lose(3000);
    tail.take(sample(9000, 9));
    expect(pairs(strokes(joined(history, tail.after(3000)), false, 9000).lone)).toBe("9000,9");
    const other = new Tail();
    other.take(sample(3000, 3));
    other.lose(3000);
    other.take(sample(9000, 9));
    expect([...joined(history, other.after(-Infinity)).timeMs]).toEqual([1000, 2000, 3000, 3001, 9000]);
  });

  it("a hole is none if a sample of before it comes late", () => {
    const tail = new Tail();
    tail.take(sample(4000, 4));
    tail.lose(6000);
    expect(tail.take(sample(5000, 5))).toBe(true);
    expect([...joined(history, tail.after(0)).timeMs]).toEqual([1000, 2000, 3000, 4000, 5000]);
    const ended = curve([[1000, 1], [3500, NaN, HOLE]]);
    expect([...joined(ended, [sample(3000, 3)]).timeMs]).toEqual([1000, 3000]);
    expect([...joined(ended, [sample(9000, 3)]).timeMs]).toEqual([1000, 3500, 9000]);
  });

  it("is right after an answer that already has some of the tail, and after one without samples", () => {
    const tail = new Tail();
    for (let t = 1000; t <= 9000; t += 1000) tail.take(sample(t, t));
    expect(tail.take(sample(9000, 7))).toBe(false);
    for (const known of [0, 3, 9]) {
      const rows: Row[] = Array.from({ length: known }, (_, i) => [1000 * (i + 1), 1000 * (i + 1)]);
      expect([...joined(curve(rows), tail.after(-Infinity)).timeMs]).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9].map((i) => 1000 * i));
    }
    tail.forget(5000);
    expect(tail.after(-Infinity).length).toBe(5);
    expect(tail.after(7000).map((one) => one.timeMs)).toEqual([8000, 9000]);
  });

  it("keeps texts and wide integers as they are", () => {
    const texts = joined(curve([[1, 0]], { texts: ["an"] }), [sample(2, "aus"), sample(3, "an")]);
    expect([0, 1, 2].map((row) => valueAt(texts, row, "text"))).toEqual(["an", "aus", "an"]);
    const wide = joined(curve([[1, 5]]), [sample(2, "9007199254740993")]);
    expect(valueAt(wide, 1, "integer")).toBe("9007199254740993");
    expect(valueAt(joined(curve([]), [sample(2, true)]), 0, "boolean")).toBe(true);
  });

  it("does not grow without end", () => {
    const tail = new Tail();
    for (let t = 1; t <= Tail.MOST + 5; t++) tail.take(sample(t, t));
    expect(tail.after(-Infinity).length).toBeLessThanOrEqual(Tail.MOST);
    expect(tail.after(-Infinity).at(-1)!.timeMs).toBe(Tail.MOST + 5);
  });
});

describe("a line", () => {
  it("breaks at what is bad, and a sample alone is a point", () => {
    const drawn = strokes(curve([[0, 1], [10, 2], [20, NaN, BAD], [30, 3], [40, NaN, BAD], [50, 4], [60, 5]]), false, 60);
    expect(pairs(drawn.sure)).toBe("0,1 10,2 | 50,4 60,5");
    expect(pairs(drawn.lone)).toBe("30,3");
  });

  it("is apart where it is uncertain", () => {
    const drawn = strokes(curve([[0, 1], [10, 2], [20, 3, DOUBT], [30, 4], [40, 5]]), false, 40);
    expect(pairs(drawn.sure)).toBe("0,1 10,2 | 30,4 40,5");
    expect(pairs(drawn.unsure)).toBe("10,2 20,3 30,4");
  });

  it("comes from the sample before the range, unless there is a hole between", () => {
    const rows: Row[] = [[10, 1], [20, 2]];
    expect(pairs(strokes(curve(rows, { before: sample(0, 7) }), false, 20).sure)).toBe("0,7 10,1 20,2");
    expect(pairs(strokes(curve([[5, NaN, HOLE], ...rows], { before: sample(0, 7) }), false, 20).sure)).toBe("10,1 20,2");
    expect(pairs(strokes(curve(rows, { before: sample(0, null, BAD) }), false, 20).sure)).toBe("10,1 20,2");
  });

  it("that steps holds to the next, to a break, and to where it is known; no further", () => {
    const rows: Row[] = [[0, 1], [10, 2], [20, NaN, BAD], [30, 3]];
    const drawn = strokes(curve(rows, { isHeld: true }), true, 35);
    expect(pairs(drawn.sure)).toBe("0,1 10,1 10,2 20,2 | 30,3 35,3");
    expect(pairs(strokes(curve([[0, 1]]), true, 0).sure)).toBe("");
    expect(pairs(strokes(curve([[0, 1]]), true, 0).lone)).toBe("0,1");
  });

  it("that is shifted is the same line later", () => {
    expect(pairs(strokes(curve([[0, 1], [10, 2]]), false, 10, 1000).sure)).toBe("1000,1 1010,2");
  });
});

describe("the points a window needs", () => {
  const points = Float64Array.from([0, 1, 10, 2, 10, NaN, 20, 3, 30, 4]);
  it("are those in it and one on either side", () => {
    expect(pairs(clipped(points, 12, 15))).toBe("| 20,3");
    expect(pairs(clipped(points, 20, 25))).toBe("| 20,3 30,4");
    expect(pairs(clipped(points, -9, 99))).toBe(pairs(points));
    expect(pairs(clipped(points, 40, 50))).toBe("30,4");
    expect(pairs(clipped(new Float64Array(0), 0, 1))).toBe("");
  });
});

describe("what is known when", () => {
  it("holds until the next, and nothing is invented beyond", () => {
    const found = stretches(curve([[10, 0], [20, 1], [30, NaN, BAD], [40, 1], [45, NaN, HOLE], [60, 0]]), 0, 100, 70);
    expect(found.map(({ fromMs, toMs, state }) => [fromMs, toMs, state])).toEqual([
      [0, 10, "none"], [10, 20, "good"], [20, 30, "good"], [30, 40, "bad"], [40, 45, "good"], [45, 60, "none"], [60, 70, "good"], [70, 100, "none"],
    ]);
  });

  it("begins with the sample before the range for as long as one may believe it", () => {
    const found = stretches(curve([[20, NaN, HOLE], [50, 1]], { before: sample(0, 0) }), 10, 60, 60);
    expect(found.map(({ fromMs, toMs, state }) => [fromMs, toMs, state])).toEqual([[10, 20, "good"], [20, 50, "none"], [50, 60, "good"]]);
  });

  it("is one sample for hours when a signal speaks on change", () => {
    const found = stretches(curve([], { before: sample(-5000, 3) }), 0, 100, 80);
    expect(found.map(({ fromMs, toMs, row, state }) => [fromMs, toMs, row, state])).toEqual([[0, 80, -1, "good"], [80, 100, -1, "none"]]);
  });
});

describe("the ruler", () => {
  const rows = curve([[0, 1], [10, 2], [12, NaN, HOLE], [30, 3]]);

  it("snaps to the nearest sample, never to a hole", () => {
    expect([-5, 4, 6, 13, 21, 99].map((ms) => nearest(rows, ms))).toEqual([0, 0, 1, 1, 3, 3]);
    expect(nearest(curve([]), 5)).toBe(-1);
  });

  it("knows what was in force", () => {
    expect([-1, 0, 9, 10, 11, 12, 40].map((ms) => inForce(rows, ms))).toEqual([-1, 0, 0, 1, 1, 2, 3]);
  });
});

describe("the height of a line", () => {
  it("is that of what is seen, with where it comes from and goes to", () => {
    const rows = curve([[0, 100], [10, 1], [20, 5], [30, NaN, BAD], [40, -50], [50, -200]]);
    expect(extent(rows, 12, 25)).toEqual([1, 5]);
    expect(extent(rows, 0, 50)).toEqual([-200, 100]);
    expect(extent(curve([[0, NaN, BAD]]), 0, 1)).toBeNull();
    expect(extent(curve([], { before: sample(0, 7), isHeld: true }), 5, 6)).toEqual([7, 7]);
  });
});
