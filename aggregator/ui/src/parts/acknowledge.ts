// Acknowledging alarms, from any page.

import { post } from "../api";

/** What names one occurrence. */
export interface Occurrence {
  gateway: string;
  source: string;
  message: string;
  number: number;
  occurrence_us: number;
}

/** Where each wish stands, in the order asked. */
export interface Acknowledged {
  results: { state: string; text: string }[];
}

/** Tell the gateways that an operator has seen these; waits for the centre, not for the gateways. */
export async function acknowledge(alarms: readonly Occurrence[], comment = ""): Promise<Acknowledged> {
  const wanted = alarms.map(({ gateway, source, message, number, occurrence_us }) => ({
    gateway, source, message, number, occurrence_us,
  }));
  return (await post<Acknowledged>("/api/v1/alarms/acknowledge", { alarms: wanted, comment })).body;
}
