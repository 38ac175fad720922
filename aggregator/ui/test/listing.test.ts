import { expect, test } from "vitest";

import { addressOf, listingOf } from "../src/parts/listing";

test("an address says what is searched, which chips are on and what is open", () => {
  const address = "?q=speicher+oben&show=bad%2Cwritable&tree=closed&but=gateway+a%26b&but=site+";
  const listing = listingOf(address);
  expect(listing.search).toBe("speicher oben");
  expect([...listing.chips]).toEqual(["bad", "writable"]);
  expect(listing.isOpen).toBe(false);
  expect([...listing.others]).toEqual(["gateway a&b", "site "]);
  expect(listingOf(addressOf(listing))).toEqual(listing);
});

test("where all is as at first the address is bare", () => {
  expect(addressOf(listingOf(""))).toBe("");
  expect(listingOf("").isOpen).toBe(true);
  expect(addressOf(listingOf("?show=nonsense&tree=sideways&q=++"))).toBe("");
});
