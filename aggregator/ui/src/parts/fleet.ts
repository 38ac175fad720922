// All gateways in an order that puts trouble first, and what their trouble is. No DOM.

import type { GatewayState } from "../live";
import type { Gateway } from "../plant";

/** Figures of a gateway as /api/v1/overview gives them. */
export interface Figures {
  tail_us: number | null;
  clock_offset_us: number | null;
  cpu_share: number | null;
  unsent_events: number;
  unsent_segments: number;
  reach_s: number;
  store_bytes: number;
  quota_bytes: number;
  oldest_us: number;
  rss_bytes: number;
  recording: boolean;
  devices: number;
  has_health: boolean;
  /** [not acknowledged, standing] by priority. */
  alarms: Record<string, [number, number]>;
}

export const CLOCK_OFF_US = 2_000_000;

export type Trouble = "lost" | "silent" | "quiet" | "recording" | "said" | "devices" | "clock";

/** What is wrong with it, the worst first. Alarms of the plant are no trouble of the gateway. */
export function troublesOf(state: GatewayState | undefined, figures: Figures | undefined): Trouble[] {
  const found: Trouble[] = [];
  if (state?.presence === "lost") found.push("lost");
  if (state?.presence === "silent") found.push("silent");
  if (state?.quiet_us) found.push("quiet");
  if (figures?.has_health && !figures.recording) found.push("recording");
  if (state?.trouble) found.push("said");
  if (state?.lost_devices.length) found.push("devices");
  if (Math.abs(figures?.clock_offset_us ?? 0) > CLOCK_OFF_US) found.push("clock");
  return found;
}

const RANKS: Trouble[] = ["lost", "silent", "quiet", "recording", "said", "devices", "clock"];

export interface Member {
  gateway: Gateway;
  state: GatewayState | undefined;
  figures: Figures | undefined;
  troubles: Trouble[];
}

/** Smaller stands further up: trouble, then unacknowledged alarms by priority, then all others. */
export function rankOf(member: Member): number {
  const worst = member.troubles[0];
  if (worst) return RANKS.indexOf(worst);
  const waiting = Object.entries(member.figures?.alarms ?? {}).flatMap(([priority, [count]]) => (count ? [Number(priority)] : []));
  return waiting.length ? 10 + Math.min(...waiting) : 1000;
}

export interface Site {
  name: string;
  members: Member[];
}

/** Sites and in them gateways, those with the worst first, then by name. */
export function fleetOf(members: readonly Member[], compare: (a: string, b: string) => number): Site[] {
  const ranked = new Map(members.map((member) => [member, rankOf(member)]));
  const rank = (member: Member): number => ranked.get(member)!;
  const nameOf = (member: Member): string => member.gateway.name || member.gateway.id;
  const sites = new Map<string, Member[]>();
  for (const member of members) {
    const there = sites.get(member.gateway.site);
    if (there) there.push(member);
    else sites.set(member.gateway.site, [member]);
  }
  const found = [...sites].map(([name, inside]) => ({
    name,
    members: inside.sort((a, b) => rank(a) - rank(b) || compare(nameOf(a), nameOf(b))),
  }));
  return found.sort((a, b) => rank(a.members[0]!) - rank(b.members[0]!) || compare(a.name, b.name));
}

export interface Counts {
  online: number;
  away: number;
  troubled: number;
}

/** For the line above the list: each gateway is counted once as online or away; troubled ones are online. */
export function countsOf(members: readonly Member[]): Counts {
  const counts = { online: 0, away: 0, troubled: 0 };
  for (const { state, troubles } of members) {
    if (state?.presence === "online") counts.online += 1;
    else counts.away += 1;
    if (state?.presence === "online" && troubles.length) counts.troubled += 1;
  }
  return counts;
}
