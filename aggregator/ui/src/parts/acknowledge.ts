// Acknowledging alarms, from any page.

import { post } from "../api";
import { fullMoment, t } from "../t";

/** What names one occurrence. */
export interface Occurrence {
  gateway: string;
  source: string;
  message: string;
  occurrence_us: number;
}

/** What became of one line at once. */
export interface Became extends Occurrence {
  outcome: "waiting" | "already" | "not_needed" | "unknown";
  acknowledged_by: string;
  acknowledged_name: string;
  acknowledged_us: number | null;
}

const AT_ONCE = 1000;

/** Say that an operator has seen these; waits for the centre, not for the gateways. */
export async function acknowledge(alarms: readonly Occurrence[], comment = ""): Promise<Became[]> {
  const found: Became[] = [];
  for (let at = 0; at < alarms.length; at += AT_ONCE) {
    const wanted = alarms
      .slice(at, at + AT_ONCE)
      .map(({ gateway, source, message, occurrence_us }) => ({ gateway, source, message, occurrence_us }));
    const said = await post<{ results: Became[] }>("/api/v1/alarms/acknowledge", { alarms: wanted, comment });
    found.push(...said.body.results);
  }
  return found;
}

/** In words what the operator must know about it; empty where all went as he wanted. */
export function remark(found: readonly Became[], zone = ""): string {
  const first = found.find((one) => one.outcome === "already");
  if (!first) return found.some((one) => one.outcome === "unknown") ? t("alarms.gone") : "";
  const by = first.acknowledged_name || first.acknowledged_by;
  const time = first.acknowledged_us === null ? "–" : fullMoment(first.acknowledged_us, zone);
  return t("alarms.already", { by, time });
}
