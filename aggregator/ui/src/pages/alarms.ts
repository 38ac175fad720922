// Alarms: what stands or waits now, and what was. Acknowledging takes one click; a comment is a choice.

import "./alarms.css";

import { html, nothing, type TemplateResult } from "lit";
import { customElement, state } from "lit/decorators.js";
import { repeat } from "lit/directives/repeat.js";

import { addressOf, DAYS, isOpen, keyOf, matches, NO_FILTER, ordered, STATES, viewOf, type Alarm, type View } from "../alarms/list";
import { get } from "../api";
import { Element } from "../element";
import { live, LiveController } from "../live";
import { acknowledge, remark } from "../parts/acknowledge";
import { empty } from "../parts/empty";
import { priorityMark, written } from "../parts/marks";
import { plant } from "../plant";
import { fullMoment, has, moment, number, t } from "../t";

const READ_PAUSE_MS = 300;
const PAGE = 200;
const TYPED_MS = 250;

@customElement("fw-alarms")
export class AlarmsPage extends Element {
  @state() private view: View = viewOf(location.search);
  @state() private alarms: readonly Alarm[] | null = null;
  @state() private more: string | null = null;
  @state() private trouble = "";
  @state() private said = "";
  @state() private asked: readonly Alarm[] = [];
  #version = -1;
  #readMs = 0;
  #timer = 0;
  #reading: AbortController | null = null;

  constructor() {
    super();
    new LiveController(this, () => [], (change) => change.alarms || change.structure || change.gateways);
  }

  override connectedCallback(): void {
    super.connectedCallback();
    this.#stop = live.listen(() => this.#follow());
    window.addEventListener("popstate", this.#back);
    void this.#read();
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.#stop();
    window.removeEventListener("popstate", this.#back);
    clearTimeout(this.#timer);
    this.#reading?.abort();
  }

  #stop: () => void = () => {};

  // --- Reading ----------------------------------------------------------------------------------

  /** The list changed at the centre: read it again, at most three times a second. */
  #follow(): void {
    if (this.view.history || live.alarms === this.#version || this.#timer) return;
    const wait = Math.max(0, this.#readMs + READ_PAUSE_MS - performance.now());
    this.#timer = window.setTimeout(() => {
      this.#timer = 0;
      void this.#read();
    }, wait);
  }

  async #read(after = ""): Promise<void> {
    this.#reading?.abort();
    const reading = (this.#reading = new AbortController());
    const version = live.alarms;
    this.#readMs = performance.now();
    try {
      if (this.view.history) {
        const said = await get<{ alarms: Alarm[]; more: string | null }>(this.#historyAddress(after), reading.signal);
        this.alarms = after ? [...(this.alarms ?? []), ...said.alarms] : said.alarms;
        this.more = said.more;
      } else {
        this.alarms = await get<Alarm[]>("/api/v1/alarms", reading.signal);
        this.more = null;
      }
      this.#version = version;
      this.trouble = "";
    } catch (error) {
      if ((error as Error).name === "AbortError") return;
      this.trouble = t("alarms.unread", { text: (error as Error).message });
      this.#version = -1;
    }
  }

  #historyAddress(after = "", format = ""): string {
    const { filter, days, state } = this.view;
    const asked = new URLSearchParams({ from: `-${days}d` });
    if (filter.words) asked.set("search", filter.words);
    if (filter.gateway) asked.set("gateway", filter.gateway);
    const [priority] = filter.priorities;
    if (priority !== undefined) asked.set("priority", String(priority));
    if (state) asked.set("state", state);
    if (format) asked.set("format", format);
    else asked.set("limit", String(PAGE));
    if (after) asked.set("after", after);
    return `/api/v1/alarms/history?${asked.toString()}`;
  }

  #show(change: Partial<View>, wait = 0): void {
    const view = { ...this.view, ...change };
    const isOther = view.history !== this.view.history;
    this.view = view;
    history.replaceState(null, "", `${location.pathname}${addressOf(view)}`);
    if (isOther) this.alarms = null;
    if (!isOther && !view.history) return;
    clearTimeout(this.#timer);
    this.#timer = window.setTimeout(() => {
      this.#timer = 0;
      void this.#read();
    }, wait);
  }

  readonly #back = (): void => {
    this.view = viewOf(location.search);
    void this.#read();
  };

  // --- Acknowledging ----------------------------------------------------------------------------

  async #acknowledge(alarms: readonly Alarm[], comment = ""): Promise<void> {
    const wanted = alarms.filter((one) => one.can_acknowledge);
    if (!wanted.length) return;
    try {
      const found = await acknowledge(wanted, comment);
      this.said = remark(found, wanted[0]?.zone) || t("alarms.noted", { count: number(found.filter((one) => one.outcome === "waiting").length) });
      await this.#read();
    } catch (error) {
      this.said = t("alarms.failed", { text: (error as Error).message });
    }
  }

  readonly #ask = (alarms: readonly Alarm[]): void => {
    this.asked = alarms.filter((one) => one.can_acknowledge);
    void this.updateComplete.then(() => this.querySelector("dialog")?.showModal());
  };

  readonly #answered = (event: SubmitEvent): void => {
    const form = event.target as HTMLFormElement;
    const comment = String(new FormData(form).get("comment") ?? "").trim();
    const alarms = this.asked;
    form.reset();
    void this.#acknowledge(alarms, comment);
  };

  /** Arrows go from line to line, `a` acknowledges, `c` asks for a comment. */
  readonly #key = (event: KeyboardEvent, alarm: Alarm): void => {
    const line = event.currentTarget as HTMLElement;
    if (event.target !== line) return;
    const next = event.key === "ArrowDown" ? line.nextElementSibling : event.key === "ArrowUp" ? line.previousElementSibling : null;
    if (next) (next as HTMLElement).focus();
    else if (event.key === "a") void this.#acknowledge([alarm]);
    else if (event.key === "c") this.#ask([alarm]);
    else return;
    event.preventDefault();
  };

  // --- Drawing ----------------------------------------------------------------------------------

  override render(): TemplateResult {
    const { history: isHistory, filter, order } = this.view;
    const all = this.alarms ?? [];
    const shown = isHistory ? all : ordered(all.filter((one) => matches(one, filter)), order);
    const open = shown.filter((one) => one.can_acknowledge);
    return html`<div class="head">
        <h1>${t("nav.alarms")}</h1>
        <div class="tabs" role="group" aria-label=${t("alarms.which")}>
          <button type="button" class="button" aria-pressed=${String(!isHistory)} @click=${() => this.#show({ history: false })}>${t("alarms.current")}</button>
          <button type="button" class="button" aria-pressed=${String(isHistory)} @click=${() => this.#show({ history: true })}>${t("alarms.history")}</button>
        </div>
      </div>
      ${this.#tools(open)}
      <p class="count" role="status">${this.said || (this.alarms ? t("alarms.count", { shown: number(shown.length), all: number(all.length) }) : "")}</p>
      ${this.trouble ? html`<p class="error">${this.trouble} <button type="button" class="button" @click=${() => this.#read()}>${t("again")}</button></p>` : nothing}
      ${this.alarms === null ? html`<p class="quiet">${t("loading")}</p>` : shown.length ? this.#list(shown) : this.#nothing(all.length > 0)}
      ${this.more ? html`<p class="more"><button type="button" class="button" @click=${() => this.#read(this.more ?? "")}>${t("alarms.more")}</button></p>` : nothing}
      ${this.#dialog()}`;
  }

  #tools(open: readonly Alarm[]): TemplateResult {
    const { history: isHistory, filter, order, days, state } = this.view;
    const toggled = (priority: number): ReadonlySet<number> => {
      if (isHistory) return filter.priorities.has(priority) ? new Set() : new Set([priority]);
      const set = new Set(filter.priorities);
      if (!set.delete(priority)) set.add(priority);
      return set;
    };
    return html`<div class="tools">
      <input type="search" .value=${filter.words} placeholder=${t("alarms.search")} aria-label=${t("alarms.search")}
        @input=${(event: Event) => this.#show({ filter: { ...filter, words: (event.target as HTMLInputElement).value } }, TYPED_MS)} />
      <div class="chips" role="group" aria-label=${t("alarms.priorities")}>
        ${[1, 2, 3, 4].map(
          (one) => html`<label class="chip"><input type="checkbox" .checked=${filter.priorities.has(one)}
            @change=${() => this.#show({ filter: { ...filter, priorities: toggled(one) } })} />${priorityMark(one)}</label>`,
        )}
      </div>
      <select aria-label=${t("nav.gateway")} @change=${(event: Event) => this.#show({ filter: { ...filter, gateway: (event.target as HTMLSelectElement).value } })}>
        <option value="">${t("alarms.all_gateways")}</option>
        ${plant.gateways.map((one) => html`<option value=${one.id} ?selected=${one.id === filter.gateway}>${one.name || one.id}</option>`)}
      </select>
      ${isHistory
        ? html`<select aria-label=${t("alarms.period")} @change=${(event: Event) => this.#show({ days: Number((event.target as HTMLSelectElement).value) })}>
              ${DAYS.map((one) => html`<option value=${one} ?selected=${one === days}>${t(`alarms.days_${one}`)}</option>`)}
            </select>
            <select aria-label=${t("alarms.state")} @change=${(event: Event) => this.#show({ state: (event.target as HTMLSelectElement).value })}>
              ${STATES.map((one) => html`<option value=${one} ?selected=${one === state}>${t(`alarms.state_${one || "any"}`)}</option>`)}
            </select>
            <a class="button push" href=${this.#historyAddress("", "csv")} download>${t("alarms.csv")}</a>`
        : html`<select aria-label=${t("alarms.order")} @change=${(event: Event) => this.#show({ order: (event.target as HTMLSelectElement).value as View["order"] })}>
              <option value="urgent" ?selected=${order === "urgent"}>${t("alarms.urgent")}</option>
              <option value="newest" ?selected=${order === "newest"}>${t("alarms.newest")}</option>
            </select>
            <label class="chip"><input type="checkbox" .checked=${filter.onlyOpen}
              @change=${(event: Event) => this.#show({ filter: { ...filter, onlyOpen: (event.target as HTMLInputElement).checked } })} />${t("alarms.only_open")}</label>
            <button type="button" class="button push" ?disabled=${open.length === 0} @click=${() => this.#ask(open)}>
              ${t("alarms.all", { count: number(open.length) })}
            </button>`}
    </div>`;
  }

  #list(shown: readonly Alarm[]): TemplateResult {
    return html`<ol class="alarm-list">
      ${repeat(shown, keyOf, (alarm) => this.#line(alarm))}
    </ol>`;
  }

  #line(alarm: Alarm): TemplateResult {
    const nowMs = live.nowMs();
    const isAway = (live.gateways.get(alarm.gateway)?.presence ?? "online") === "lost";
    return html`<li tabindex="0" ?data-over=${!alarm.is_standing} class=${isAway && alarm.is_standing ? "hatched" : ""}
      @keydown=${(event: KeyboardEvent) => this.#key(event, alarm)}>
      <span ?data-waits=${isOpen(alarm)}>${priorityMark(alarm.priority)}</span>
      <time title=${fullMoment(alarm.raised_us, alarm.zone)}>${moment(alarm.raised_us, alarm.zone, nowMs)}</time>
      <span class="text">${alarm.text || alarm.message} ${alarm.value === null ? nothing : html`<span class="seen quiet">${written(alarm.value)} ${alarm.unit}</span>`}</span>
      <span class="where quiet" title=${`${alarm.gateway_name || alarm.gateway} · ${alarm.signal_name || alarm.signal}`}>
        <a href=${`/gateways/${encodeURIComponent(alarm.gateway)}`}>${alarm.gateway_name || alarm.gateway}</a>${alarm.area ? ` · ${alarm.area}` : nothing}${alarm.signal
          ? html` · <a href=${`/trend?s=${encodeURIComponent(alarm.signal)}`}>${alarm.signal_name || alarm.signal}</a>`
          : nothing}
      </span>
      <span class="how">
        ${alarm.is_standing
          ? isAway ? t("alarms.standing_unsure") : t("alarms.standing")
          : alarm.ended_us === null ? t("alarms.ended") : t("alarms.ended_at", { time: moment(alarm.ended_us, alarm.zone, nowMs) })}
        ${this.#seen(alarm, nowMs)}
      </span>
      <span class="do">
        ${alarm.can_acknowledge
          ? html`<button type="button" class="button" @click=${() => this.#acknowledge([alarm])}>${t("alarms.acknowledge")}</button>
              <button type="button" class="button" title=${t("alarms.with_comment")} aria-label=${t("alarms.with_comment")} @click=${() => this.#ask([alarm])}><span aria-hidden="true">✎</span></button>`
          : nothing}
      </span>
      ${alarm.comment ? html`<span class="comment">${alarm.comment}</span>` : nothing}
    </li>`;
  }

  #seen(alarm: Alarm, nowMs: number): TemplateResult {
    if (alarm.acknowledge_state === "none") {
      const why = alarm.why_not ?? "";
      return html`<span class="seen quiet">· ${t(why && has(`alarms.why_${why}`) ? `alarms.why_${why}` : "alarms.unacknowledged")}</span>`;
    }
    const by = alarm.acknowledged_name || alarm.acknowledged_by || "–";
    const time = alarm.acknowledged_us === null ? "–" : moment(alarm.acknowledged_us, alarm.zone, nowMs);
    const key = alarm.acknowledge_state === "waiting" ? "alarms.waiting" : "alarms.seen_by";
    return html`<span class="seen ${alarm.acknowledge_state === "waiting" ? "waiting" : "quiet"}">· ${t(key, { by, time })}</span>`;
  }

  #nothing(isFiltered: boolean): TemplateResult {
    if (isFiltered || this.view.history)
      return empty(
        t("alarms.no_match"),
        html`<button type="button" class="button" @click=${() => this.#show({ filter: NO_FILTER, state: "", days: 365 })}>${t("alarms.clear")}</button>`,
      );
    return empty(
      t("alarms.none"),
      html`${t("alarms.none_text")} <button type="button" class="button" @click=${() => this.#show({ history: true })}>${t("alarms.history")}</button>`,
    );
  }

  #dialog(): TemplateResult {
    const [first] = this.asked;
    return html`<dialog aria-labelledby="acknowledge-title">
      <form method="dialog" @submit=${this.#answered}>
        <h2 id="acknowledge-title">${t("alarms.ask", { count: number(this.asked.length) })}</h2>
        ${this.asked.length === 1 && first ? html`<p>${priorityMark(first.priority)} ${first.text || first.message}</p>` : nothing}
        <label class="field"><span>${t("alarms.comment")}</span><textarea name="comment" rows="3" maxlength="2000"></textarea></label>
        <div class="row end">
          <button type="button" class="button" @click=${() => this.querySelector("dialog")?.close()}>${t("cancel")}</button>
          <button class="button primary">${t("alarms.acknowledge")}</button>
        </div>
      </form>
    </dialog>`;
  }
}
