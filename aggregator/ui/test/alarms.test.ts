import { expect, test } from "vitest";

import { addressOf, matches, NO_FILTER, ordered, viewOf, type Alarm } from "../src/alarms/list";

const alarm = (more: Partial<Alarm>): Alarm => ({
  gateway: "g1", gateway_name: "Heizung", site: "Nord", zone: "UTC", area: "", source: "user", message: "m", number: 1,
  occurrence_us: 1, priority: 3, text: "Kessel zu heiß", signal: "s", signal_name: "Vorlauf", unit: "°C", value: 91,
  raised_us: 10, ended_us: null, is_standing: true, acknowledged_us: null, acknowledged_by: "", acknowledged_name: "",
  acknowledge_state: "none", acknowledge_text: "", comment: "", can_acknowledge: true, why_not: null, ...more,
});

test("what nobody has seen stands first, then priority, then the newest", () => {
  const seen = alarm({ message: "seen", priority: 1, raised_us: 99, can_acknowledge: false, acknowledge_state: "done" });
  const over = alarm({ message: "over", priority: 1, is_standing: false });
  const low = alarm({ message: "low", priority: 4, raised_us: 50 });
  const old = alarm({ message: "old", priority: 2, raised_us: 5 });
  const young = alarm({ message: "young", priority: 2, raised_us: 6 });
  const names = (list: Alarm[]): string[] => list.map((one) => one.message);
  expect(names(ordered([seen, over, low, old, young], "urgent"))).toEqual(["young", "old", "low", "over", "seen"]);
  expect(names(ordered([old, seen, low], "newest"))).toEqual(["seen", "low", "old"]);
});

test("one who may not acknowledge still sees what is open first", () => {
  const open = alarm({ message: "open", priority: 4, can_acknowledge: false, why_not: "no_right" });
  const done = alarm({ message: "done", priority: 1, can_acknowledge: false, acknowledge_state: "done" });
  expect(ordered([done, open], "urgent")[0]?.message).toBe("open");
});

test.each([
  ["kessel HEIZUNG", true],
  ["vorlauf nord", true],
  ["kessel süd", false],
])("the words %s are found in any order and case: %s", (words, found) =>
  expect(matches(alarm({}), { ...NO_FILTER, words })).toBe(found),
);

test("priorities beyond four count as four", () =>
  expect(matches(alarm({ priority: 9 }), { ...NO_FILTER, priorities: new Set([4]) })).toBe(true));

test("a view comes back out of its address", () => {
  const view = viewOf("?view=history&q=heiß 1&p=13&g=g1&open=1&order=newest&days=30&state=over");
  expect(viewOf(addressOf(view))).toEqual(view);
  expect(addressOf(viewOf(""))).toBe("");
});

test("an address that somebody bent gives a plain view", () =>
  expect(addressOf(viewOf("?view=x&p=09z&days=-5&state=<b>&order=q"))).toBe(""));
