"""Alarms over HTTP, below /api/v1/: the list, its history, acknowledging. Described in docs/alarms.md."""

import csv
import io
import re
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from typing import Annotated

import msgspec
from flask import Blueprint, Response, request
from flask.typing import ResponseReturnValue
from msgspec import Meta

from aggregator.alarms import service
from aggregator.alarms.line import Line, WhyNot
from aggregator.alarms.service import Acknowledged, Became
from aggregator.alarms.store import Alarm, Asked, Position
from aggregator.db.engine import Databases
from aggregator.scope import Right, Scope
from aggregator.web.gate import right, scope
from aggregator.web.instant import TIME_MAX_US, instant, moment
from aggregator.web.problem import Problem
from aggregator.web.settings import served
from contract.model.message import Source
from contract.wire.command import COMMENT_MAX

alarms = Blueprint("alarms", __name__, url_prefix="/api/v1/alarms")

AT_ONCE = 1000
BODY_MAX = 1024 * 1024
"""A thousand lines with long uids, and a comment."""
STATES = ("standing", "over", "acknowledged", "unacknowledged")
COLUMNS: tuple[tuple[str, Callable[[Alarm], object]], ...] = (
    ("raised", lambda a: moment(a.raised_us)),
    ("ended", lambda a: moment(a.ended_us)),
    ("standing", lambda a: "yes" if a.is_standing else "no"),
    ("priority", lambda a: a.priority),
    ("number", lambda a: a.number),
    ("text", lambda a: a.text),
    ("gateway", lambda a: a.gateway),
    ("gateway_name", lambda a: a.gateway_name),
    ("site", lambda a: a.site),
    ("area", lambda a: a.area),
    ("signal", lambda a: a.signal),
    ("signal_name", lambda a: a.signal_name),
    ("value", lambda a: "" if a.value is None else a.value),
    ("unit", lambda a: a.unit),
    ("acknowledged", lambda a: moment(a.acknowledged_us)),
    ("acknowledged_by", lambda a: a.acknowledged_by),
    ("acknowledge_state", lambda a: a.acknowledge_state),
    ("comment", lambda a: a.comment),
    ("source", lambda a: a.source),
    ("message", lambda a: a.message),
    ("occurrence_us", lambda a: a.occurrence_us),
)


class Named(msgspec.Struct, frozen=True):
    """A line as the list gives it; what else the list says of it may stay in."""

    gateway: str
    message: str
    occurrence_us: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
    source: Source = Source.USER


class Acknowledgement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST acknowledge."""

    alarms: Annotated[tuple[Named, ...], Meta(min_length=1, max_length=AT_ONCE)]
    comment: Annotated[str, Meta(max_length=COMMENT_MAX)] = ""


@alarms.get("")
@right(Right.VIEW)
def current() -> ResponseReturnValue:
    """Alarms that stand or wait for somebody to acknowledge them, newest first."""
    found = service.current(scope(), served().databases)
    return _json([said(scope(), one) for one in found])


@alarms.get("/history")
@right(Right.VIEW)
def history() -> ResponseReturnValue:
    """Occurrences, newest first, a page at a time; all of them as CSV."""
    asked, after, limit = _asked(), _position(), _limit()
    databases, who = served().databases, scope()
    match request.args.get("format", "json"):
        case "json":
            found, more = service.history(who, databases, asked, after, limit)
            return _json({"alarms": [said(who, one) for one in found], "more": _cursor(more)})
        case "csv":
            name = {"Content-Disposition": 'attachment; filename="alarms.csv"'}
            return Response(_as_csv(who, databases, asked), mimetype="text/csv", headers=name)
        case other:
            raise Problem("format is json or csv", parameter="format", value=other)


@alarms.post("/acknowledge")
@right(Right.ACKNOWLEDGE)
def acknowledge() -> ResponseReturnValue:
    """Acknowledge lines; each is answered, gateways are told at once or when they are back."""
    request.max_content_length = BODY_MAX
    try:
        wish = msgspec.json.decode(request.get_data(), type=Acknowledgement)
    except msgspec.DecodeError as error:
        text = f'{error}; send {{"alarms": [lines of the list, at most {AT_ONCE}], "comment": ""}}'
        raise Problem(text, parameter="body") from error
    if "\0" in wish.comment:
        raise Problem("the comment holds a NUL character; leave it out", parameter="comment")
    lines = [Line(one.gateway, one.source, one.message, one.occurrence_us) for one in wish.alarms]
    found = service.acknowledge(scope(), served().databases, lines, wish.comment, _now_us())
    if any(one.became is Became.WAITING for one in found):
        served().live.acknowledged()
    return _json({"results": [_became(one) for one in found]})


def said(who: Scope, alarm: Alarm) -> dict[str, object]:
    """One line for a page, with what this operator may do about it."""
    why = alarm.why_not
    if why is None and Right.ACKNOWLEDGE not in who.rights:
        why = WhyNot.NO_RIGHT
    return alarm._asdict() | {"can_acknowledge": why is None, "why_not": why}


def _became(one: Acknowledged) -> dict[str, object]:
    line = one.line._asdict()
    return line | {
        "outcome": one.became,
        "acknowledged_by": one.by,
        "acknowledged_name": one.name,
        "acknowledged_us": one.at_us,
        "comment": one.comment,
    }


def _json(body: object) -> Response:
    return Response(msgspec.json.encode(body), mimetype="application/json")


def _now_us() -> int:
    return time.time_ns() // 1000


def _asked() -> Asked:
    now_us = _now_us()
    from_us, to_us = instant("from", 0, now_us), instant("to", TIME_MAX_US, now_us)
    if from_us > to_us:
        raise Problem("from is not before to", parameter="from", value=request.args.get("from", ""))
    state, priority = request.args.get("state", ""), request.args.get("priority", "")
    if state and state not in STATES:
        raise Problem(f"state is one of {', '.join(STATES)}", parameter="state", value=state)
    if not re.fullmatch(r"[0-9]{0,3}", priority):
        raise Problem("priority is a number, 1 highest … 4 lowest", parameter="priority", value=priority)
    words = request.args.get("search", "")
    if len(words) > 200:
        raise Problem("search for at most 200 characters", parameter="search", value=words)
    gateway = request.args.get("gateway", "")
    return Asked(from_us, to_us, gateway, int(priority) if priority else None, state, words)


def _limit() -> int:
    text = request.args.get("limit", "200")
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= AT_ONCE:
        raise Problem(f"limit is a number of alarms, 1…{AT_ONCE}", parameter="limit", value=text)
    return int(text)


def _cursor(position: Position | None) -> str | None:
    return None if position is None else urlsafe_b64encode(msgspec.json.encode(position)).decode().rstrip("=")


def _position() -> Position | None:
    text = request.args.get("after", "")
    if not text:
        return None
    try:
        return msgspec.json.decode(urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=Position)
    except (ValueError, msgspec.DecodeError) as error:
        raise Problem(
            "after is what `more` said of the page before", parameter="after", value=text
        ) from error


def _as_csv(who: Scope, databases: Databases, asked: Asked) -> Iterator[str]:
    """A line per occurrence, all of them, a thousand at a time."""
    text = io.StringIO()
    lines = csv.writer(text)
    lines.writerow(name for name, _ in COLUMNS)
    after: Position | None = None
    while True:
        found, after = service.history(who, databases, asked, after, AT_ONCE)
        for one in found:
            lines.writerow(_plain(of(one)) for _, of in COLUMNS)
        yield text.getvalue()
        text.seek(0)
        text.truncate()
        if after is None:
            return


def _plain(cell: object) -> object:
    """A text that a spreadsheet would take for a formula begins with an apostrophe."""
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in {"=", "+", "-", "@", "\t", "\r"} else cell
