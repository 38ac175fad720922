// @vitest-environment happy-dom
import { describe, expect, test, vi } from "vitest";

async function german(): Promise<typeof import("../src/t")> {
  document.documentElement.lang = "de";
  vi.resetModules();
  const words = await import("../src/t");
  await words.loadWords();
  return words;
}

describe("numbers as a German operator types them", () => {
  test.each([
    ["1.234,5", 1234.5],
    ["20,5", 20.5],
    ["-3", -3],
    ["\u22123", -3],
    ["1.234.567", 1234567],
    ["12 000", 12000],
    ["1e3", 1000],
  ])("%s is %d", async (text, value) => expect((await german()).parsed(text)).toBe(value));

  test.each(["", "abc", "1,2,3", "--1", "12a", "1.2.3,4"])("%s is no number", async (text) =>
    expect((await german()).parsed(text)).toBeNull(),
  );

  test("a point between digits that are no thousands is the decimal sign of a keypad", async () =>
    expect((await german()).parsed("20.5")).toBe(20.5));
});

test("words come in the language of the page, with their blanks filled", async () => {
  const { t } = await german();
  expect(t("strip.unacknowledged", { count: 3 })).toBe("3 nicht quittiert");
  expect(t("no.such.word")).toBe("no.such.word");
});

test("times are told in the zone of the site, the day only where it is not today", async () => {
  const { moment } = await german();
  const noon = Date.UTC(2026, 6, 1, 12) * 1000;
  expect(moment(noon, "Europe/Berlin", noon / 1000)).toBe("14:00:00");
  expect(moment(noon, "Europe/Berlin", noon / 1000 + 86_400_000)).toContain("01.07");
});
