// Choosing signals: a dialog that searches all there are, by words, gateway and group.

import { html, nothing, type TemplateResult } from "lit";
import { customElement, query, state } from "lit/decorators.js";
import { repeat } from "lit/directives/repeat.js";

import { Element } from "../element";
import { plant, type Signal } from "../plant";
import { number, t } from "../t";
import { PICKS_MAX } from "./address";

const SHOWN = 200;
const RECENT = "feldwarte-trend-recent";
const RECENT_MOST = 12;

/** Signals in whose names, group or gateway all words are found. */
export function found(signals: readonly Signal[], words: string, gateway: string, textOf: (signal: Signal) => string): Signal[] {
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
  return signals.filter((one) => {
    if (gateway && one.gateway !== gateway) return false;
    if (!wanted.length) return true;
    const text = textOf(one);
    return wanted.every((word) => text.includes(word));
  });
}

/** What was drawn lately, newest first; kept in this browser. */
export function recent(): string[] {
  try {
    const kept = JSON.parse(localStorage.getItem(RECENT) ?? "[]") as unknown;
    return Array.isArray(kept) ? kept.filter((one) => typeof one === "string").slice(0, RECENT_MOST) : [];
  } catch {
    return []; // storage is switched off, or not ours
  }
}

export function remember(uids: readonly string[]): void {
  try {
    localStorage.setItem(RECENT, JSON.stringify([...new Set([...uids, ...recent()])].slice(0, RECENT_MOST)));
  } catch {
    // storage is switched off
  }
}

@customElement("fw-picker")
export class Picker extends Element {
  @state() private chosen = new Set<string>();
  @state() private isOpen = false;
  @state() private words = "";
  @state() private gateway = "";
  @state() private most = SHOWN;
  @query("dialog") private dialog!: HTMLDialogElement;
  @query("input[type=search]") private search!: HTMLInputElement;
  #before: readonly string[] = [];
  #texts = new Map<string, string>();
  #textsOf: readonly Signal[] = [];

  /** Ask; what is chosen follows as the event `picked`, with the uids. */
  async open(chosen: readonly string[]): Promise<void> {
    this.#before = chosen;
    this.chosen = new Set(chosen);
    this.words = "";
    this.most = SHOWN;
    this.isOpen = true;
    await this.updateComplete;
    this.dialog.showModal();
    this.search.focus();
  }

  readonly #text = (one: Signal): string => {
    if (this.#textsOf !== plant.signals) {
      this.#textsOf = plant.signals;
      this.#texts.clear();
    }
    let text = this.#texts.get(one.uid);
    if (text === undefined) {
      text = `${one.name} ${one.uid} ${one.unit} ${this.#groupName(one)} ${plant.nameOfGateway(one.gateway)}`.toLowerCase();
      this.#texts.set(one.uid, text);
    }
    return text;
  };

  #groupName(one: Signal): string {
    return plant.gatewayOf.get(one.gateway)?.groups[one.group] || one.group;
  }

  override render(): TemplateResult {
    return html`<dialog class="picker" aria-labelledby="picker-title" @close=${() => (this.isOpen = false)}>
      <form method="dialog" @submit=${this.#done}>
        <h2 id="picker-title">${t("trend.pick.title")}</h2>
        <div class="row">
          <label class="field wide"
            ><span class="hidden">${t("trend.pick.search")}</span>
            <input type="search" autocomplete="off" spellcheck="false" placeholder=${t("trend.pick.search")} .value=${this.words} @input=${this.#typed} />
          </label>
          <label class="field"
            ><span class="hidden">${t("trend.pick.gateway")}</span>
            <select @change=${this.#filtered}>
              <option value="">${t("trend.pick.all")}</option>
              ${plant.gateways.map((one) => html`<option value=${one.id} ?selected=${one.id === this.gateway}>${one.name || one.id}</option>`)}
            </select>
          </label>
        </div>
        ${this.isOpen ? this.#list() : nothing}
        <div class="row end">
          <span class="count quiet" aria-live="polite">${t("trend.pick.count", { count: number(this.chosen.size) })}</span>
          <button type="button" class="button" @click=${() => this.dialog.close()}>${t("trend.cancel")}</button>
          <button class="button primary" ?disabled=${this.chosen.size > PICKS_MAX}>${t("trend.pick.show")}</button>
        </div>
      </form>
    </dialog>`;
  }

  #list(): TemplateResult {
    const all = found(plant.signals, this.words, this.gateway, this.#text);
    const isPlain = !this.words && !this.gateway;
    const first = isPlain ? [...new Set([...this.#before, ...recent()])].map((uid) => plant.signalOf.get(uid)).filter((one) => one !== undefined) : [];
    const shown = all.slice(0, this.most);
    let group = "";
    return html`<div class="found" tabindex="-1">
      ${first.length ? html`<h3>${t("trend.pick.recent")}</h3>${first.map((one) => this.#line(one))}` : nothing}
      ${repeat(
        shown,
        (one) => one.uid,
        (one) => {
          const name = `${plant.nameOfGateway(one.gateway)} · ${this.#groupName(one)}`;
          const head = name === group ? nothing : html`<h3>${name}</h3>`;
          group = name;
          return html`${head}${this.#line(one)}`;
        },
      )}
      ${all.length > this.most
        ? html`<button type="button" class="button" @click=${() => (this.most += SHOWN)}>${t("trend.pick.more", { count: number(all.length - this.most) })}</button>`
        : nothing}
      ${all.length ? nothing : html`<p class="quiet">${t("trend.pick.none")}</p>`}
    </div>`;
  }

  #line(one: Signal): TemplateResult {
    return html`<label class="choice">
      <input type="checkbox" .checked=${this.chosen.has(one.uid)} @change=${(event: Event) => this.#choose(one.uid, (event.target as HTMLInputElement).checked)} />
      <span class="name">${one.name || one.uid}${one.name && one.name !== one.uid ? html` <span class="quiet">${one.uid}</span>` : nothing}</span>
      <span class="unit quiet">${one.unit || t(`trend.kind.${one.type}`)}</span>
    </label>`;
  }

  #choose(uid: string, isChosen: boolean): void {
    if (isChosen) this.chosen.add(uid);
    else this.chosen.delete(uid);
    this.requestUpdate();
  }

  readonly #typed = (event: Event): void => {
    this.words = (event.target as HTMLInputElement).value;
    this.most = SHOWN;
  };

  readonly #filtered = (event: Event): void => {
    this.gateway = (event.target as HTMLSelectElement).value;
    this.most = SHOWN;
  };

  readonly #done = (): void => {
    const uids = [...this.chosen];
    remember(uids.filter((uid) => !this.#before.includes(uid)));
    this.say("picked", uids);
  };
}
