// One gateway: how it fares now, its devices, the configuration in force, what happened last.

import "./gateway.css";

import { html, nothing, type PropertyValues, type TemplateResult } from "lit";
import { customElement, property, state } from "lit/decorators.js";

import { ApiError, get } from "../api";
import { Element } from "../element";
import { live, LiveController, type GatewayState } from "../live";
import { empty } from "../parts/empty";
import { presenceMark, priorityMark } from "../parts/marks";
import { bytes, fullMoment, has, moment, number, span, t } from "../t";

interface Device {
  uid: string;
  connected: boolean;
  since_us: number;
  reads: number;
  samples: number;
  errors: number;
  losses: number;
  last_error: string;
}

interface Health {
  unsent_events: number;
  unsent_segments: number;
  store_bytes: number;
  quota_bytes: number;
  oldest_raw_us: number;
  oldest_us: number;
  recording: boolean;
  trouble: string;
  devices: Device[];
  rss_bytes: number;
  cpu_s: number;
}

interface Happening {
  time_us: number;
  kind: string;
  number: number;
  message: string;
  priority: number;
  text: string;
  signal: string;
  actor: string;
}

interface Document {
  devices?: Record<string, { driver: string; name?: string }>;
  groups?: Record<string, { device: string; cycle_s: number }>;
  signals?: Record<string, unknown>;
  messages?: Record<string, unknown>;
}

interface Said {
  id: string;
  name: string;
  site: string;
  zone: string;
  program: string;
  store: string | null;
  boot: string;
  first_seen_us: number;
  last_seen_us: number;
  state: GatewayState | null;
  status: { online: boolean; time_us: number; health: Health } | null;
  configuration: {
    document: Document | null;
    digest: string;
    applied_us: number | null;
    refused: string;
    faults: string[];
  };
  events: Happening[];
}

const AGAIN_MS = 5000;
const RAISING = new Set(["raised", "system"]);

@customElement("fw-gateway")
export class GatewayPage extends Element {
  @property() gateway = "";
  @state() private said: Said | null = null;
  @state() private trouble = "";
  #timer = 0;
  #reading: AbortController | null = null;

  constructor() {
    super();
    new LiveController(this, () => [], (change) => change.gateways || change.link);
  }

  override connectedCallback(): void {
    super.connectedCallback();
    // Health comes with the heartbeat, every ten seconds.
    this.#timer = window.setInterval(() => void this.#read(), AGAIN_MS);
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    clearInterval(this.#timer);
    this.#reading?.abort();
  }

  protected override willUpdate(changed: PropertyValues): void {
    if (changed.has("gateway")) void this.#read();
  }

  async #read(): Promise<void> {
    if (!this.gateway || document.hidden) return;
    this.#reading?.abort();
    this.#reading = new AbortController();
    try {
      this.said = await get<Said>(`/api/v1/gateways/${encodeURIComponent(this.gateway)}`, this.#reading.signal);
      this.trouble = "";
      document.title = `${this.said.name || this.said.id} · Feldwarte`;
    } catch (error) {
      if ((error as Error).name === "AbortError") return;
      const isUnknown = error instanceof ApiError && error.status === 404;
      this.trouble = isUnknown ? t("gateway.unknown", { id: this.gateway }) : t("gateway.failed", { text: (error as Error).message });
    }
  }

  override render(): TemplateResult {
    const said = this.said;
    if (!said) {
      return this.trouble
        ? empty(t("gateway.title"), html`${this.trouble} <a href="/">${t("nav.overview")}</a>`)
        : html`<p class="quiet">${t("loading")}</p>`;
    }
    const state = live.gateways.get(said.id) ?? said.state;
    const since = state?.since_us ? moment(state.since_us, said.zone, live.nowMs()) : "";
    return html`<div class="head">
        <h1>${said.name || said.id}</h1>
        ${said.site ? html`<span class="quiet">${said.site}</span>` : nothing}
        ${state ? presenceMark(state.presence, since) : nothing}
        <a class="button" href=${`/signals?q=${encodeURIComponent(said.id)}`}>${t("nav.signals")}</a>
      </div>
      ${this.trouble ? html`<p class="error">${this.trouble}</p>` : nothing}
      <div class="gateway-page">${this.#figures(said, state)} ${this.#devices(said)} ${this.#configuration(said)} ${this.#events(said)}</div>`;
  }

  #figures(said: Said, state: GatewayState | null): TemplateResult {
    const health = said.status?.health;
    const nowUs = live.nowMs() * 1000;
    const reach = health?.oldest_us ? span((nowUs - health.oldest_us) / 1e6) : "–";
    const raw = health?.oldest_raw_us ? span((nowUs - health.oldest_raw_us) / 1e6) : "–";
    const figure = (key: string, value: string, isBad = false): TemplateResult =>
      html`<div class=${isBad ? "bad" : ""}><dt>${t(key)}</dt><dd>${value}</dd></div>`;
    const trouble = [state?.trouble, said.configuration.refused].filter(Boolean).join(" · ");
    return html`<section class="plate">
      <h2>${t("gateway.state")}</h2>
      ${trouble ? html`<p class="error">${trouble}</p>` : nothing}
      <dl class="figures">
        ${figure("gateway.seen", span((nowUs - said.last_seen_us) / 1e6))}
        ${figure("gateway.unsent", number((health?.unsent_events ?? 0) + (health?.unsent_segments ?? 0)))}
        ${figure("gateway.recording", health ? t(health.recording ? "gateway.yes" : "gateway.no") : "–", health?.recording === false)}
        ${figure("gateway.store", health ? t("gateway.of", { used: bytes(health.store_bytes), all: bytes(health.quota_bytes) }) : "–")}
        ${figure("gateway.reach_raw", raw)} ${figure("gateway.reach", reach)}
        ${figure("gateway.memory", health?.rss_bytes ? bytes(health.rss_bytes) : "–")}
        ${figure("gateway.cpu", health?.cpu_s ? span(health.cpu_s) : "–")}
        ${figure("gateway.program", said.program || "–")} ${figure("gateway.id", said.id)}
        ${figure("gateway.zone", said.zone)} ${figure("gateway.first_seen", fullMoment(said.first_seen_us, said.zone))}
      </dl>
    </section>`;
  }

  #devices(said: Said): TemplateResult {
    const devices = said.status?.health.devices ?? [];
    const configured = said.configuration.document?.devices ?? {};
    return html`<section class="plate">
      <h2>${t("gateway.device_list")}</h2>
      ${devices.length === 0
        ? html`<p class="quiet">${t("gateway.no_devices")}</p>`
        : html`<div class="scroll"><table class="cards">
            <thead>
              <tr>
                <th scope="col">${t("device.name")}</th><th scope="col">${t("device.driver")}</th>
                <th scope="col">${t("device.link")}</th><th scope="col" class="number">${t("device.reads")}</th>
                <th scope="col" class="number">${t("device.samples")}</th><th scope="col" class="number">${t("device.losses")}</th>
                <th scope="col" class="number">${t("device.errors")}</th><th scope="col">${t("device.last_error")}</th>
              </tr>
            </thead>
            <tbody>
              ${devices.map((device) => {
                const settings = configured[device.uid];
                const since = device.since_us ? moment(device.since_us, said.zone, live.nowMs()) : "";
                return html`<tr>
                  <th scope="row"><strong>${settings?.name || device.uid}</strong> ${settings?.name ? html`<span class="quiet">${device.uid}</span>` : nothing}</th>
                  <td data-label=${t("device.driver")}>${settings?.driver ?? "–"}</td>
                  <td>${presenceMark(device.connected ? "online" : "lost", since)}</td>
                  <td class="number" data-label=${t("device.reads")}>${number(device.reads)}</td>
                  <td class="number" data-label=${t("device.samples")}>${number(device.samples)}</td>
                  <td class="number" data-label=${t("device.losses")}>${number(device.losses)}</td>
                  <td class="number" data-label=${t("device.errors")}>${number(device.errors)}</td>
                  <td class=${device.connected ? "quiet" : "last-error"} data-label=${t("device.last_error")}>${device.last_error || "–"}</td>
                </tr>`;
              })}
            </tbody>
          </table></div>`}
    </section>`;
  }

  #configuration(said: Said): TemplateResult {
    const { document, digest, applied_us, refused, faults } = said.configuration;
    const count = (part: Record<string, unknown> | undefined): string => number(Object.keys(part ?? {}).length);
    return html`<section class="plate">
      <h2>${t("gateway.configuration")}</h2>
      ${refused
        ? html`<p class="error">${refused}</p>
            <ul class="faults">${faults.map((fault) => html`<li><code>${fault}</code></li>`)}</ul>`
        : nothing}
      ${document
        ? html`<p>
              ${t("gateway.applied", {
                time: applied_us ? fullMoment(applied_us, said.zone) : "–",
                devices: count(document.devices), groups: count(document.groups),
                signals: count(document.signals), messages: count(document.messages),
              })}
              <span class="quiet">${t("gateway.digest")} <code>${digest.slice(0, 12)}</code></span>
            </p>
            <details><summary>${t("gateway.document")}</summary><pre tabindex="0">${JSON.stringify(document, null, 1)}</pre></details>`
        : html`<p class="quiet">${t("gateway.unconfigured")}</p>`}
    </section>`;
  }

  #events(said: Said): TemplateResult {
    return html`<section class="plate">
      <h2>${t("gateway.events")}</h2>
      ${said.events.length === 0
        ? html`<p class="quiet">${t("gateway.no_events")}</p>`
        : html`<table class="cards events">
            <thead><tr><th scope="col">${t("event.time")}</th><th scope="col">${t("event.kind")}</th><th scope="col">${t("event.text")}</th></tr></thead>
            <tbody>
              ${said.events.map(
                (one) => html`<tr>
                  <td class="when"><time>${fullMoment(one.time_us, said.zone)}</time></td>
                  <td class="when">${RAISING.has(one.kind) ? priorityMark(one.priority) : nothing} ${t(has(`event.${one.kind}`) ? `event.${one.kind}` : "event.other")}</td>
                  <td>${one.text || one.message}${one.signal ? html` <span class="quiet">${one.signal}</span>` : nothing}${one.actor ? html` <span class="quiet">${one.actor}</span>` : nothing}</td>
                </tr>`,
              )}
            </tbody>
          </table>`}
    </section>`;
  }
}
