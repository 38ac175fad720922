// All signals as a tree of site, gateway and group. Only rows on the screen are drawn, watched and asked for.

import "./signals.css";

import { html, nothing, type PropertyValues, type TemplateResult } from "lit";
import { customElement, query, state } from "lit/decorators.js";
import { repeat } from "lit/directives/repeat.js";

import { Element } from "../element";
import { live, LiveController, type Change, type Shown } from "../live";
import { noGateway } from "../parts/empty";
import { addressOf, CHIPS, listingOf, type Chip, type Listing } from "../parts/listing";
import { presenceMark, qualityMark, valueMark } from "../parts/marks";
import { sparkline, sparklines } from "../parts/sparkline";
import { rowsOf, treeOf, wordsOf, type Branch, type Leaf, type Row, type Tree } from "../parts/tree";
import { offsetsOf, rowAt, rowsOnScreen, type Span } from "../parts/window";
import { attemptMark, openWrite, writes } from "../parts/write";
import { plant, type Signal } from "../plant";
import { compare, fullMoment, moment, number, span, t } from "../t";

const WATCH_PAUSE_MS = 120;

@customElement("fw-signals")
export class SignalsPage extends Element {
  @state() private listing: Listing = listingOf(location.search);
  @state() private chosen: ReadonlySet<string> = new Set();
  /** Key of the row that the keyboard is at. */
  @state() private at = "";
  @state() private drawn: Span = { first: 0, end: 0 };
  @query(".rows") private list!: HTMLElement | null;
  @query(".drawn") private block!: HTMLElement | null;
  @query("input[type=search]") private field!: HTMLInputElement | null;

  #tree: Tree = [];
  #treeOf: readonly Signal[] | null = null;
  #rows: Row[] = [];
  #count = 0;
  #offsets: number[] = [0];
  /** The address of the listing that `#rows` are for; null: none. */
  #rowsOf: string | null = null;
  #heights = { branch: 40, signal: 46 };
  #watched: readonly string[] = [];
  #watchTimer = 0;
  #frame = 0;

  constructor() {
    super();
    new LiveController(
      this,
      () => (this.#needsAll() ? "all" : this.#watched),
      (change) => this.#concerns(change),
    );
  }

  override connectedCallback(): void {
    super.connectedCallback();
    plant.addEventListener("change", this.#redraw);
    writes.addEventListener("change", this.#redraw);
    sparklines.addEventListener("change", this.#redraw);
    document.addEventListener("keydown", this.#shortcut);
    addEventListener("scroll", this.#scrolled, { passive: true });
    addEventListener("resize", this.#scrolled);
    addEventListener("popstate", this.#back);
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    plant.removeEventListener("change", this.#redraw);
    writes.removeEventListener("change", this.#redraw);
    sparklines.removeEventListener("change", this.#redraw);
    document.removeEventListener("keydown", this.#shortcut);
    removeEventListener("scroll", this.#scrolled);
    removeEventListener("resize", this.#scrolled);
    removeEventListener("popstate", this.#back);
  }

  // --- What is listed --------------------------------------------------------------------------

  /** Chips about how a value is need every value; otherwise those on the screen are enough. */
  #needsAll(): boolean {
    return this.listing.chips.has("bad") || this.listing.chips.has("stale");
  }

  #concerns(change: Change): boolean {
    if (change.gateways || change.link || change.structure) return true;
    if (this.#needsAll()) return change.values.size > 0;
    return this.#watched.some((uid) => change.values.has(uid));
  }

  #isNarrowed(): boolean {
    return this.listing.search.trim() !== "" || this.listing.chips.size > 0;
  }

  /** Sites stay open when all is closed: their gateways are the list then. */
  readonly #isOpen = (key: string): boolean => {
    const { isOpen, others } = this.listing;
    return (isOpen || key.startsWith("site ")) !== others.has(key);
  };

  readonly #passes = (signal: Signal): boolean => {
    const { chips } = this.listing;
    if (chips.has("writable") && !signal.writable) return false;
    if (!this.#needsAll()) return true;
    const how = live.of(signal.uid).state;
    // Two chips about the value: either will do.
    return (chips.has("bad") && (how === "bad" || how === "uncertain")) || (chips.has("stale") && how === "stale");
  };

  protected override willUpdate(_changed: PropertyValues): void {
    if (this.#treeOf !== plant.signals) {
      this.#treeOf = plant.signals;
      this.#tree = treeOf(plant.gateways, plant.signals, compare);
      this.#rowsOf = null;
    }
    const wanted = addressOf(this.listing);
    if (wanted === this.#rowsOf && !this.#needsAll()) return;
    this.#rowsOf = wanted;
    const { rows, count } = rowsOf(this.#tree, {
      words: wordsOf(this.listing.search),
      passes: this.#passes,
      isNarrowed: this.#isNarrowed(),
      isOpen: this.#isOpen,
    });
    this.#rows = rows;
    this.#count = count;
    this.#offsets = this.#measured();
    this.drawn = this.#onScreen();
  }

  #measured(): number[] {
    return offsetsOf(this.#rows.map((row) => this.#heights[row.node.kind === "signal" ? "signal" : "branch"]));
  }

  #onScreen(): Span {
    return rowsOnScreen(this.#offsets, this.list?.getBoundingClientRect().top ?? 0, innerHeight);
  }

  // --- Drawing -----------------------------------------------------------------------------------

  override render(): TemplateResult {
    return html`<div class="head">
        <h1>${t("nav.signals")}</h1>
        ${plant.isLoaded && plant.trouble ? html`<p class="error">${t("signals.failed", { text: plant.trouble })}</p>` : nothing}
      </div>
      ${this.#body()}`;
  }

  #body(): TemplateResult {
    if (!plant.isLoaded)
      return plant.trouble
        ? html`<section class="empty">
            <p class="error">${t("signals.failed", { text: plant.trouble })}</p>
            <p><button type="button" class="button" @click=${() => void plant.read()}>${t("signals.again")}</button></p>
          </section>`
        : html`<p class="quiet" aria-busy="true">${t("loading")}</p>`;
    if (!plant.gateways.length) return noGateway();
    return html`${this.#bar()}
      ${this.#rows.length ? this.#grid() : this.#noMatch()} ${this.chosen.size ? this.#chosenBar() : nothing}`;
  }

  #bar(): TemplateResult {
    const total = plant.signals.length;
    const isAllOpen = this.listing.isOpen;
    return html`<div class="signals-bar" role="search">
      <input
        type="search"
        .value=${this.listing.search}
        placeholder=${t("signals.search")}
        aria-label=${t("signals.search")}
        aria-keyshortcuts="/"
        autocomplete="off"
        spellcheck="false"
        @input=${(event: Event) => this.#search((event.target as HTMLInputElement).value)}
        @keydown=${this.#inSearch}
      />
      <span class="chips" role="group" aria-label=${t("signals.only")}>
        ${CHIPS.map(
          (chip) => html`<button type="button" class="button" aria-pressed=${this.listing.chips.has(chip) ? "true" : "false"} @click=${() => this.#turn(chip)}>
            ${t(`signals.${chip}`)}
          </button>`,
        )}
      </span>
      <button type="button" class="button" @click=${() => this.#change({ isOpen: !isAllOpen, others: new Set() })}>
        ${t(isAllOpen ? "signals.close" : "signals.open")}
      </button>
      <output aria-live="polite"
        >${this.#isNarrowed()
          ? t("signals.found", { count: number(this.#count), total: number(total) })
          : t("signals.count", { count: number(total) })}</output
      >
    </div>`;
  }

  #noMatch(): TemplateResult {
    return html`<section class="empty">
      <h2>${t("signals.none")}</h2>
      <p class="quiet">${t(this.#needsAll() ? "signals.calm" : "signals.other")}</p>
      <p><button type="button" class="button" @click=${() => this.#change({ search: "", chips: new Set() })}>${t("signals.clear")}</button></p>
    </section>`;
  }

  #grid(): TemplateResult {
    const { first, end } = this.drawn;
    const rows = this.#rows.slice(first, end);
    const at = this.#rows.some((row) => row.node.key === this.at) ? this.at : this.#rows[0]!.node.key;
    // The row the keyboard is at may be out of sight; then Tab enters at the first that is drawn.
    const entry = rows.some((row) => row.node.key === at) ? at : rows[0]?.node.key;
    return html`<div
      class="signals"
      role="treegrid"
      aria-label=${t("nav.signals")}
      aria-rowcount=${this.#rows.length + 1}
      aria-multiselectable="true"
      @keydown=${this.#key}
      @focusin=${this.#focused}
    >
      <div class="line titles" role="row" aria-rowindex="1">
        <span role="columnheader"><span class="hidden">${t("signals.choose")}</span></span>
        <span role="columnheader">${t("column.signal")}</span>
        <span role="columnheader">${t("signals.spark")}</span>
        <span role="columnheader" class="number">${t("column.value")}</span>
        <span role="columnheader">${t("column.quality")}</span>
        <span role="columnheader" class="number">${t("column.age")}</span>
        <span role="columnheader"><span class="hidden">${t("signals.acts")}</span></span>
      </div>
      <div class="rows" role="rowgroup">
        <div class="drawn" role="presentation">
          ${repeat(rows, (row) => row.node.key, (row) => this.#row(row, row.node.key === entry))}
        </div>
      </div>
    </div>`;
  }

  #row(row: Row, isEntry: boolean): TemplateResult {
    return "count" in row ? this.#branch(row.node, row, isEntry) : this.#signal(row.node, row.index, isEntry);
  }

  #branch(branch: Branch, row: { isOpen: boolean; count: number; index: number }, isEntry: boolean): TemplateResult {
    const state = branch.kind === "gateway" ? live.gateways.get(branch.gateway) : undefined;
    const since = state?.since_us ? moment(state.since_us, plant.zone(branch.gateway), live.nowMs()) : "";
    return html`<div
      class="line branch"
      role="row"
      aria-level=${branch.level}
      aria-rowindex=${row.index + 2}
      aria-expanded=${row.isOpen ? "true" : "false"}
      data-key=${branch.key}
      tabindex=${isEntry ? 0 : -1}
      @click=${(event: Event) => this.#clicked(event, branch)}
    >
      <span role="gridcell" aria-colspan="7">
        <span class="turn" aria-hidden="true">${row.isOpen ? "▾" : "▸"}</span>
        <span class="text" title=${branch.name}>${branch.name || t("signals.nowhere")}</span>
        <span class="count">${number(row.count)}</span>
        ${state && state.presence !== "online" ? presenceMark(state.presence, since) : nothing}
        ${branch.kind === "gateway"
          ? html`<a class="more" href="/gateways/${encodeURIComponent(branch.gateway)}" tabindex=${isEntry ? 0 : -1}>${t("nav.gateway")}</a>`
          : nothing}
      </span>
    </div>`;
  }

  #signal(leaf: Leaf, index: number, isEntry: boolean): TemplateResult {
    const { signal } = leaf;
    const isKnown = live.values.has(signal.uid);
    const shown = live.of(signal.uid);
    const name = signal.name || signal.uid;
    const tab = isEntry ? 0 : -1;
    const attempt = attemptMark(signal.uid);
    const isChosen = this.chosen.has(signal.uid);
    return html`<div
      class="line signal"
      role="row"
      aria-level="4"
      aria-rowindex=${index + 2}
      aria-selected=${isChosen ? "true" : "false"}
      data-key=${leaf.key}
      data-uid=${signal.uid}
      data-state=${isKnown ? shown.state : "unknown"}
      ?data-chosen=${isChosen}
      tabindex=${tab}
    >
      <label class="tick" role="gridcell"
        ><input type="checkbox" tabindex=${tab} .checked=${isChosen} aria-label=${t("signals.chooseOne", { name })} @change=${() => this.#choose(signal.uid)}
      /></label>
      <span class="name" role="gridcell">
        <span title=${name}>${name}</span>
        ${attempt === nothing ? html`<small>${signal.uid}</small>` : html`<small class="attempt" role="status">${attempt}</small>`}
      </span>
      <span class="spark-cell" role="gridcell">${sparkline(signal)}</span>
      <span class="number" role="gridcell" title=${typeof shown.value === "string" ? shown.value : nothing}>${isKnown ? valueMark(shown, signal) : "…"}</span>
      <span role="gridcell">${isKnown ? qualityMark(shown) : nothing}</span>
      <span class="age number" role="gridcell">${this.#age(shown, signal)}</span>
      <span class="acts" role="gridcell">
        ${signal.writable && plant.may("command")
          ? html`<button type="button" class="button" tabindex=${tab} aria-label=${t("signals.write", { name })} title=${t("write.may")} @click=${() => openWrite(signal.uid)}>
              <span aria-hidden="true">✎</span>
            </button>`
          : nothing}
        <a class="button" tabindex=${tab} href=${trendOf([signal.uid])} aria-label=${t("signals.trend", { name })} title=${t("nav.trend")}
          ><svg viewBox="0 0 16 16" width="16" height="16" aria-hidden="true"><path d="M1 1v14h14M3 11l4-5 3 3 4-6" fill="none" stroke="currentColor" stroke-width="1.6" /></svg
        ></a>
      </span>
    </div>`;
  }

  #age(shown: Shown, signal: Signal): TemplateResult | typeof nothing {
    if (shown.timeUs === null) return nothing;
    const title = fullMoment(shown.timeUs, plant.zone(signal.gateway));
    return html`<time datetime=${new Date(shown.timeUs / 1000).toISOString()} title=${title}>${span(live.nowMs() / 1000 - shown.timeUs / 1e6)}</time>`;
  }

  #chosenBar(): TemplateResult {
    const uids = [...this.chosen];
    return html`<div class="signals-chosen" role="region" aria-label=${t("signals.choose")}>
      <strong aria-live="polite">${t("signals.chosen", { count: number(uids.length) })}</strong>
      <button type="button" class="button" @click=${() => (this.chosen = new Set())}>${t("signals.unchoose")}</button>
      <a class="button primary" href=${trendOf(uids)}>${t("signals.trends")}</a>
    </div>`;
  }

  protected override updated(): void {
    const { list, block } = this;
    if (!list || !block) return;
    this.#measure(block);
    list.style.height = `${this.#offsets.at(-1) ?? 0}px`;
    block.style.transform = `translateY(${this.#offsets[this.drawn.first] ?? 0}px)`;
    const now = this.#onScreen();
    if (now.first !== this.drawn.first || now.end !== this.drawn.end) this.drawn = now;
    this.#watchSoon();
  }

  /** How high rows are: as the style sheet and the user's font size make them. */
  #measure(block: HTMLElement): void {
    let hasChanged = false;
    for (const kind of ["branch", "signal"] as const) {
      const height = block.querySelector(`.${kind}`)?.getBoundingClientRect().height;
      if (!height || Math.abs(height - this.#heights[kind]) < 0.01) continue;
      this.#heights[kind] = height;
      hasChanged = true;
    }
    if (hasChanged) this.#offsets = this.#measured();
  }

  /** While somebody scrolls, a new set of signals with each frame would help nobody. */
  #watchSoon(): void {
    if (this.#watchTimer) return;
    this.#watchTimer = window.setTimeout(() => {
      this.#watchTimer = 0;
      const { first, end } = this.drawn;
      const uids = this.#rows.slice(first, end).flatMap((row) => ("count" in row ? [] : [row.node.signal.uid]));
      sparklines.want(uids);
      if (uids.length === this.#watched.length && uids.every((uid, i) => uid === this.#watched[i])) return;
      this.#watched = uids;
      this.requestUpdate();
    }, WATCH_PAUSE_MS);
  }

  readonly #redraw = (): void => this.requestUpdate();

  readonly #scrolled = (): void => {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      const now = this.#onScreen();
      if (now.first !== this.drawn.first || now.end !== this.drawn.end) this.drawn = now;
    });
  };

  // --- What the user does --------------------------------------------------------------------------

  #change(part: Partial<Listing>): void {
    this.listing = { ...this.listing, ...part };
    history.replaceState(null, "", location.pathname + addressOf(this.listing));
  }

  #search(search: string): void {
    // What was opened and closed before belongs to another list.
    this.#change({ search, others: new Set(), isOpen: true });
    scrollTo(0, 0);
  }

  #turn(chip: Chip): void {
    const chips = new Set(this.listing.chips);
    if (!chips.delete(chip)) chips.add(chip);
    this.#change({ chips, others: new Set(), isOpen: true });
    scrollTo(0, 0);
  }

  #toggle(key: string): void {
    const others = new Set(this.listing.others);
    if (!others.delete(key)) others.add(key);
    this.#change({ others });
  }

  #clicked(event: Event, branch: Branch): void {
    if ((event.target as HTMLElement).closest("a")) return;
    this.at = branch.key;
    this.#toggle(branch.key);
  }

  #choose(uid: string): void {
    const chosen = new Set(this.chosen);
    if (!chosen.delete(uid)) chosen.add(uid);
    this.chosen = chosen;
  }

  readonly #back = (): void => {
    this.listing = listingOf(location.search);
  };

  readonly #shortcut = (event: KeyboardEvent): void => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
    if ((event.target as HTMLElement).closest("input, textarea, select, dialog[open]")) return;
    if (!this.field) return;
    event.preventDefault();
    this.field.focus();
    this.field.select();
  };

  readonly #inSearch = (event: KeyboardEvent): void => {
    if (event.key === "Escape" && this.listing.search) {
      event.preventDefault();
      this.#search("");
    } else if (event.key === "ArrowDown" && this.#rows.length) {
      event.preventDefault();
      this.#go(0);
    }
  };

  readonly #focused = (event: FocusEvent): void => {
    const key = (event.target as HTMLElement).closest<HTMLElement>("[data-key]")?.dataset["key"];
    if (key) this.at = key;
  };

  readonly #key = (event: KeyboardEvent): void => {
    const line = (event.target as HTMLElement).closest<HTMLElement>("[data-key]");
    const index = this.#rows.findIndex((row) => row.node.key === line?.dataset["key"]);
    const row = this.#rows[index];
    if (!row || event.ctrlKey || event.metaKey || event.altKey) return;
    const isOnRow = event.target === line;
    const page = Math.max(1, rowAt(this.#offsets, (this.#offsets[index] ?? 0) + innerHeight * 0.7) - index);
    const last = this.#rows.length - 1;
    const moves: Record<string, number> = {
      ArrowDown: index + 1, ArrowUp: index - 1, PageDown: index + page, PageUp: index - page, Home: 0, End: last,
    };
    const to = moves[event.key];
    if (to !== undefined) {
      event.preventDefault();
      this.#go(Math.max(0, Math.min(last, to)));
    } else if (isOnRow && this.#act(event.key, row, index)) {
      event.preventDefault();
    }
  };

  /** What a key does on a row; whether it does anything. */
  #act(key: string, row: Row, index: number): boolean {
    if ("count" in row) {
      if (key === "Enter" || key === " " || (key === "ArrowRight" && !row.isOpen) || (key === "ArrowLeft" && row.isOpen)) this.#toggle(row.node.key);
      else if (key === "ArrowRight") this.#go(Math.min(index + 1, this.#rows.length - 1));
      else if (key === "ArrowLeft") this.#toParent(index);
      else return false;
      return true;
    }
    const { signal } = row.node;
    if (key === " ") this.#choose(signal.uid);
    else if (key === "ArrowLeft") this.#toParent(index);
    else if (key === "Enter" && signal.writable && plant.may("command")) openWrite(signal.uid);
    else if (key === "Enter" || key === "t") location.assign(trendOf([signal.uid]));
    else return false;
    return true;
  }

  #toParent(index: number): void {
    const level = this.#rows[index]?.node.level ?? 1;
    for (let i = index - 1; i >= 0; i -= 1) if (this.#rows[i]!.node.level < level) return this.#go(i);
  }

  /** Move the keyboard to a row, bringing it onto the screen first. */
  #go(index: number): void {
    const row = this.#rows[index];
    if (!row || !this.list) return;
    this.at = row.node.key;
    const bar = this.querySelector(".signals-bar")?.getBoundingClientRect().height ?? 0;
    const foot = this.querySelector(".signals-chosen")?.getBoundingClientRect().height ?? 0;
    const top = this.list.getBoundingClientRect().top + (this.#offsets[index] ?? 0);
    const height = (this.#offsets[index + 1] ?? 0) - (this.#offsets[index] ?? 0);
    const under = top + height - (innerHeight - foot - this.#navigationHeight());
    if (top < bar) scrollBy(0, top - bar - 4);
    else if (under > 0) scrollBy(0, under + 4);
    this.drawn = this.#onScreen();
    void this.updateComplete.then(() => this.querySelector<HTMLElement>(`[data-key="${CSS.escape(row.node.key)}"]`)?.focus({ preventScroll: true }));
  }

  /** On a phone the navigation stands at the foot of the screen. */
  #navigationHeight(): number {
    const bar = document.querySelector(".nav");
    return bar && getComputedStyle(bar).position === "fixed" ? bar.getBoundingClientRect().height : 0;
  }
}

/** Address of the trend page for these signals; see docs/pages/trend.md. */
function trendOf(uids: readonly string[]): string {
  return `/trend?${uids.map((uid) => `s=${encodeURIComponent(uid)}`).join("&")}`;
}
