import { expect, test } from "vitest";

import { rowsOf, treeOf, wordsOf, type Row, type Wanted } from "../src/parts/tree";
import type { Gateway, Signal } from "../src/plant";

const gateway = (id: string, name: string, site: string): Gateway => ({
  id, name, site, zone: "UTC", program: "", groups: { [`${id}.fast`]: "Temperaturen" },
});
const signal = (uid: string, of: string, name: string, more: Partial<Signal> = {}): Signal => ({
  uid, gateway: of, name, unit: "°C", type: "float", group: `${of}.fast`, writable: false, low: null, high: null, step: null, ...more,
});

const gateways = [gateway("roof", "Solarkreis Dach", "Haus am Feld"), gateway("cellar", "", "Haus am Feld"), gateway("mill", "Mühle", "Am Bach")];
const signals = [
  signal("roof.collector", "roof", "Kollektor"),
  signal("roof.target", "roof", "Sollwert Speicher", { writable: true, group: "roof.slow" }),
  signal("cellar.tank", "cellar", "Speicher oben"),
  signal("lost.one", "nobody", "von keinem Gateway"),
];
const tree = treeOf(gateways, signals, (a, b) => a.localeCompare(b));
const all: Wanted = { words: [], passes: () => true, isNarrowed: false, isOpen: () => true };
const said = (rows: readonly Row[]): string[] => rows.map((row) => ("count" in row ? `${row.node.name} (${row.count})` : row.node.signal.uid));
const found = (search: string): string[] =>
  rowsOf(tree, { ...all, words: wordsOf(search), isNarrowed: true }).rows.flatMap((row) => ("count" in row ? [] : [row.node.signal.uid]));

test("sites and gateways stand by name, a gateway without signals too", () => {
  const { rows, count } = rowsOf(tree, all);
  expect(count).toBe(3);
  expect(said(rows)).toEqual([
    "Am Bach (0)", "Mühle (0)",
    "Haus am Feld (3)", "cellar (1)", "Temperaturen (1)", "cellar.tank",
    "Solarkreis Dach (2)", "Temperaturen (1)", "roof.collector", "roof.slow (1)", "roof.target",
  ]);
  expect(rows.map((row) => row.index)).toEqual(rows.map((_, index) => index));
});

test("what is closed counts its signals and hides them", () => {
  const { rows, count } = rowsOf(tree, { ...all, isOpen: (key) => key !== "gateway roof" });
  expect(count).toBe(3);
  expect(said(rows).slice(-1)).toEqual(["Solarkreis Dach (2)"]);
});

test("words are found in any order and wherever they stand", () => {
  expect(found("speicher")).toEqual(["cellar.tank", "roof.target"]);
  expect(found("DACH sollwert")).toEqual(["roof.target"]);
  expect(found("sollwert dach")).toEqual(["roof.target"]);
  expect(found("temperaturen feld °c")).toEqual(["cellar.tank", "roof.collector"]);
  expect(found("roof.coll")).toEqual(["roof.collector"]);
  expect(found("speicher mühle")).toEqual([]);
});

test("a search leaves out branches in which nothing is found", () => {
  const { rows } = rowsOf(tree, { ...all, words: ["kollektor"], isNarrowed: true });
  expect(said(rows)).toEqual(["Haus am Feld (1)", "Solarkreis Dach (1)", "Temperaturen (1)", "roof.collector"]);
  expect(rows.map((row) => row.index)).toEqual([0, 1, 2, 3]);
});

test("a chip and words hold together", () => {
  const { count } = rowsOf(tree, { ...all, words: ["speicher"], passes: (one) => one.writable, isNarrowed: true });
  expect(count).toBe(1);
});
