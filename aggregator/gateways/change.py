"""The note that ingest publishes after a commit, and `live` and `web` listen for.

It names what to read again, never the values themselves: a lost note costs freshness, not truth.
"""

import msgspec

from contract.wire.topics import Up


class Changed(msgspec.Struct, frozen=True, kw_only=True):
    """Lanes on which each gateway brought something new; topic `contract.wire.topics.CHANGED`."""

    time_us: int
    gateways: dict[str, tuple[Up, ...]]
