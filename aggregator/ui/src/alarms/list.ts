// The alarm list without its looks: what a line says, which lines are wanted, in which order.

import type { Plain } from "../live";

export type AcknowledgeState = "none" | "waiting" | "taken" | "done";

/** One occurrence, as the API tells it. */
export interface Alarm {
  gateway: string;
  gateway_name: string;
  site: string;
  zone: string;
  area: string;
  source: string;
  message: string;
  number: number;
  occurrence_us: number;
  priority: number;
  text: string;
  signal: string;
  signal_name: string;
  unit: string;
  value: Plain;
  raised_us: number;
  ended_us: number | null;
  is_standing: boolean;
  acknowledged_us: number | null;
  acknowledged_by: string;
  acknowledged_name: string;
  acknowledge_state: AcknowledgeState;
  acknowledge_text: string;
  comment: string;
  can_acknowledge: boolean;
  why_not: string | null;
}

export interface Filter {
  words: string;
  priorities: ReadonlySet<number>;
  gateway: string;
  onlyOpen: boolean;
}

export type Order = "urgent" | "newest";

export const NO_FILTER: Filter = { words: "", priorities: new Set(), gateway: "", onlyOpen: false };

export const keyOf = (alarm: Alarm): string =>
  `${alarm.gateway}\u0000${alarm.source}\u0000${alarm.message}\u0000${alarm.occurrence_us}`;

/** Whether somebody still has to say that he has seen it. */
export const isOpen = (alarm: Alarm): boolean => alarm.can_acknowledge || (alarm.acknowledge_state === "none" && alarm.why_not === "no_right");

/** Whether a line is wanted; every word must be found somewhere in it. */
export function matches(alarm: Alarm, filter: Filter): boolean {
  if (filter.priorities.size && !filter.priorities.has(Math.min(4, alarm.priority))) return false;
  if (filter.gateway && alarm.gateway !== filter.gateway) return false;
  if (filter.onlyOpen && !isOpen(alarm)) return false;
  const words = filter.words.toLocaleLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return true;
  const text = [
    alarm.text, alarm.message, alarm.gateway, alarm.gateway_name, alarm.site, alarm.area, alarm.signal, alarm.signal_name,
    alarm.comment, alarm.acknowledged_by, alarm.acknowledged_name, String(alarm.number),
  ].join(" ").toLocaleLowerCase();
  return words.every((word) => text.includes(word));
}

/** Lines in order: what nobody has seen first, then by priority, then the newest; or simply the newest. */
export function ordered(alarms: readonly Alarm[], order: Order): Alarm[] {
  const newest = (a: Alarm, b: Alarm): number => b.raised_us - a.raised_us;
  if (order === "newest") return [...alarms].sort(newest);
  return [...alarms].sort(
    (a, b) => Number(isOpen(b)) - Number(isOpen(a)) || Number(b.is_standing) - Number(a.is_standing) || a.priority - b.priority || newest(a, b),
  );
}

/** The view as the address bar keeps it. */
export interface View {
  history: boolean;
  filter: Filter;
  order: Order;
  days: number;
  state: string;
}

export const DAYS = [1, 7, 30, 365] as const;
export const STATES = ["", "standing", "over", "acknowledged", "unacknowledged"] as const;

export function viewOf(address: string): View {
  const asked = new URLSearchParams(address);
  const days = Number(asked.get("days"));
  const state = asked.get("state") ?? "";
  return {
    history: asked.get("view") === "history",
    filter: {
      words: asked.get("q") ?? "",
      priorities: new Set((asked.get("p") ?? "").split("").map(Number).filter((one) => one >= 1 && one <= 4)),
      gateway: asked.get("g") ?? "",
      onlyOpen: asked.get("open") === "1",
    },
    order: asked.get("order") === "newest" ? "newest" : "urgent",
    days: (DAYS as readonly number[]).includes(days) ? days : 7,
    state: (STATES as readonly string[]).includes(state) ? state : "",
  };
}

export function addressOf(view: View): string {
  const said = new URLSearchParams();
  if (view.history) said.set("view", "history");
  if (view.filter.words) said.set("q", view.filter.words);
  if (view.filter.priorities.size) said.set("p", [...view.filter.priorities].sort().join(""));
  if (view.filter.gateway) said.set("g", view.filter.gateway);
  if (view.filter.onlyOpen) said.set("open", "1");
  if (view.order !== "urgent") said.set("order", view.order);
  if (view.history && view.days !== 7) said.set("days", String(view.days));
  if (view.history && view.state) said.set("state", view.state);
  const text = said.toString();
  return text ? `?${text}` : "";
}
