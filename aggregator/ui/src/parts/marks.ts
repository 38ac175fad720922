// How states look everywhere: a shape, a word, a colour; never a colour alone.

import { html, nothing, type TemplateResult } from "lit";

import type { Presence, Shown, State } from "../live";
import type { Signal } from "../plant";
import { has, number, t } from "../t";

export const STATE_SHAPES: Record<State, string> = { good: "●", uncertain: "▲", bad: "✖", stale: "▨", none: "○" };
export const PRIORITY_SHAPES: Record<number, string> = { 1: "■", 2: "▲", 3: "◆", 4: "●" };
const PRESENCE_SHAPES: Record<Presence, string> = { online: "●", silent: "✖", lost: "✖", unknown: "○" };

/** A value as text; `–` where there is none. */
export function written(value: Shown["value"]): string {
  if (value === null) return "–";
  if (typeof value === "boolean") return t(`value.${value}`);
  return typeof value === "number" ? number(value) : value;
}

const QUALITIES = new Map<number, string>();

/** Codes and names of qualities, once, from the page. */
export function learnQualities(names: Record<string, string>): void {
  for (const [code, name] of Object.entries(names)) QUALITIES.set(Number(code), name);
}

/** The word for how a value is. */
export function qualityWord(shown: Shown): string {
  if (shown.state === "stale" || shown.state === "none") return t(`state.${shown.state}`);
  return qualityName(shown.quality);
}

/** The word for a quality code; that of its family for one we do not know. */
export function qualityName(code: number): string {
  const family = code >= 128 ? "BAD" : code >= 64 ? "UNCERTAIN" : "GOOD";
  const name = QUALITIES.get(code) ?? family;
  return t(has(`quality.${name}`) ? `quality.${name}` : `quality.${family}`);
}

export const qualityMark = (shown: Shown): TemplateResult => html`<span class="quality" data-state=${shown.state}
  ><span class="shape" aria-hidden="true">${STATE_SHAPES[shown.state]}</span> ${qualityWord(shown)}</span
>`;

export const valueMark = (shown: Shown, signal?: Signal): TemplateResult => html`<span class="value" data-state=${shown.state}
  ><span class="figure">${written(shown.value)}</span>${signal?.unit ? html` <span class="unit">${signal.unit}</span>` : nothing}</span
>`;

export const priorityMark = (priority: number): TemplateResult => html`<span
  class="priority"
  data-priority=${priority in PRIORITY_SHAPES ? priority : 4}
  ><span aria-hidden="true">${PRIORITY_SHAPES[priority] ?? "●"}</span> ${priority}<span class="hidden"> ${t("alarms.priority")}</span></span
>`;

export const presenceMark = (presence: Presence, since: string): TemplateResult => html`<span
  class="presence"
  data-presence=${presence}
  ><span class="shape" aria-hidden="true">${PRESENCE_SHAPES[presence]}</span> ${since
    ? t("presence.since", { state: t(`presence.${presence}`), time: since })
    : t(`presence.${presence}`)}</span
>`;
