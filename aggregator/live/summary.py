"""The alarm list in a line, for the strip on every page. Pure."""

from collections.abc import Sequence

from aggregator.alarms.store import Alarm


def summary(alarms: Sequence[Alarm]) -> dict[str, object]:
    """What waits to be acknowledged, what stands, how many of each priority, and the alarm to show.

    That is one nobody has acknowledged, of the highest priority, and of those the newest. Where
    all are acknowledged, one that stands.
    """
    counts: dict[int, list[int]] = {}
    for alarm in alarms:
        of_priority = counts.setdefault(alarm.priority, [0, 0])
        of_priority[0] += _waits(alarm)
        of_priority[1] += alarm.is_standing
    first = min(alarms, key=_rank, default=None)
    return {
        "unacknowledged": sum(waiting for waiting, _ in counts.values()),
        "standing": sum(standing for _, standing in counts.values()),
        "by_priority": {str(priority): counts[priority] for priority in sorted(counts)},
        "newest": None if first is None else _told(first),
    }


def _told(alarm: Alarm) -> dict[str, object]:
    """As in the list; whether somebody may acknowledge it is not asked here, only whether it can be done."""
    why = alarm.why_not
    return alarm._asdict() | {"can_acknowledge": why is None, "why_not": why}


def _waits(alarm: Alarm) -> bool:
    return alarm.why_not is None


def _rank(alarm: Alarm) -> tuple[bool, int, int]:
    """The smallest is shown."""
    return not _waits(alarm), alarm.priority, -alarm.raised_us
