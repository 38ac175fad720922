"""What is told of each node: once bad, never twice, with the time at which it was so. Pure.

Values come from three sides: the first notification of a subscription (how things stand), all
later ones (what changed), and a look after a break (how things stand again). What stands gets
the moment of the look where the device's own stamp is older than what was told before: the
value may be days old, that it stands is known only now.
"""

import math
from typing import Final

from contract.model.batch import Value
from contract.model.quality import Quality
from edge.clock import EARLIEST_US
from edge.drivers.driver import Point
from edge.drivers.inbox import Inbox

NO_VALUE: Final = math.nan


class Item:
    """One signal and what was last told of it.

    Args:
        inbox: of its group.
        floor_us: what stands is told with a time after this one, µs UTC.

    Attributes:
        is_fresh: its first notification is how it stands, not what changed.
        is_away: it was told bad because the server is away.
    """

    def __init__(self, point: Point, inbox: Inbox, floor_us: int) -> None:
        self.point = point
        self.is_fresh = True
        self.is_away = False
        self._inbox = inbox
        self._floor_us = floor_us
        self._told: tuple[int | None, Value, int] | None = None
        self._bad: Quality | None = None

    @property
    def is_waiting(self) -> bool:
        """Nothing was told of it yet, or nothing but that the server is away."""
        return self._told is None or self.is_away

    def changed(self, value: Value, quality: Quality, source_us: int | None, now_us: int) -> None:
        """A value the server sent because it changed."""
        stamp_us = source_us if source_us is not None and source_us >= EARLIEST_US else now_us
        stamp_us = min(stamp_us, now_us)
        if self.is_away and quality < Quality.BAD and stamp_us < self._floor_us:
            # It changed while the server was away: history, and not how it stands now.
            self._inbox.put(self.point.signal, stamp_us, value, quality)
            return
        self._tell(value, quality, source_us, stamp_us)

    def stands(
        self, value: Value, quality: Quality, source_us: int | None, sent_us: int | None, now_us: int
    ) -> None:
        """How it stands, first or again; `sent_us`: by the server's clock when it said so."""
        stamp_us = now_us
        if source_us is not None:
            stamp_us = source_us if source_us > self._floor_us else sent_us or now_us
        stamp_us = min(max(stamp_us, self._floor_us), now_us)
        self._told = None if self.is_away else self._told
        self._tell(value, quality, source_us, stamp_us)

    def bad(self, quality: Quality, now_us: int) -> None:
        """It cannot be read; told once."""
        self.changed(NO_VALUE, quality, None, now_us)

    def away(self, now_us: int) -> None:
        """The server is away."""
        self.is_fresh = False
        if self._bad is not None:
            return
        self.bad(Quality.BAD_NO_COMMUNICATION, now_us)
        self.is_away = True
        self._floor_us = now_us + 1

    def begin(self, floor_us: int) -> None:
        """A new subscription: what comes next is how it stands."""
        self.is_fresh = True
        self._floor_us = max(self._floor_us, floor_us)

    def _tell(self, value: Value, quality: Quality, source_us: int | None, stamp_us: int) -> None:
        if quality >= Quality.BAD:
            if quality is self._bad:
                return
            self._bad, value, self._told = quality, NO_VALUE, (None, 0.0, quality)
        else:
            told = (source_us, value, quality)
            if source_us is not None and told == self._told and self._bad is None:
                return
            self._bad, self._told = None, told
        self.is_away = False
        self._inbox.put(self.point.signal, stamp_us, value, quality)
