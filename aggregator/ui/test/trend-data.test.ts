import { describe, expect, it } from "vitest";

import { curvesOf } from "../src/trend/data";

/** Bytes as docs/history-api.md draws them, built by hand. */
function bytes(signals: { told: object; time: number[]; values: number[]; quality: number[] }[]): ArrayBuffer {
  const pad = (n: number) => Math.ceil(n / 8) * 8;
  let size = 0;
  const said = signals.map(({ told, time }) => {
    const at = { time: size, values: size + 8 * time.length, quality: size + 16 * time.length };
    size += 16 * time.length + pad(time.length);
    return { coarse_us: 0, samples: time.length, is_reduced: false, is_held: false, before: null, missing: [], texts: [], exact: [], count: time.length, ...told, at };
  });
  const head = new TextEncoder().encode(JSON.stringify({ from_us: 0, to_us: 1, points: 8, signals: said }));
  const buffer = new ArrayBuffer(8 + pad(head.length) + size);
  const all = new Uint8Array(buffer).fill(32, 8, 8 + pad(head.length));
  all.set(new TextEncoder().encode("FWT1"));
  new DataView(buffer).setUint32(4, pad(head.length), true);
  all.set(head, 8);
  const view = new DataView(buffer);
  let at = 8 + pad(head.length);
  for (const { time, values, quality } of signals) {
    time.forEach((one, i) => view.setFloat64(at + 8 * i, one, true));
    values.forEach((one, i) => view.setFloat64(at + 8 * (time.length + i), one, true));
    quality.forEach((one, i) => view.setUint8(at + 16 * time.length + i, one));
    at += 16 * time.length + pad(time.length);
  }
  return buffer;
}

describe("the answer's bytes", () => {
  it("are read signal by signal, whatever their lengths", () => {
    const found = curvesOf(
      bytes([
        { told: { uid: "a", is_held: true, before: [500, "ü", 67], texts: ["x", "ä"], missing: [{ from_us: 1000, to_us: 2000, reason: "damaged" }] }, time: [1.5, 2.5, 3], values: [0, 1, NaN], quality: [0, 67, 255] },
        { told: { uid: "none" }, time: [], values: [], quality: [] },
        { told: { uid: "b", samples: 9, is_reduced: true, coarse_us: 2500, exact: [[0, "9007199254740993"]] }, time: [7], values: [9007199254740992], quality: [129] },
      ]),
    );
    const [a, none, b] = [found.get("a")!, found.get("none")!, found.get("b")!];
    expect([...a.timeMs, ...a.value, ...a.quality]).toEqual([1.5, 2.5, 3, 0, 1, NaN, 0, 67, 255]);
    expect(a.before).toEqual({ timeMs: 0.5, value: "ü", quality: 67 });
    expect(a.missing).toEqual([{ fromMs: 1, toMs: 2, reason: "damaged" }]);
    expect(a.isHeld).toBe(true);
    expect(none.timeMs.length).toBe(0);
    expect([b.value[0], b.quality[0], b.coarseMs, b.isReduced, b.exact.get(0)]).toEqual([9007199254740992, 129, 2.5, true, "9007199254740993"]);
  });

  it("that are something else are refused", () => {
    expect(() => curvesOf(new TextEncoder().encode("<html>…").buffer as ArrayBuffer)).toThrow("not with FWT1");
  });
});
