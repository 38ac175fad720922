"""The gateway's own store of samples: an append-only head, sealed segments, a ring by bytes."""
