// What there is: sites, gateways, signals, by name. Read once, again when its version changes.

import { get } from "./api";
import { live } from "./live";

export interface Gateway {
  id: string;
  name: string;
  site: string;
  zone: string;
  program: string;
  /** Names of its groups by uid. */
  groups: Record<string, string>;
}

export interface Signal {
  uid: string;
  gateway: string;
  name: string;
  unit: string;
  type: "float" | "integer" | "boolean" | "text";
  group: string;
  writable: boolean;
  low: number | null;
  high: number | null;
  /** What one step of a set point is, in its unit; null: any value. */
  step: number | null;
}

export type Right = "view" | "command" | "acknowledge";

interface Structure {
  rights: Right[];
  gateways: Gateway[];
  signals: Signal[];
}

const UNKNOWN = -1;
const FAILED = -2;

class Plant extends EventTarget {
  gateways: Gateway[] = [];
  signals: Signal[] = [];
  gatewayOf = new Map<string, Gateway>();
  signalOf = new Map<string, Signal>();
  isLoaded = false;
  trouble = "";
  #rights = new Set<Right>();
  #version = UNKNOWN;
  #reading: Promise<void> | null = null;

  /** Keep it up to date from now on; `change` events follow. */
  start(): void {
    void this.read();
    live.listen(() => {
      if (this.#version === UNKNOWN) this.#version = live.structure; // read before the first frame
      else if (live.structure !== this.#version) void this.read();
    });
  }

  /** Read it now, or wait for a reading that is under way. */
  read(): Promise<void> {
    this.#reading ??= this.#read().finally(() => (this.#reading = null));
    return this.#reading;
  }

  async #read(): Promise<void> {
    const version = live.hasSnapshot ? live.structure : UNKNOWN;
    try {
      const said = await get<Structure>("/api/v1/structure");
      this.#version = version;
      this.gateways = said.gateways;
      this.signals = said.signals;
      this.#rights = new Set(said.rights);
      this.gatewayOf = new Map(said.gateways.map((one) => [one.id, one]));
      this.signalOf = new Map(said.signals.map((one) => [one.uid, one]));
      this.isLoaded = true;
      this.trouble = "";
    } catch (error) {
      this.trouble = (error as Error).message;
      this.#version = FAILED; // the next frame tries again
    }
    this.dispatchEvent(new Event("change"));
  }

  /** Whether the user may do this; the server asks again. */
  may(right: Right): boolean {
    return this.#rights.has(right);
  }

  zone(gateway: string): string {
    return this.gatewayOf.get(gateway)?.zone ?? "";
  }

  nameOfGateway(id: string): string {
    return this.gatewayOf.get(id)?.name || id;
  }
}

export const plant = new Plant();
