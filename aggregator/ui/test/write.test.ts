// @vitest-environment happy-dom
import { afterEach, beforeAll, beforeEach, expect, test, vi } from "vitest";

import type { Shown } from "../src/live";
import { attemptWords, Writes, type Attempt } from "../src/parts/write";
import type { Signal } from "../src/plant";
import { loadWords } from "../src/t";

const NOW_MS = Date.UTC(2026, 10, 21, 12, 0, 0);
const target: Signal = {
  uid: "roof.target", gateway: "roof", name: "Target", unit: "°C", type: "float", group: "g", writable: true, low: 20, high: 90, step: 0.1,
};
const shown = (value: Shown["value"], ageMs: number, state: Shown["state"] = "good"): Shown => ({
  value, quality: 0, timeUs: (NOW_MS - ageMs) * 1000, state,
});
const attempt = (more: Partial<Attempt> = {}): Attempt => ({
  value: 65.5, outcome: "done", text: "", sentMs: NOW_MS - 5000, endedMs: NOW_MS - 4000, ...more,
});

beforeAll(loadWords);
beforeEach(() => {
  vi.useFakeTimers();
  vi.setSystemTime(NOW_MS);
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

test("while it waits, the time since it was sent is told", () => {
  expect(attemptWords(attempt({ outcome: "sending", endedMs: null }), shown(60, 9000), target)).toBe("65.5 °C sent, waiting for the gateway … 5 s");
});

test("confirmed is only what a later reading shows", () => {
  expect(attemptWords(attempt(), shown(65.5, 9000), target)).toBe("65.5 °C written");
  expect(attemptWords(attempt(), shown(65.5, 1000, "bad"), target)).toBe("65.5 °C written");
  expect(attemptWords(attempt(), shown(65.5, 1000), target)).toMatch(/^65\.5 °C confirmed at /);
  expect(attemptWords(attempt(), shown(60, 1000), target)).toBe("65.5 °C written, now reads 60 °C");
});

test("what differs by less than half a step is the same", () => {
  expect(attemptWords(attempt(), shown(65.54, 1000), target)).toMatch(/confirmed/);
  expect(attemptWords(attempt(), shown(65.6, 1000), target)).toMatch(/now reads 65\.6 °C/);
  expect(attemptWords(attempt({ value: true }), shown(false, 1000), { ...target, type: "boolean", unit: "" })).toBe("on written, now reads off");
});

test("a refusal is told with its reason, no answer as not known", () => {
  expect(attemptWords(attempt({ outcome: "refused", text: "locked on site" }), shown(60, 1000), target)).toBe("Refused. locked on site");
  expect(attemptWords(attempt({ outcome: "no_answer" }), shown(60, 1000), target)).toBe("No answer. Whether it was written is not known.");
});

const answering = (status: number, body: unknown) => vi.fn(async () => new Response(JSON.stringify(body), { status }));

test("each outcome is kept as the server tells it, and forgotten when it is no news any more", async () => {
  const writes = new Writes();
  vi.stubGlobal("fetch", answering(409, { outcome: "refused", text: "locked" }));
  await writes.send("roof.target", 65.5);
  expect(writes.of("roof.target")).toMatchObject({ value: 65.5, outcome: "refused", text: "locked" });
  vi.setSystemTime(NOW_MS + 599_000);
  expect(writes.of("roof.target")).toBeDefined();
  vi.setSystemTime(NOW_MS + 601_000);
  expect(writes.of("roof.target")).toBeUndefined();
});

test("a right that is missing means that nothing was sent; a broken line that nothing is known", async () => {
  const writes = new Writes();
  vi.stubGlobal("fetch", answering(403, { error: { text: "The right 'command' is missing." } }));
  expect(await writes.send("a", 1)).toMatchObject({ outcome: "unsent", text: "The right 'command' is missing." });
  vi.stubGlobal("fetch", vi.fn(async () => Promise.reject(new TypeError("Failed to fetch"))));
  expect(await writes.send("a", 1)).toMatchObject({ outcome: "unknown", text: "" });
  vi.stubGlobal("fetch", vi.fn(async () => new Response("<html>Bad gateway</html>", { status: 502 })));
  expect(await writes.send("a", 1)).toMatchObject({ outcome: "unknown" });
});
