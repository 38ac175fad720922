"""What pages ask about alarms and events, each in one reading of main.db, and what operators do."""

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple
from uuid import uuid4

from aggregator.alarms import store
from aggregator.alarms.line import Line, WhyNot
from aggregator.alarms.store import Alarm, Asked, Position, StoredEvent
from aggregator.alarms.wishes import store as wishing
from aggregator.alarms.wishes.store import Wished
from aggregator.db.engine import Connection, Databases, Unstorable, reading, writing
from aggregator.scope import Right, Scope


class Became(StrEnum):
    """What became of an operator's acknowledgement at once."""

    WAITING = "waiting"
    """It is kept, and goes to the gateway."""
    ALREADY = "already"
    """Somebody was first; it is said who."""
    NOT_NEEDED = "not_needed"
    UNKNOWN = "unknown"


class Acknowledged(NamedTuple):
    """Answer about one line: who acknowledges it, and since when."""

    line: Line
    became: Became
    by: str = ""
    name: str = ""
    at_us: int | None = None
    comment: str = ""


def current(scope: Scope, databases: Databases, limit: int = 1000) -> list[Alarm]:
    """Alarms that stand, and those over that still ask for an acknowledgement; newest first."""
    with reading(databases.main) as connection:
        return store.current(scope, connection, limit)


def history(
    scope: Scope, databases: Databases, asked: Asked, after: Position | None, limit: int
) -> tuple[list[Alarm], Position | None]:
    """A page of the history, newest first, and where the next one goes on; None: that was all."""
    with reading(databases.main) as connection:
        return store.history(scope, connection, asked, after, limit)


def events(
    scope: Scope,
    databases: Databases,
    *,
    from_us: int | None = None,
    to_us: int | None = None,
    gateway_id: str | None = None,
    limit: int = 1000,
) -> list[StoredEvent]:
    """Events in from_us…to_us, newest first."""
    with reading(databases.main) as connection:
        return store.events(
            scope, connection, from_us=from_us, to_us=to_us, gateway_id=gateway_id, limit=limit
        )


def acknowledge(
    scope: Scope, databases: Databases, lines: Sequence[Line], comment: str, now_us: int
) -> list[Acknowledged]:
    """Keep that an operator acknowledges these lines, in one transaction; gateways are told afterwards.

    Of two operators at once exactly one is kept; the other is told of the first.
    """
    scope.require(Right.ACKNOWLEDGE)
    try:
        with writing(databases.main) as connection:
            return _acknowledge(scope, connection, lines, comment, now_us)
    except Unstorable:  # another server's transaction was quicker: now it can be read
        with writing(databases.main) as connection:
            return _acknowledge(scope, connection, lines, comment, now_us)


def _acknowledge(
    scope: Scope, connection: Connection, lines: Sequence[Line], comment: str, now_us: int
) -> list[Acknowledged]:
    wanted = list(dict.fromkeys(lines))
    there = store.lines(scope, connection, wanted)
    found: list[Acknowledged] = []
    wishes: list[Wished] = []
    for line in wanted:
        alarm = there.get(line)
        if alarm is None:
            found.append(Acknowledged(line, Became.UNKNOWN))
            continue
        wished = Wished(line, alarm.number, str(uuid4()), scope.actor, now_us, comment)
        match alarm.why_not:
            case WhyNot.ALREADY:
                wishing.note(scope, connection, wished, "already", after=f"by {alarm.acknowledged_by}")
                found.append(_already(alarm))
            case WhyNot.NOT_NEEDED:
                found.append(Acknowledged(line, Became.NOT_NEEDED))
            case _:
                wishes.append(wished)
                found.append(Acknowledged(line, Became.WAITING, scope.actor, "", now_us, comment))
    wishing.put(scope, connection, wishes)
    return found


def _already(alarm: Alarm) -> Acknowledged:
    by, name, at_us = alarm.acknowledged_by, alarm.acknowledged_name, alarm.acknowledged_us
    return Acknowledged(alarm.line, Became.ALREADY, by, name, at_us, alarm.comment)
