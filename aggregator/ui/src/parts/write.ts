// Setting a signal: the dialogue, and what became of it, told where the signal is shown.

import "./write.css";

import { html, nothing, type PropertyValues, type TemplateResult } from "lit";
import { customElement, property, query, state } from "lit/decorators.js";

import { ApiError, post } from "../api";
import { Element } from "../element";
import { live, LiveController, type Plain, type Shown } from "../live";
import { plant, type Signal } from "../plant";
import { moment, parsed, span, t } from "../t";
import { qualityMark, valueMark } from "./marks";
import { allowed, entryOf, exact, stepped } from "./setpoint";

/** `unknown`: this page does not know whether the server was reached. */
export type Outcome = "sending" | "done" | "refused" | "expired" | "failed" | "no_answer" | "unsent" | "unknown";

export interface Attempt {
  value: number | string | boolean;
  outcome: Outcome;
  /** What server or gateway said. */
  text: string;
  sentMs: number;
  endedMs: number | null;
}

const GOOD_SHOWN_MS = 60_000;
const BAD_SHOWN_MS = 600_000;
const DEADLINE_S = 10;

/** The last attempt at each signal, kept for as long as it is news. */
export class Writes extends EventTarget {
  #attempts = new Map<string, Attempt>();

  of(uid: string): Attempt | undefined {
    const attempt = this.#attempts.get(uid);
    if (!attempt || attempt.endedMs === null) return attempt;
    const shownMs = attempt.outcome === "done" ? GOOD_SHOWN_MS : BAD_SHOWN_MS;
    return live.nowMs() - attempt.endedMs < shownMs ? attempt : undefined;
  }

  /** Send, and wait for what the gateway says. */
  async send(uid: string, value: Attempt["value"]): Promise<Attempt> {
    const attempt: Attempt = { value, outcome: "sending", text: "", sentMs: live.nowMs(), endedMs: null };
    this.#attempts.set(uid, attempt);
    this.#tell();
    try {
      const { body } = await post<{ outcome: Outcome; text: string }>("/api/v1/write", { signal: uid, value, deadline_s: DEADLINE_S });
      attempt.outcome = body.outcome;
      attempt.text = body.text;
    } catch (error) {
      // The server's own refusal tells that nothing was sent; a broken connection tells nothing.
      attempt.outcome = error instanceof ApiError ? "unsent" : "unknown";
      attempt.text = error instanceof ApiError ? error.message : "";
    }
    attempt.endedMs = live.nowMs();
    this.#tell();
    return attempt;
  }

  #tell(): void {
    this.dispatchEvent(new Event("change"));
  }
}

export const writes = new Writes();

const SHAPES: Record<Outcome, string> = {
  sending: "…", done: "✔", refused: "✖", expired: "✖", failed: "✖", no_answer: "?", unsent: "✖", unknown: "?",
};

const written = (value: Plain, signal: Signal | undefined): string => {
  const text = typeof value === "boolean" ? t(`value.${value}`) : typeof value === "number" ? exact(value) : value === null ? "–" : `“${value}”`;
  return signal?.unit ? `${text} ${signal.unit}` : text;
};

/** What became of an attempt, in words; `shown` is what the signal says now. */
export function attemptWords(attempt: Attempt, shown: Shown, signal: Signal | undefined): string {
  const value = written(attempt.value, signal);
  if (attempt.outcome === "sending") return t("write.waits", { value, span: span((live.nowMs() - attempt.sentMs) / 1000) });
  if (attempt.outcome !== "done") return `${t(`write.${attempt.outcome}`)} ${attempt.text}`.trim();
  const hasCome = shown.timeUs !== null && shown.timeUs / 1000 > attempt.sentMs && shown.state !== "bad";
  if (!hasCome) return t("write.taken", { value });
  const isSame = typeof attempt.value === "number" && typeof shown.value === "number"
    ? Math.abs(attempt.value - shown.value) <= Math.max(Math.abs(attempt.value) * 1e-6, (signal?.step ?? 0) / 2)
    : attempt.value === shown.value;
  return isSame
    ? t("write.confirmed", { value, time: moment(shown.timeUs!, plant.zone(signal?.gateway ?? ""), live.nowMs()) })
    : t("write.reads", { value, now: written(shown.value, signal) });
}

/** For the place where a signal is shown: how its last attempt stands; nothing without one. */
export function attemptMark(uid: string): TemplateResult | typeof nothing {
  const attempt = writes.of(uid);
  if (!attempt) return nothing;
  const words = attemptWords(attempt, live.of(uid), plant.signalOf.get(uid));
  return html`<span class="attempt" data-outcome=${attempt.outcome} title=${words}
    ><span aria-hidden="true">${SHAPES[attempt.outcome]}</span> ${words}</span
  >`;
}

/** Open the dialogue for a signal; closing gives the focus back to where it was. */
export function openWrite(uid: string): void {
  if (document.querySelector("fw-write")) return;
  const dialogue = document.createElement("fw-write") as WriteDialogue;
  dialogue.uid = uid;
  document.body.append(dialogue);
}

@customElement("fw-write")
export class WriteDialogue extends Element {
  @property() uid = "";
  @state() private typed: string | null = null;
  @state() private fault = "";
  @state() private attempt: Attempt | null = null;
  @query("dialog") private dialog!: HTMLDialogElement;
  @query("input") private input!: HTMLInputElement | null;

  constructor() {
    super();
    new LiveController(this, () => [this.uid]);
  }

  protected override firstUpdated(_changed: PropertyValues): void {
    this.dialog.showModal();
    this.input?.focus();
  }

  override render(): TemplateResult {
    const signal = plant.signalOf.get(this.uid);
    const shown = live.of(this.uid);
    const isWaiting = this.attempt?.outcome === "sending";
    const words = this.attempt ? attemptWords(this.attempt, shown, signal) : "";
    return html`<dialog class="write" aria-labelledby="write-title" @close=${this.#closed}>
      <form novalidate @submit=${this.#submit}>
        <header>
          <h2 id="write-title">${signal?.name || this.uid}</h2>
          <p class="quiet">${plant.nameOfGateway(signal?.gateway ?? "")} · ${this.uid}</p>
        </header>
        ${signal ? this.#body(signal, shown, isWaiting) : html`<p class="error">${t("write.gone")}</p>`}
        <p class="error" id="write-fault" role="alert" ?hidden=${!this.fault}>${this.fault}</p>
        <output class="attempt" data-outcome=${this.attempt?.outcome ?? "none"} ?hidden=${!words}
          ><span aria-hidden="true">${this.attempt ? SHAPES[this.attempt.outcome] : ""}</span> ${words}</output
        >
        <div class="row end">
          <button type="button" class="button" @click=${this.#close}>${t(this.attempt ? "write.close" : "write.cancel")}</button>
          <button type="submit" class="button primary" ?disabled=${isWaiting || !signal}>${t("write.do")}</button>
        </div>
      </form>
    </dialog>`;
  }

  #body(signal: Signal, shown: Shown, isWaiting: boolean): TemplateResult {
    const limits = allowed(signal);
    const age = shown.timeUs === null ? "" : t("write.age", { span: span(live.nowMs() / 1000 - shown.timeUs / 1e6) });
    return html`<div class="now" data-uid=${signal.uid}>
        <span class="quiet">${t("write.current")}</span>
        ${valueMark(shown, signal)} ${qualityMark(shown)} <span class="quiet age">${age}</span>
      </div>
      ${signal.type === "boolean" ? this.#choice(isWaiting) : this.#field(signal, shown, limits, isWaiting)}`;
  }

  #choice(isWaiting: boolean): TemplateResult {
    return html`<fieldset class="choice" ?disabled=${isWaiting}>
      <legend>${t("write.new")}</legend>
      ${["true", "false"].map(
        (value) => html`<label class="button"
          ><input type="radio" name="value" value=${value} .checked=${this.typed === value} @change=${this.#type} aria-describedby="write-fault" />
          ${t(`value.${value}`)}</label
        >`,
      )}
    </fieldset>`;
  }

  #field(signal: Signal, shown: Shown, limits: string, isWaiting: boolean): TemplateResult {
    const isNumber = signal.type !== "text";
    const step = (direction: 1 | -1): TemplateResult => html`<button
      type="button"
      class="button"
      ?disabled=${isWaiting}
      aria-label=${t(direction < 0 ? "write.less" : "write.more")}
      @click=${() => this.#step(signal, shown, direction)}
    >
      ${direction < 0 ? "−" : "+"}
    </button>`;
    return html`<div class="field">
      <label for="write-value">${t("write.new")}</label>
      <div class="entry">
        ${isNumber && signal.step !== null ? step(-1) : nothing}
        <input
          id="write-value"
          type="text"
          inputmode=${isNumber ? "decimal" : "text"}
          autocomplete="off"
          spellcheck="false"
          .value=${this.typed ?? ""}
          ?readonly=${isWaiting}
          aria-invalid=${this.fault ? "true" : "false"}
          aria-describedby="write-limits write-fault"
          @input=${this.#type}
          @keydown=${(event: KeyboardEvent) => this.#arrow(event, signal, shown)}
        />
        ${isNumber && signal.step !== null ? step(1) : nothing}
        ${signal.unit ? html`<span class="unit">${signal.unit}</span>` : nothing}
      </div>
      <span class="hint" id="write-limits">${limits}</span>
    </div>`;
  }

  readonly #type = (event: Event): void => {
    this.typed = (event.target as HTMLInputElement).value;
    this.fault = "";
  };

  #arrow(event: KeyboardEvent, signal: Signal, shown: Shown): void {
    if (signal.step === null || signal.type === "text" || (event.key !== "ArrowUp" && event.key !== "ArrowDown")) return;
    event.preventDefault();
    this.#step(signal, shown, event.key === "ArrowUp" ? 1 : -1);
  }

  #step(signal: Signal, shown: Shown, direction: 1 | -1): void {
    if (this.attempt?.outcome === "sending") return;
    const from = parsed(this.typed ?? "") ?? (typeof shown.value === "number" ? shown.value : (signal.low ?? 0));
    this.typed = exact(stepped(signal, from, direction));
    this.fault = "";
  }

  readonly #submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    const signal = plant.signalOf.get(this.uid);
    if (!signal || this.attempt?.outcome === "sending") return;
    const entry = entryOf(signal, this.typed ?? "");
    if ("fault" in entry) {
      this.fault = entry.fault;
      this.input?.focus();
      return;
    }
    this.fault = "";
    const sent = writes.send(this.uid, entry.value);
    this.attempt = writes.of(this.uid) ?? null;
    await sent;
    // The place where the signal is shown tells what came back; only a failure holds the dialogue open.
    if (this.attempt?.outcome === "done") this.#close();
    else this.requestUpdate();
  };

  readonly #close = (): void => this.dialog.close();

  readonly #closed = (): void => this.remove();
}
