// Sites and gateways, trouble first: who is there, what waits, how far buffers reach, what happened last.

import "./overview.css";

import { html, nothing, type PropertyValues, type TemplateResult } from "lit";
import { customElement, state } from "lit/decorators.js";
import { guard } from "lit/directives/guard.js";
import { repeat } from "lit/directives/repeat.js";

import { get } from "../api";
import { Element } from "../element";
import { live, LiveController } from "../live";
import { noGateway } from "../parts/empty";
import { CLOCK_OFF_US, countsOf, fleetOf, troublesOf, type Figures, type Member, type Site } from "../parts/fleet";
import { presenceMark, priorityMark } from "../parts/marks";
import { wordsOf } from "../parts/tree";
import { plant } from "../plant";
import { bytes, compare, language, moment, number, span, t } from "../t";

interface Message {
  time_us: number;
  kind: string;
  priority: number;
  text: string;
  message: string;
  number: number;
  signal: string;
}

interface Said {
  now_us: number;
  gateways: Record<string, Figures>;
}

const FIGURES_MS = 5_000;
const MESSAGES_MS = 30_000;
const SOON_MS = 400;
const ALARM_MS = 1_000;
const ASKED_MAX = 60;
const LONG_S = 3650 * 86_400;
const percent = new Intl.NumberFormat(language, { style: "percent", maximumFractionDigits: 0 });
const seconds = new Intl.NumberFormat(language, { minimumFractionDigits: 1, maximumFractionDigits: 1, signDisplay: "exceptZero" });

@customElement("fw-overview")
export class OverviewPage extends Element {
  @state() private figures: Record<string, Figures> = {};
  @state() private messages = new Map<string, Message[]>();
  @state() private search = "";
  @state() private isTroubleOnly = false;
  @state() private failed = "";

  /** Moment of the figures by the server's clock, µs. */
  #askedUs = 0;
  #figuresTimer = 0;
  #soonTimer = 0;
  #messagesTimer = 0;
  #messagesReadMs = new Map<string, number>();
  #alarms = -1;

  constructor() {
    super();
    this.#readAddress();
    new LiveController(this, () => [], (change) => change.gateways || change.link || change.alarms || change.structure);
  }

  override connectedCallback(): void {
    super.connectedCallback();
    plant.addEventListener("change", this.#redraw);
    document.addEventListener("keydown", this.#shortcut);
    document.addEventListener("visibilitychange", this.#seen);
    addEventListener("scroll", this.#askMessagesSoon, { passive: true });
    addEventListener("popstate", this.#back);
    void this.#readFigures();
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    plant.removeEventListener("change", this.#redraw);
    document.removeEventListener("keydown", this.#shortcut);
    document.removeEventListener("visibilitychange", this.#seen);
    removeEventListener("scroll", this.#askMessagesSoon);
    removeEventListener("popstate", this.#back);
    clearTimeout(this.#figuresTimer);
    clearTimeout(this.#soonTimer);
    clearTimeout(this.#messagesTimer);
  }

  // --- Reading -------------------------------------------------------------------------------------

  async #readFigures(): Promise<void> {
    clearTimeout(this.#figuresTimer);
    this.#soonTimer = 0;
    try {
      const said = await get<Said>("/api/v1/overview");
      this.figures = said.gateways;
      this.#askedUs = said.now_us;
      this.failed = "";
    } catch (error) {
      this.failed = (error as Error).message;
    }
    // A page that nobody sees asks for nothing.
    if (this.isConnected && !document.hidden) this.#figuresTimer = window.setTimeout(() => void this.#readFigures(), FIGURES_MS);
  }

  readonly #askMessagesSoon = (): void => {
    if (this.#messagesTimer) return;
    this.#messagesTimer = window.setTimeout(() => void this.#readMessages(), SOON_MS);
  };

  /** Of gateways on the screen whose messages are old, or not read yet. */
  async #readMessages(): Promise<void> {
    const now = Date.now();
    const wanted: string[] = [];
    for (const row of this.querySelectorAll<HTMLElement>("[data-gateway]")) {
      const { top, bottom } = row.getBoundingClientRect();
      const id = row.dataset["gateway"]!;
      const isOnScreen = bottom > 0 && top < innerHeight;
      if (isOnScreen && now - (this.#messagesReadMs.get(id) ?? 0) > MESSAGES_MS && wanted.length < ASKED_MAX) wanted.push(id);
    }
    try {
      if (wanted.length) {
        for (const id of wanted) this.#messagesReadMs.set(id, now);
        const asked = wanted.map((id) => `gateway=${encodeURIComponent(id)}`).join("&");
        const said = await get<Record<string, Message[]>>(`/api/v1/overview/messages?${asked}`);
        this.messages = new Map([...this.messages, ...Object.entries(said)]);
      }
    } catch (error) {
      this.failed = (error as Error).message;
    } finally {
      this.#messagesTimer = 0;
    }
  }

  protected override willUpdate(_changed: PropertyValues): void {
    if (live.alarms === this.#alarms) return;
    this.#alarms = live.alarms; // something happened: what was last is no longer last
    this.#messagesReadMs.clear();
    if (this.hasUpdated) this.#soonTimer ||= window.setTimeout(() => void this.#readFigures(), ALARM_MS);
  }

  protected override updated(): void {
    this.#askMessagesSoon();
  }

  // --- Drawing -------------------------------------------------------------------------------------

  override render(): TemplateResult {
    if (!plant.isLoaded)
      return plant.trouble
        ? html`<section class="empty">
            <p class="error">${t("overview.failed", { text: plant.trouble })}</p>
            <p><button type="button" class="button" @click=${() => void plant.read()}>${t("signals.again")}</button></p>
          </section>`
        : html`<p class="quiet" aria-busy="true">${t("loading")}</p>`;
    if (!plant.gateways.length) return html`<div class="head"><h1>${t("nav.overview")}</h1></div>${noGateway()}`;
    const members = plant.gateways.map((gateway): Member => {
      const state = live.gateways.get(gateway.id);
      const figures = this.figures[gateway.id];
      return { gateway, state, figures, troubles: troublesOf(state, figures) };
    });
    const words = wordsOf(this.search);
    const wanted = members.filter((one) => this.#passes(one, words));
    return html`<div class="head">
        <h1>${t("nav.overview")}</h1>
        ${this.#summary(members)}
      </div>
      ${this.#bar(members.length, wanted.length)}
      ${this.failed ? html`<p class="error" role="status">${t("overview.failed", { text: this.failed })}</p>` : nothing}
      ${wanted.length ? this.#table(fleetOf(wanted, compare)) : this.#noMatch()}`;
  }

  #passes({ gateway, troubles }: Member, words: readonly string[]): boolean {
    if (this.isTroubleOnly && !troubles.length) return false;
    const text = `${gateway.name}\n${gateway.id}\n${gateway.site}`.toLocaleLowerCase();
    return words.every((word) => text.includes(word));
  }

  #summary(members: readonly Member[]): TemplateResult {
    const { online, away, troubled } = countsOf(members);
    return html`<p class="fleet-counts" role="status">
      <span><span aria-hidden="true">●</span> ${t("overview.online", { count: number(online) })}</span>
      <span ?data-bad=${away > 0}><span aria-hidden="true">${away ? "✖" : "○"}</span> ${t("overview.away", { count: number(away) })}</span>
      <span ?data-odd=${troubled > 0}><span aria-hidden="true">${troubled ? "▲" : "○"}</span> ${t("overview.troubled", { count: number(troubled) })}</span>
    </p>`;
  }

  #bar(total: number, count: number): TemplateResult {
    return html`<div class="fleet-bar" role="search">
      <input
        type="search"
        .value=${this.search}
        placeholder=${t("overview.search")}
        aria-label=${t("overview.search")}
        aria-keyshortcuts="/"
        autocomplete="off"
        spellcheck="false"
        @input=${(event: Event) => this.#narrow((event.target as HTMLInputElement).value, this.isTroubleOnly)}
      />
      <button type="button" class="button" aria-pressed=${this.isTroubleOnly ? "true" : "false"} @click=${() => this.#narrow(this.search, !this.isTroubleOnly)}>
        ${t("overview.only")}
      </button>
      <output aria-live="polite">${count === total ? t("overview.count", { count: number(total) }) : t("overview.found", { count: number(count), total: number(total) })}</output>
    </div>`;
  }

  #noMatch(): TemplateResult {
    return html`<section class="empty">
      <h2>${t(this.isTroubleOnly && !this.search ? "overview.calm" : "overview.none")}</h2>
      <p><button type="button" class="button" @click=${() => this.#narrow("", false)}>${t("overview.clear")}</button></p>
    </section>`;
  }

  #table(sites: readonly Site[]): TemplateResult {
    return html`<table class="fleet plate">
      <thead>
        <tr>
          <th scope="col">${t("nav.gateway")}</th>
          <th scope="col">${t("overview.state")}</th>
          <th scope="col">${t("overview.alarms")}</th>
          <th scope="col" class="number">${t("overview.tail")}</th>
          <th scope="col" class="number">${t("overview.unsent")}</th>
          <th scope="col" class="number">${t("overview.reach")}</th>
          <th scope="col" class="number">${t("overview.clock")}</th>
          <th scope="col" class="number">${t("overview.load")}</th>
          <th scope="col">${t("overview.messages")}</th>
        </tr>
      </thead>
      ${repeat(
        sites,
        (site) => site.name,
        (site) => html`<tbody>
          <tr class="site"><th scope="rowgroup" colspan="9">${site.name || t("signals.nowhere")} <span class="quiet">${number(site.members.length)}</span></th></tr>
          ${repeat(site.members, (one) => one.gateway.id, (one) => guard(this.#rests(one), () => this.#row(one)))}
        </tbody>`,
      )}
    </table>`;
  }

  /** What a row rests on: of two hundred, only those in which one of these changed are drawn again. */
  #rests(member: Member): unknown[] {
    const { gateway, state, figures } = member;
    const second = this.#grows(member) ? Math.floor(live.nowMs() / 1000) : 0;
    return [gateway, state, figures, this.messages.get(gateway.id), second];
  }

  /** Whether the age of its values grows by itself, because nothing newer can be known. */
  #grows(member: Member): boolean {
    return isAway(member) || this.failed !== "" || live.lostSinceMs !== null || live.link.broker_lost_us !== null;
  }

  #row(member: Member): TemplateResult {
    const { gateway, state, figures, troubles } = member;
    return html`<tr data-gateway=${gateway.id} data-presence=${state?.presence ?? "unknown"} class=${isAway(member) ? "hatched" : ""}>
      <th scope="row">
        <a href="/gateways/${encodeURIComponent(gateway.id)}">${gateway.name || gateway.id}</a>
        <small class="quiet">${gateway.id}</small>
      </th>
      <td data-label=${t("overview.state")}>${this.#state(member)}</td>
      <td data-label=${t("overview.alarms")}>${this.#alarmCounts(figures)}</td>
      <td class="number" data-label=${t("overview.tail")}>${this.#tail(member)}</td>
      <td class="number" data-label=${t("overview.unsent")}>${this.#unsent(member)}</td>
      <td class="number" data-label=${t("overview.reach")}>${reach(figures)}</td>
      <td class="number" data-label=${t("overview.clock")}>${this.#clock(figures, troubles.includes("clock"))}</td>
      <td class="number load" data-label=${t("overview.load")}>
        ${figures?.rss_bytes ? bytes(figures.rss_bytes) : "–"}${figures?.cpu_share != null ? html` · ${percent.format(figures.cpu_share)}` : nothing}
      </td>
      <td class="last" data-label=${t("overview.messages")}>${this.#last(gateway.id, gateway.zone)}</td>
    </tr>`;
  }

  #state({ gateway, state, figures, troubles }: Member): TemplateResult {
    const when = (us: number): string => moment(us, gateway.zone, live.nowMs());
    const words = troubles.flatMap((trouble): string[] => {
      if (trouble === "quiet") return [t("overview.quiet", { time: when(state!.quiet_us!) })];
      if (trouble === "recording") return [t("overview.recording")];
      if (trouble === "said") return [state!.trouble];
      if (trouble === "devices") return [t("gateway.devices", { devices: state!.lost_devices.join(", ") })];
      if (trouble === "clock") return [t("overview.clockOff", { offset: offset(figures!.clock_offset_us!) })];
      return [];
    });
    return html`${presenceMark(state?.presence ?? "unknown", state?.since_us ? when(state.since_us) : "")}
    ${words.map((text) => html`<span class="trouble"><span aria-hidden="true">▲</span> ${text}</span>`)}`;
  }

  #alarmCounts(figures: Figures | undefined): TemplateResult | typeof nothing {
    const counts = Object.entries(figures?.alarms ?? {}).filter(([, [waiting, standing]]) => waiting + standing > 0);
    if (!counts.length) return html`<span class="quiet">–</span>`;
    return html`<a class="alarm-counts" href="/alarms">
      ${counts.map(
        ([priority, [waiting, standing]]) =>
          html`<span title=${t("overview.alarmCount", { standing: number(standing), waiting: number(waiting) })}
            >${priorityMark(Number(priority))} ${number(standing)}${waiting ? html` <strong>(${number(waiting)})</strong>` : nothing}</span
          >`,
      )}
    </a>`;
  }

  /** While values come: their age when the server was asked. Once they stay away it grows by itself. */
  #tail(member: Member): string {
    const tailUs = member.state?.quiet_us ?? member.figures?.tail_us;
    if (!tailUs) return "–";
    return span(((this.#grows(member) ? live.nowMs() * 1000 : this.#askedUs) - tailUs) / 1e6);
  }

  #unsent({ state, figures }: Member): TemplateResult | string {
    if (!figures?.has_health) return "–";
    const count = state?.unsent ?? figures.unsent_events + figures.unsent_segments;
    return count ? html`<strong>${number(count)}</strong>` : "0";
  }

  #clock(figures: Figures | undefined, isOff: boolean): TemplateResult | string {
    const us = figures?.clock_offset_us;
    if (us == null) return "–";
    return html`<span class=${isOff ? "trouble" : ""}>${isOff ? html`<span aria-hidden="true">▲</span> ` : nothing}${offset(us)}</span>`;
  }

  #last(id: string, zone: string): TemplateResult {
    const messages = this.messages.get(id);
    if (!messages) return html`<span class="quiet">…</span>`;
    if (!messages.length) return html`<span class="quiet">–</span>`;
    return html`${messages.map((one) => {
      const text = one.text || one.message || String(one.number);
      return html`<span class="message" title=${text}><time>${moment(one.time_us, zone, live.nowMs())}</time> ${text}</span>`;
    })}`;
  }

  // --- What the user does ----------------------------------------------------------------------------

  #narrow(search: string, isTroubleOnly: boolean): void {
    this.search = search;
    this.isTroubleOnly = isTroubleOnly;
    const said = new URLSearchParams();
    if (search.trim()) said.set("q", search.trim());
    if (isTroubleOnly) said.set("show", "trouble");
    history.replaceState(null, "", location.pathname + (said.size ? `?${said}` : ""));
  }

  #readAddress(): void {
    const said = new URLSearchParams(location.search);
    this.search = said.get("q") ?? "";
    this.isTroubleOnly = said.get("show") === "trouble";
  }

  readonly #back = (): void => this.#readAddress();

  readonly #redraw = (): void => this.requestUpdate();

  readonly #seen = (): void => {
    if (!document.hidden) void this.#readFigures();
  };

  readonly #shortcut = (event: KeyboardEvent): void => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
    if ((event.target as HTMLElement).closest("input, textarea, select, dialog[open]")) return;
    const field = this.querySelector<HTMLInputElement>("input[type=search]");
    if (!field) return;
    event.preventDefault();
    field.focus();
    field.select();
  };
}

/** Whether nothing comes from it now. */
const isAway = ({ state }: Member): boolean => state?.presence === "lost" || state?.presence === "silent" || Boolean(state?.quiet_us);

/** How far a clock is ahead: `+0.1 s`, `−3.5 s`; beyond two minutes in a larger unit. */
function offset(us: number): string {
  const s = us / 1e6;
  if (Math.abs(us) <= CLOCK_OFF_US || Math.abs(s) < 120) return `${seconds.format(s).replace("-", "−")} s`;
  return `${s < 0 ? "−" : "+"}${span(Math.abs(s))}`;
}

function reach(figures: Figures | undefined): TemplateResult | string {
  if (!figures?.reach_s) return html`<span class="quiet" title=${t("overview.young")}>–</span>`;
  const text = figures.reach_s > LONG_S ? `> ${span(LONG_S)}` : span(figures.reach_s);
  const title = t("overview.filled", { used: bytes(figures.store_bytes), quota: bytes(figures.quota_bytes) });
  return html`<span title=${title}>${text}</span>`;
}
