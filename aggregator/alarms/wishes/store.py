"""SQL of acknowledgements on their way: one per line, in the database before anybody is told."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import and_, bindparam, delete, insert, select, update

from aggregator.alarms.line import Line, Wish
from aggregator.db import audit
from aggregator.db.engine import Connection, Row
from aggregator.db.schema import acknowledgement
from aggregator.scope import Right, Scope, needs
from contract.model.message import Source
from contract.wire.command import Answer, Outcome

TEXT_MAX = 2000
"""What is kept of a gateway's answer, characters."""
INT64_MAX = 2**63 - 1


class Wished(NamedTuple):
    """An acknowledgement on its way to a gateway."""

    line: Line
    number: int
    id: str
    actor: str
    time_us: int
    comment: str


@needs(Right.ACKNOWLEDGE)
def put(scope: Scope, connection: Connection, wishes: Sequence[Wished]) -> None:
    """Keep what an operator acknowledged until the gateways have it; in the place of what was refused.

    Raises:
        Unstorable: another operator was quicker, in a transaction beside this one.
    """
    if not wishes:
        return
    connection.execute(_DROP_REFUSED, [wished.line.columns() for wished in wishes])
    fresh = {"tenant_id": scope.tenant, "state": Wish.WAITING.value}
    rows = [
        wished.line.columns() | {name: getattr(wished, name) for name in _WISHED} | fresh for wished in wishes
    ]
    connection.execute(insert(acknowledgement), rows)
    for wished in wishes:
        note(scope, connection, wished, "asked", after=wished.comment)


_WISHED = ("number", "id", "actor", "time_us", "comment")
_DROP_REFUSED = delete(acknowledgement).where(
    acknowledgement.c.gateway == bindparam("gateway"),
    acknowledgement.c.source == bindparam("source"),
    acknowledgement.c.message == bindparam("message"),
    acknowledgement.c.occurrence_us == bindparam("occurrence_us"),
    acknowledgement.c.state == Wish.REFUSED.value,
)


def note(scope: Scope, connection: Connection, wished: Wished, step: str, after: str) -> None:
    """One row of the audit trail about an acknowledgement."""
    line = wished.line
    subject = f"{line.gateway} {line.message} {line.occurrence_us}"
    audit.note(scope, connection, wished.time_us, f"acknowledge.{step}", subject, after=after)


@needs(Right.INGEST)
def waiting(_scope: Scope, connection: Connection, limit: int) -> list[Wished]:
    """Acknowledgements of every tenant that no gateway has answered, oldest first."""
    w = acknowledgement.c
    query = select(acknowledgement).where(w.state == Wish.WAITING.value).order_by(w.time_us).limit(limit)
    return [_wished(row) for row in connection.execute(query)]


@needs(Right.INGEST)
def known(_scope: Scope, connection: Connection, ids: Sequence[str]) -> set[str]:
    """Those of these commands that are acknowledgements and wait for an answer."""
    w = acknowledgement.c
    query = select(w.id).where(w.id.in_(list(ids)), w.state == Wish.WAITING.value)
    return set(connection.execute(query).scalars())


@needs(Right.INGEST)
def settle(scope: Scope, connection: Connection, gateway_id: str, answer: Answer, now_us: int) -> bool:
    """Take in what a gateway answered; False if it answers nothing that waits, or could not do it now.

    Somebody else was first: the occurrence is acknowledged, by the other one.
    """
    if answer.outcome is Outcome.FAILED:
        return False  # its card did not take it; it is asked again
    w = acknowledgement.c
    this = and_(w.id == answer.id, w.gateway == gateway_id, w.state == Wish.WAITING.value)
    row = connection.execute(select(acknowledgement).where(this)).one_or_none()
    if row is None:
        return False
    first = answer.first
    is_taken = answer.outcome is Outcome.DONE or first is not None
    state = Wish.TAKEN if is_taken else Wish.REFUSED
    text = _storable(answer.text)
    values: dict[str, object] = {"state": state.value, "answered_us": now_us, "text": text}
    if first is not None:
        values |= {
            "first_by": _storable(first.actor)[:200],
            "first_us": max(-INT64_MAX, min(INT64_MAX, first.time_us)),
            "first_comment": _storable(first.comment),
        }
    connection.execute(update(acknowledgement).where(this).values(values))
    whose = scope._replace(tenant=row.tenant_id, actor=row.actor)
    note(whose, connection, _wished(row)._replace(time_us=now_us), state.value, after=text)
    return True


def _storable(text: str) -> str:
    """What a gateway said, as far as a column takes it."""
    return text.replace("\0", "")[:TEXT_MAX]


def _wished(row: Row[Any]) -> Wished:
    line = Line(row.gateway, Source(row.source), row.message, row.occurrence_us)
    return Wished(line, row.number, row.id, row.actor, row.time_us, row.comment)
