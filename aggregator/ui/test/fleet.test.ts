import { expect, test } from "vitest";

import type { GatewayState } from "../src/live";
import { countsOf, fleetOf, troublesOf, type Figures, type Member } from "../src/parts/fleet";
import type { Gateway } from "../src/plant";

const figures = (more: Partial<Figures> = {}): Figures => ({
  tail_us: 1, clock_offset_us: 0, cpu_share: 0, unsent_events: 0, unsent_segments: 0, reach_s: 0, store_bytes: 0, quota_bytes: 0,
  oldest_us: 0, rss_bytes: 0, recording: true, devices: 1, has_health: true, alarms: {}, ...more,
});
const online: GatewayState = { presence: "online", since_us: 1, unsent: 0, trouble: "", lost_devices: [], quiet_us: null };

function member(id: string, site: string, state: Partial<GatewayState> = {}, told: Partial<Figures> = {}): Member {
  const gateway: Gateway = { id, name: id, site, zone: "UTC", program: "", groups: {} };
  const all = { ...online, ...state };
  return { gateway, state: all, figures: figures(told), troubles: troublesOf(all, figures(told)) };
}

const order = (members: Member[]): string[] => fleetOf(members, (a, b) => a.localeCompare(b)).flatMap((site) => site.members.map((one) => one.gateway.id));

test("trouble stands first, then alarms nobody has seen by priority, then names", () => {
  expect(
    order([
      member("calm", "A"),
      member("alarm-3", "B", {}, { alarms: { "3": [1, 1] } }),
      member("alarm-1", "C", {}, { alarms: { "1": [1, 0], "2": [4, 4] } }),
      member("seen", "D", {}, { alarms: { "1": [0, 1] } }),
      member("clock", "E", {}, { clock_offset_us: -2_000_001 }),
      member("lost", "F", { presence: "lost" }),
      member("quiet", "G", { quiet_us: 5 }),
    ]),
  ).toEqual(["lost", "quiet", "clock", "alarm-1", "alarm-3", "calm", "seen"]);
});

test("a site stands where its worst gateway stands, and keeps the others with it", () => {
  expect(order([member("a", "Bach"), member("b", "Feld"), member("c", "Feld", { lost_devices: ["plc"] })])).toEqual(["c", "b", "a"]);
});

test("two seconds are no trouble of a clock, more are", () => {
  expect(member("x", "", {}, { clock_offset_us: 2_000_000 }).troubles).toEqual([]);
  expect(member("x", "", {}, { clock_offset_us: 2_000_001 }).troubles).toEqual(["clock"]);
  expect(member("x", "", {}, { clock_offset_us: null }).troubles).toEqual([]);
});

test("of a gateway that never told its health nobody says that it does not record", () => {
  expect(troublesOf(online, undefined)).toEqual([]);
  expect(troublesOf(online, figures({ recording: false, has_health: false }))).toEqual([]);
  expect(troublesOf(online, figures({ recording: false }))).toEqual(["recording"]);
});

test("each gateway is counted once as online or away", () => {
  const members = [
    member("a", ""), member("b", "", { presence: "lost" }), member("c", "", { presence: "silent" }),
    member("d", "", { presence: "unknown" }), member("e", "", { trouble: "disk full" }), member("f", "", { quiet_us: 3 }),
  ];
  expect(countsOf(members)).toEqual({ online: 3, away: 3, troubled: 2 });
});
