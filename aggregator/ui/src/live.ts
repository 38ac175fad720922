// The live channel: one WebSocket a page, a snapshot, then what changed. Everything on a page that
// moves asks here. Protocol: docs/live-channel.md.

import type { ReactiveController, ReactiveControllerHost } from "lit";

export type Plain = number | string | boolean | null;
export type State = "good" | "uncertain" | "bad" | "stale" | "none";
export type Presence = "online" | "silent" | "lost" | "unknown";

/** One signal as it may be shown now. */
export interface Shown {
  value: Plain;
  quality: number;
  timeUs: number | null;
  state: State;
}

export interface GatewayState {
  presence: Presence;
  since_us: number | null;
  unsent: number;
  trouble: string;
  lost_devices: string[];
  /** Since when no values come although it is online and some should. */
  quiet_us?: number | null;
}

export interface Link {
  broker_lost_us: number | null;
  ingest_lost_us: number | null;
}

/** The alarm that the strip shows. */
export interface NewestAlarm {
  gateway: string;
  gateway_name: string;
  zone: string;
  source: string;
  message: string;
  number: number;
  occurrence_us: number;
  priority: number;
  text: string;
  signal: string;
  signal_name: string;
  raised_us: number;
  is_standing: boolean;
}

export interface Summary {
  unacknowledged: number;
  standing: number;
  by_priority: Record<string, [number, number]>;
  newest: NewestAlarm | null;
}

type Wire = [Plain, number, number | null, State];

export interface Frame {
  type: "snapshot" | "update";
  seq: number;
  now_us: number;
  structure: number;
  alarms: number;
  link?: Link;
  gateways?: Record<string, GatewayState>;
  values?: Record<string, Wire>;
  summary?: Summary;
}

/** What a frame changed, for those who want to know. */
export interface Change {
  values: ReadonlySet<string>;
  gateways: boolean;
  link: boolean;
  structure: boolean;
  alarms: boolean;
}

export const NOTHING: Shown = { value: null, quality: 0, timeUs: null, state: "none" };

const SILENCE_MS = 2500;
const RETRY_MS = [300, 1000, 2000, 3000];
const SESSION_ENDED = 4401;

/** All that is known of the present. Fed by `take`; the socket and the clock are behind `start`. */
export class Live {
  values = new Map<string, Shown>();
  gateways = new Map<string, GatewayState>();
  link: Link = { broker_lost_us: null, ingest_lost_us: null };
  summary: Summary | null = null;
  structure = 0;
  alarms = 0;
  /** Since when this page hears nothing, ms of the browser's clock corrected; null: it does. */
  lostSinceMs: number | null = null;
  hasSnapshot = false;
  /** Key of a word why the server lets us no longer in. */
  refused = "";

  #seq = 0;
  #offsetMs = 0;
  #heardAt = performance.now();
  #listeners = new Set<(change: Change) => void>();
  #watchers = new Map<object, ReadonlySet<string> | "all">();
  #asked = "";
  #socket: WebSocket | null = null;
  #attempts = 0;

  /** Now by the server's clock, ms. */
  nowMs = (): number => Date.now() + this.#offsetMs;

  /** Call back after every frame, until the returned function is called. */
  listen(hear: (change: Change) => void): () => void {
    this.#listeners.add(hear);
    return () => this.#listeners.delete(hear);
  }

  /** Name the signals that `who` shows, in place of those named before; none: forget `who`. */
  watch(who: object, uids: Iterable<string> | "all"): void {
    const set = uids === "all" ? "all" : new Set(uids);
    if (set !== "all" && set.size === 0) this.#watchers.delete(who);
    else this.#watchers.set(who, set);
    queueMicrotask(() => this.#ask());
  }

  of(uid: string): Shown {
    return this.values.get(uid) ?? NOTHING;
  }

  /** Take in one frame. */
  take(frame: Frame): void {
    if (frame.type === "update" && this.hasSnapshot && frame.seq < this.#seq) return;
    this.#seq = frame.seq;
    this.#heardAt = performance.now();
    this.#offsetMs = frame.now_us / 1000 - Date.now();
    const change = {
      values: new Set(Object.keys(frame.values ?? {})),
      gateways: frame.gateways !== undefined,
      link: frame.link !== undefined || this.lostSinceMs !== null || this.refused !== "",
      structure: frame.structure !== this.structure,
      alarms: frame.alarms !== this.alarms || frame.summary !== undefined,
    };
    if (frame.type === "snapshot") {
      this.values.clear();
      this.gateways.clear();
      this.hasSnapshot = true;
    }
    this.lostSinceMs = null;
    this.refused = "";
    for (const [uid, [value, quality, timeUs, state]] of Object.entries(frame.values ?? {}))
      this.values.set(uid, { value, quality, timeUs, state });
    for (const [id, state] of Object.entries(frame.gateways ?? {})) this.gateways.set(id, state);
    if (frame.link) this.link = frame.link;
    if (frame.summary) this.summary = frame.summary;
    this.structure = frame.structure;
    this.alarms = frame.alarms;
    this.#tell(change);
  }

  /** Open the socket and keep it open. */
  start(): void {
    this.#connect();
    setInterval(() => this.tick(), 500);
  }

  /** Notice silence; called by a timer. */
  tick(): void {
    if (this.lostSinceMs !== null || performance.now() - this.#heardAt <= SILENCE_MS) return;
    this.#lost();
    this.#socket?.close();
  }

  #lost(): void {
    if (this.lostSinceMs === null) this.lostSinceMs = this.nowMs() - (performance.now() - this.#heardAt);
    this.#tell({ values: new Set(), gateways: false, link: true, structure: false, alarms: false });
  }

  #tell(change: Change): void {
    for (const hear of [...this.#listeners]) hear(change);
  }

  #wanted(): string {
    const sets = [...this.#watchers.values()];
    if (sets.includes("all")) return '"all"';
    const union = new Set<string>();
    for (const set of sets) for (const uid of set) union.add(uid);
    return JSON.stringify([...union].sort());
  }

  #ask(): void {
    const wanted = this.#wanted();
    if (wanted === this.#asked || this.#socket?.readyState !== WebSocket.OPEN) return;
    this.#asked = wanted;
    this.#socket.send(`{"watch":${wanted}}`);
  }

  #connect(): void {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/live?watch=none`);
    this.#socket = socket;
    this.#asked = "[]";
    let hasOpened = false;
    socket.onopen = () => {
      hasOpened = true;
      this.#attempts = 0;
      this.#ask();
    };
    socket.onmessage = (event: MessageEvent<string>) => {
      if (socket === this.#socket) this.take(JSON.parse(event.data) as Frame);
    };
    socket.onclose = (event) => {
      if (socket !== this.#socket) return;
      if (event.code === SESSION_ENDED) this.refused = "link.left";
      this.#lost();
      if (!hasOpened) void this.#askWhy();
      const wait = RETRY_MS[Math.min(this.#attempts++, RETRY_MS.length - 1)];
      setTimeout(() => this.#connect(), wait);
    };
  }

  /** A browser does not tell why a socket was refused; an ordinary request does. */
  async #askWhy(): Promise<void> {
    try {
      const answer = await fetch("/api/v1/gateways");
      this.refused = answer.status === 401 ? "link.left" : answer.ok ? "link.full" : "";
    } catch {
      this.refused = "";
    }
    this.#lost();
  }
}

export const live = new Live();

/**
 * Redraws its element when the present changes, once a frame of the screen, and each second for ages.
 *
 * `signals` names what the element shows; `wants` decides which changes matter, by default all.
 */
export class LiveController implements ReactiveController {
  #stop: (() => void) | null = null;
  #timer = 0;
  #pending = false;

  constructor(
    private readonly host: ReactiveControllerHost,
    private readonly signals: () => Iterable<string> = () => [],
    private readonly wants: (change: Change) => boolean = () => true,
  ) {
    host.addController(this);
  }

  hostConnected(): void {
    this.#stop = live.listen((change) => {
      if (this.wants(change)) this.#redraw();
    });
    this.#timer = window.setInterval(() => this.#redraw(), 1000);
  }

  hostUpdated(): void {
    live.watch(this, this.signals());
  }

  hostDisconnected(): void {
    this.#stop?.();
    clearInterval(this.#timer);
    live.watch(this, []);
  }

  #redraw(): void {
    if (this.#pending) return;
    this.#pending = true;
    requestAnimationFrame(() => {
      this.#pending = false;
      this.host.requestUpdate();
    });
  }
}
