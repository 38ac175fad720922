// What somebody typed as a set point: the value to send, or in words why it cannot be. No DOM.

import type { Signal } from "../plant";
import { number, parsed, t } from "../t";

export type Entry = { value: number | string | boolean } | { fault: string };

const unit = (signal: Signal): string => (signal.unit ? ` ${signal.unit}` : "");

/** The value in the signal's type, or what is wrong with it. Gateways check again. */
export function entryOf(signal: Signal, typed: string): Entry {
  if (signal.type === "text") return { value: typed };
  if (signal.type === "boolean")
    return typed === "true" || typed === "false" ? { value: typed === "true" } : { fault: t("write.choose") };
  if (!typed.trim()) return { fault: t("write.empty") };
  const value = parsed(typed);
  if (value === null || !Number.isFinite(value)) return { fault: t("write.number", { text: typed.trim(), example: number(1234.5) }) };
  if (signal.type === "integer" && !Number.isInteger(value)) return { fault: t("write.whole", { value: exact(value) }) };
  if (signal.type === "integer" && !Number.isSafeInteger(value)) return { fault: t("write.huge", { value: exact(value) }) };
  if (signal.low !== null && value < signal.low)
    return { fault: t("write.below", { value: exact(value) + unit(signal), low: number(signal.low) + unit(signal) }) };
  if (signal.high !== null && value > signal.high)
    return { fault: t("write.above", { value: exact(value) + unit(signal), high: number(signal.high) + unit(signal) }) };
  return { value };
}

/** Every digit of a number, in the user's way. */
export const exact = (value: number): string => value.toLocaleString(document.documentElement.lang || "en", { maximumFractionDigits: 20 });

/** What is allowed, in words; empty where anything is. */
export function allowed(signal: Signal): string {
  const low = signal.low === null ? "" : number(signal.low);
  const high = signal.high === null ? "" : number(signal.high);
  const words: string[] = [];
  if (low && high) words.push(t("write.limits", { low, high: high + unit(signal) }));
  else if (low) words.push(t("write.low", { low: low + unit(signal) }));
  else if (high) words.push(t("write.high", { high: high + unit(signal) }));
  if (signal.step !== null) words.push(t("write.steps", { step: number(signal.step) + unit(signal) }));
  return words.join(", ");
}

/** One step up or down from a value, within the limits. */
export function stepped(signal: Signal, from: number, direction: 1 | -1): number {
  const to = Number((from + direction * (signal.step ?? 1)).toPrecision(12));
  return Math.min(signal.high ?? Infinity, Math.max(signal.low ?? -Infinity, to));
}
