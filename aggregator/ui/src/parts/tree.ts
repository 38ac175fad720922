// Signals as a tree of site, gateway and group, and the rows of it that are to be seen. No DOM.

import type { Gateway, Signal } from "../plant";

export interface Branch {
  kind: "site" | "gateway" | "group";
  /** Unique, and stable from one reading to the next. */
  key: string;
  name: string;
  gateway: string;
  level: number;
}

export interface Leaf {
  kind: "signal";
  key: string;
  signal: Signal;
  /** All that a search looks at, in small letters. */
  text: string;
  level: number;
}

interface Limb extends Branch {
  limbs: Limb[];
  leaves: Leaf[];
}

/** One row of the list; `count` signals below a branch pass the filter. */
export type Row =
  | { node: Branch; isOpen: boolean; count: number; index: number }
  | { node: Leaf; index: number };

export interface Wanted {
  words: readonly string[];
  /** Chips that are on: what a signal must be. */
  passes: (signal: Signal) => boolean;
  /** Whether words or chips leave anything out; then branches in which nothing passes are left out too. */
  isNarrowed: boolean;
  isOpen: (key: string) => boolean;
}

export const wordsOf = (text: string): string[] => text.toLocaleLowerCase().split(/\s+/).filter(Boolean);

const small = (...texts: string[]): string => texts.join("\n").toLocaleLowerCase();

/** Sites and gateways by name, groups and signals in the order of their configuration. */
export function treeOf(gateways: readonly Gateway[], signals: readonly Signal[], compare: (a: string, b: string) => number): Limb[] {
  const sites = new Map<string, Limb>();
  const ofGateway = new Map<string, { limb: Limb; gateway: Gateway }>();
  const named = [...gateways].sort((a, b) => compare(a.site, b.site) || compare(a.name || a.id, b.name || b.id) || compare(a.id, b.id));
  for (const gateway of named) {
    let site = sites.get(gateway.site);
    if (!site) sites.set(gateway.site, (site = limb("site", gateway.site, gateway.site, "", 1)));
    const found = limb("gateway", gateway.id, gateway.name || gateway.id, gateway.id, 2);
    site.limbs.push(found);
    ofGateway.set(gateway.id, { limb: found, gateway });
  }
  const groups = new Map<string, Limb>();
  for (const signal of signals) {
    const home = ofGateway.get(signal.gateway);
    if (!home) continue;
    const key = `${signal.gateway} ${signal.group}`;
    const groupName = home.gateway.groups[signal.group] ?? signal.group;
    let group = groups.get(key);
    if (!group) {
      groups.set(key, (group = limb("group", key, groupName, signal.gateway, 3)));
      home.limb.limbs.push(group);
    }
    const text = small(signal.name, signal.uid, signal.unit, groupName, signal.group, home.limb.name, signal.gateway, home.gateway.site);
    group.leaves.push({ kind: "signal", key: `signal ${signal.uid}`, signal, text, level: 4 });
  }
  return [...sites.values()];
}

function limb(kind: Branch["kind"], key: string, name: string, gateway: string, level: number): Limb {
  return { kind, key: `${kind} ${key}`, name, gateway, level, limbs: [], leaves: [] };
}

/** The rows to show, in order, and how many signals pass. */
export function rowsOf(tree: readonly Limb[], wanted: Wanted): { rows: Row[]; count: number } {
  const rows: Row[] = [];

  function walk(branch: Limb, isShown: boolean): number {
    const at = rows.length;
    const isOpen = wanted.isOpen(branch.key);
    const row: Row = { node: branch, isOpen, count: 0, index: at };
    if (isShown) rows.push(row);
    let count = 0;
    for (const inner of branch.limbs) count += walk(inner, isShown && isOpen);
    for (const leaf of branch.leaves) {
      if (!wanted.words.every((word) => leaf.text.includes(word))) continue;
      if (!wanted.passes(leaf.signal)) continue;
      count += 1;
      if (isShown && isOpen) rows.push({ node: leaf, index: rows.length });
    }
    row.count = count;
    return count;
  }

  let count = 0;
  for (const site of tree) count += walk(site, true);
  const kept = wanted.isNarrowed ? rows.filter((row) => !("count" in row) || row.count > 0) : rows;
  kept.forEach((row, index) => (row.index = index));
  return { rows: kept, count };
}

export type Tree = ReturnType<typeof treeOf>;
