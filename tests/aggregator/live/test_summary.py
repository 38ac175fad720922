from typing import Any

from aggregator.alarms.line import State, WhyNot
from aggregator.alarms.store import Alarm
from aggregator.live.summary import summary
from contract.model.message import Source

NOW = 1_795_262_400_000_000


def alarm(message: str, priority: int, raised_us: int = NOW, **fields: Any) -> Alarm:
    first = Alarm(
        gateway="roof",
        source=Source.USER,
        number=1,
        message=message,
        occurrence_us=raised_us,
        priority=priority,
        text=message,
        signal="",
        value=None,
        raised_us=raised_us,
        ended_us=None,
        acknowledged_us=None,
        acknowledged_by="",
        is_standing=True,
    )
    return first._replace(**fields)


def test_nothing_is_nothing() -> None:
    assert summary([]) == {"unacknowledged": 0, "standing": 0, "by_priority": {}, "newest": None}


def test_each_priority_is_counted_by_what_waits_and_what_stands() -> None:
    told = summary(
        [
            alarm("a", 2),
            alarm("b", 2, is_standing=False),
            alarm("c", 1, acknowledge_state=State.WAITING),
            alarm("d", 4, needs_acknowledgement=False),
        ]
    )
    assert (told["unacknowledged"], told["standing"]) == (2, 3)
    assert told["by_priority"] == {"1": [0, 1], "2": [2, 1], "4": [0, 1]}


def test_the_one_to_show_waits_is_of_the_highest_priority_and_the_newest_of_those() -> None:
    acknowledged = alarm("done", 1, NOW + 9, acknowledge_state=State.DONE)
    lines = [alarm("low", 3, NOW + 5), alarm("old", 2, NOW), alarm("new", 2, NOW + 1), acknowledged]
    newest = summary(lines)["newest"]
    assert newest == lines[2]._asdict() | {"can_acknowledge": True, "why_not": None}
    told = acknowledged._asdict() | {"can_acknowledge": False, "why_not": WhyNot.ALREADY}
    assert summary([acknowledged])["newest"] == told
