// @vitest-environment happy-dom
import { beforeAll, expect, test, vi } from "vitest";

import type { Signal } from "../src/plant";

const target: Signal = {
  uid: "roof.target", gateway: "roof", name: "Sollwert", unit: "°C", type: "float", group: "g", writable: true, low: 20, high: 1500, step: 0.1,
};

let setpoint: typeof import("../src/parts/setpoint");

beforeAll(async () => {
  document.documentElement.lang = "de";
  vi.resetModules();
  setpoint = await import("../src/parts/setpoint");
  await (await import("../src/t")).loadWords();
});

const valueOf = (typed: string, more: Partial<Signal> = {}): unknown => {
  const entry = setpoint.entryOf({ ...target, ...more }, typed);
  return "value" in entry ? entry.value : entry.fault;
};

test("numbers are taken in the user's way of writing", () => {
  expect(valueOf("1.234,5")).toBe(1234.5);
  expect(valueOf(" 65,5 ")).toBe(65.5);
  expect(valueOf("20")).toBe(20);
  expect(valueOf("1500")).toBe(1500);
  expect(valueOf("−5", { low: null })).toBe(-5);
});

test("what is beyond the limits is refused in words before anything is sent", () => {
  expect(valueOf("1.500,1")).toBe("1.500,1 °C liegt über dem größten erlaubten Wert, 1.500 °C.");
  expect(valueOf("19,999999999")).toBe("19,999999999 °C liegt unter dem kleinsten erlaubten Wert, 20 °C.");
});

test("what is no number, nothing, or not whole is refused in words", () => {
  expect(valueOf("warm")).toBe("„warm“ ist keine Zahl; so schreiben: 1.234,5.");
  expect(valueOf("1e999")).toContain("ist keine Zahl");
  expect(valueOf("  ")).toBe("Erst einen Wert eingeben.");
  expect(valueOf("20,5", { type: "integer" })).toContain("nimmt nur ganze Zahlen");
  expect(valueOf("9007199254740993", { type: "integer", high: null })).toContain("größer, als ein Browser");
});

test("a switch takes one of two, a text takes anything", () => {
  expect(valueOf("true", { type: "boolean" })).toBe(true);
  expect(valueOf("false", { type: "boolean" })).toBe(false);
  expect(valueOf("", { type: "boolean" })).toBe("Erst eines von beiden wählen.");
  expect(valueOf(" 12 ", { type: "text" })).toBe(" 12 ");
});

test("limits and steps are told together", () => {
  expect(setpoint.allowed(target)).toBe("erlaubt 20 bis 1.500 °C, in Schritten von 0,1 °C");
  expect(setpoint.allowed({ ...target, low: null, high: null, step: null })).toBe("");
});

test("steps add up without rests and end at the limits", () => {
  let at = 20;
  for (let i = 0; i < 3; i += 1) at = setpoint.stepped(target, at, 1);
  expect(at).toBe(20.3);
  expect(setpoint.stepped(target, 20.05, -1)).toBe(20);
  expect(setpoint.stepped(target, 1500, 1)).toBe(1500);
});
