"""SQL of history.db: segments as they came, their members, and the tail they take the place of.

A segment is found through (gateway, store, group, epoch) and time: `member` says in which
epochs of which groups a signal ever was, `series` how long the longest segment of an epoch is,
so that a search by time reads only neighbours. Positions of the head decide between segment and
tail, never times.
"""

from aggregator.history.store.epochs import epochs
from aggregator.history.store.rows import (
    DAY_US,
    Day,
    Epoch,
    KnownMembers,
    Put,
    SegmentRow,
    Source,
    TailRow,
    WholeSegment,
    to_signed,
    to_unsigned,
)
from aggregator.history.store.segments import (
    blob_of,
    days_between,
    digests,
    heads_of_day,
    put_segment,
    segment_keys,
    segment_stores,
    segments_before,
    segments_between,
    segments_of_day,
    segments_sharing,
    way_to,
    whole_segment,
)
from aggregator.history.store.tail import (
    TAIL_BYTES_MAX,
    all_tail,
    close_gaps,
    put_tail,
    tail_between,
    trim_tail,
)

__all__ = [
    "DAY_US",
    "TAIL_BYTES_MAX",
    "Day",
    "Epoch",
    "KnownMembers",
    "Put",
    "SegmentRow",
    "Source",
    "TailRow",
    "WholeSegment",
    "all_tail",
    "blob_of",
    "close_gaps",
    "days_between",
    "digests",
    "epochs",
    "heads_of_day",
    "put_segment",
    "put_tail",
    "segment_keys",
    "segment_stores",
    "segments_before",
    "segments_between",
    "segments_of_day",
    "segments_sharing",
    "tail_between",
    "to_signed",
    "to_unsigned",
    "trim_tail",
    "way_to",
    "whole_segment",
]
