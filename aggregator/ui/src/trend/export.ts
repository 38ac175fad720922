// Taking what is shown along: CSV or XLSX, as it is drawn or all samples. A dialog.

import { html, nothing, type TemplateResult } from "lit";
import { customElement, query, state } from "lit/decorators.js";

import { Element } from "../element";
import { language, t } from "../t";
import type { Window } from "./period";
import { instant } from "./words";

export interface Wanted {
  readonly uids: readonly string[];
  readonly window: Window;
  readonly zone: string;
  /** Of a line, as it is drawn. */
  readonly points: number;
}

type Extent = "shown" | "all";
type Format = "csv" | "xlsx";

/** The address of a file. */
export function addressOf({ uids, window, zone, points }: Wanted, extent: Extent, format: Format, isWide: boolean): string {
  const asked = new URLSearchParams(uids.map((uid) => ["signal", uid]));
  const [from, to] = window;
  asked.set("from", new Date(Math.floor(from)).toISOString());
  asked.set("to", new Date(Math.ceil(to)).toISOString());
  asked.set("format", format);
  asked.set("zone", zone);
  if (extent === "shown") asked.set("points", String(points));
  if (format === "csv") {
    asked.set("layout", isWide ? "wide" : "long");
    // What a spreadsheet of this language opens as it is.
    const isComma = new Intl.NumberFormat(language).format(1.5).includes(",");
    asked.set("decimal", isComma ? "," : ".");
    asked.set("separator", isComma ? ";" : ",");
  }
  return `/api/v1/history?${asked.toString()}`;
}

@customElement("fw-export")
export class Exporter extends Element {
  @state() private wanted: Wanted | null = null;
  @state() private extent: Extent = "all";
  @state() private format: Format = "xlsx";
  @state() private isWide = true;
  @state() private isBusy = false;
  @state() private trouble = "";
  @query("dialog") private dialog!: HTMLDialogElement;
  #asking: AbortController | null = null;

  async open(wanted: Wanted): Promise<void> {
    [this.wanted, this.trouble, this.isBusy] = [wanted, "", false];
    await this.updateComplete;
    this.dialog.showModal();
  }

  override render(): TemplateResult {
    const radio = <T extends string>(name: string, value: T, now: T, label: string, take: (value: T) => void) => html`<label class="choice"
      ><input type="radio" name=${name} value=${value} .checked=${value === now} @change=${() => take(value)} /> ${label}</label
    >`;
    const { wanted } = this;
    return html`<dialog aria-labelledby="export-title" @close=${this.#closed}>
      ${wanted
        ? html`<form @submit=${this.#save}>
            <h2 id="export-title">${t("trend.tool.export")}</h2>
            <p class="quiet">${t("trend.export.what", { count: wanted.uids.length, from: instant(wanted.window[0], wanted.zone, Infinity), to: instant(wanted.window[1], wanted.zone, Infinity) })}</p>
            <fieldset>
              <legend>${t("trend.export.samples")}</legend>
              <div class="row">
                ${radio<Extent>("extent", "all", this.extent, t("trend.export.all"), (value) => (this.extent = value))}
                ${radio<Extent>("extent", "shown", this.extent, t("trend.export.shown"), (value) => (this.extent = value))}
              </div>
            </fieldset>
            <fieldset>
              <legend>${t("trend.export.format")}</legend>
              <div class="row">
                ${radio<Format>("format", "xlsx", this.format, "XLSX", (value) => (this.format = value))}
                ${radio<Format>("format", "csv", this.format, "CSV", (value) => (this.format = value))}
              </div>
              ${this.format === "csv"
                ? html`<label class="choice"><input type="checkbox" .checked=${this.isWide} @change=${(event: Event) => (this.isWide = (event.target as HTMLInputElement).checked)} /> ${t("trend.export.wide")}</label>`
                : nothing}
            </fieldset>
            ${this.trouble ? html`<p class="error" role="alert">${t("trend.export.failed", { text: this.trouble })}</p>` : nothing}
            <div class="row end">
              <span class="quiet" role="status">${this.isBusy ? t("trend.export.busy") : ""}</span>
              <button type="button" class="button" @click=${() => this.dialog.close()}>${t("trend.cancel")}</button>
              <button class="button primary" ?disabled=${this.isBusy || !wanted.uids.length}>${t("trend.export.save")}</button>
            </div>
          </form>`
        : nothing}
    </dialog>`;
  }

  readonly #closed = (): void => {
    this.#asking?.abort();
    this.wanted = null;
  };

  readonly #save = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault();
    if (!this.wanted || this.isBusy) return;
    const asking = (this.#asking = new AbortController());
    this.isBusy = true;
    this.trouble = "";
    try {
      const answer = await fetch(addressOf(this.wanted, this.extent, this.format, this.isWide), { signal: asking.signal });
      if (!answer.ok) throw new Error(await refusal(answer));
      const name = /filename="?([^";]+)/.exec(answer.headers.get("Content-Disposition") ?? "")?.[1] ?? `history.${this.format}`;
      const file = URL.createObjectURL(await answer.blob());
      const link = Object.assign(document.createElement("a"), { href: file, download: name });
      link.click();
      setTimeout(() => URL.revokeObjectURL(file), 60_000);
      this.dialog.close();
    } catch (error) {
      if (!asking.signal.aborted) this.trouble = (error as Error).message;
    } finally {
      this.isBusy = false;
    }
  };
}

async function refusal(answer: Response): Promise<string> {
  try {
    return ((await answer.json()) as { error: { text: string } }).error.text;
  } catch {
    return `HTTP ${answer.status}`;
  }
}
