// How the list of signals stands in the address bar: what is searched, which chips are on, what is open.

export const CHIPS = ["bad", "stale", "writable"] as const;
export type Chip = (typeof CHIPS)[number];

export interface Listing {
  search: string;
  chips: ReadonlySet<Chip>;
  /** Whether branches are open unless named. */
  isOpen: boolean;
  /** Keys of branches that are not as the rest. */
  others: ReadonlySet<string>;
}

export function listingOf(address: string): Listing {
  const said = new URLSearchParams(address);
  const named = (said.get("show") ?? "").split(",");
  return {
    search: said.get("q") ?? "",
    chips: new Set(CHIPS.filter((chip) => named.includes(chip))),
    isOpen: said.get("tree") !== "closed",
    others: new Set(said.getAll("but")),
  };
}

/** The query part of the address; empty where all is as at first. */
export function addressOf(listing: Listing): string {
  const said = new URLSearchParams();
  if (listing.search.trim()) said.set("q", listing.search.trim());
  if (listing.chips.size) said.set("show", CHIPS.filter((chip) => listing.chips.has(chip)).join(","));
  if (!listing.isOpen) said.set("tree", "closed");
  for (const key of [...listing.others].sort()) said.append("but", key);
  const text = said.toString();
  return text ? `?${text}` : "";
}
