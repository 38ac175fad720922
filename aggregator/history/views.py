"""The past over HTTP, below /api/v1/: samples as they were stored. Described in docs/history-api.md."""

import csv
import io
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec
from flask import Blueprint, Response, current_app, request
from flask.typing import ResponseReturnValue

from aggregator.db.engine import reading
from aggregator.gateways import store as gateways
from aggregator.history import service as history
from aggregator.history.answer import as_bytes, as_json
from aggregator.history.cache import Cache
from aggregator.history.pieces import Range
from aggregator.history.rules import carried, moment, quality_name
from aggregator.history.trend import curves
from aggregator.scope import Right, Scope
from aggregator.web.gate import right, scope
from aggregator.web.problem import Problem
from aggregator.web.settings import Served, served
from contract.history.decimate import POINTS_MIN

past = Blueprint("past", __name__, url_prefix="/api/v1")

SIGNALS_MAX = 100
PAGE = 50_000
"""Samples of one signal read at once: what an answer of any length takes of our memory."""
LIMIT = 1_000_000
CURVES_MAX = 64
POINTS = 2000
POINTS_MAX = 20_000
DEFAULT_SPAN_US = 30 * 60 * 1_000_000
TIME_MAX_US = 2**62


@past.get("/history")
@right(Right.VIEW)
def history_of() -> ResponseReturnValue:
    """Samples of some signals, from ≤ time < to, streamed."""
    now_us = time.time_ns() // 1000
    from_us, to_us = _span(now_us)
    uids = _signals()
    limit = _number("limit", LIMIT, 1, LIMIT, "samples per signal")
    asked = (served(), scope(), uids, from_us, to_us, limit)
    match request.args.get("format", "json"):
        case "json":
            return Response(_as_json(*asked), mimetype="application/json")
        case "csv":
            name = {"Content-Disposition": 'attachment; filename="history.csv"'}
            return Response(_as_csv(*asked), mimetype="text/csv", headers=name)
        case other:
            raise Problem("format is json or csv", parameter="format", value=other)


@past.get("/trend")
@right(Right.VIEW)
def trend() -> ResponseReturnValue:
    """Curves of some signals for drawing, from ≤ time < to."""
    now_us = time.time_ns() // 1000
    from_us, to_us = _span(now_us)
    uids = _signals(CURVES_MAX)
    points = _number("points", POINTS, POINTS_MIN, POINTS_MAX, "points per signal")
    found = curves(scope(), served().databases, _cache(), uids, (from_us, to_us), now_us, points)
    with reading(served().databases.main) as connection:
        named = {row.uid: row for row in gateways.signals(scope(), connection, uids)}
    match request.args.get("format", "binary"):
        case "binary":
            body = b"".join(as_bytes(from_us, to_us, points, found, named))
            return Response(body, mimetype="application/octet-stream")
        case "json":
            return Response(as_json(from_us, to_us, points, found, named), mimetype="application/json")
        case other:
            raise Problem("format is binary or json", parameter="format", value=other)


def _cache() -> Cache:
    found: Cache = current_app.extensions.setdefault("history_cache", Cache())
    return found


def _span(now_us: int) -> tuple[int, int]:
    to_us = instant("to", now_us, now_us)
    from_us = instant("from", to_us - DEFAULT_SPAN_US, now_us)
    if from_us >= to_us:
        raise Problem("from is not before to", parameter="from", value=request.args.get("from", ""))
    return from_us, to_us


def _signals(most: int = SIGNALS_MAX) -> list[str]:
    uids = list(dict.fromkeys(request.args.getlist("signal")))
    if not uids:
        raise Problem("name at least one signal: ?signal=uid&signal=uid", parameter="signal")
    if len(uids) > most:
        raise Problem(f"at most {most} signals at once", parameter="signal", value=str(len(uids)))
    with reading(served().databases.main) as connection:
        there = gateways.known(scope(), connection, uids)
    for uid in uids:
        if uid not in there:
            raise Problem("no such signal; see /api/v1/signals", status=404, parameter="signal", value=uid)
    return uids


def _number(name: str, default: int, low: int, high: int, what: str) -> int:
    text = request.args.get(name, str(default))
    if not re.fullmatch(r"[0-9]{1,9}", text) or not low <= int(text) <= high:
        raise Problem(f"{name} is a number of {what}, {low}…{high}", parameter=name, value=text)
    return int(text)


def instant(name: str, default_us: int, now_us: int) -> int:
    """µs UTC of a parameter: ISO 8601 with a zone, ms or µs since 1970, or `-30m` before now.

    Raises:
        Problem: naming the parameter, the value and what would do.
    """
    text = request.args.get(name, "").strip()
    if not text:
        return default_us
    if back := re.fullmatch(r"-([0-9]{1,6})([smhd])", text):
        return now_us - int(back[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[back[2]] * 1_000_000
    if re.fullmatch(r"-?[0-9]+", text):
        number = int(text)
        if 10**14 <= number <= TIME_MAX_US:
            return number
        if 10**11 <= number < 10**14:
            return number * 1000
        hint = "numbers are milliseconds or microseconds since 1970; seconds need three zeros more"
        raise Problem(hint, parameter=name, value=text)
    try:
        # In an address "+" means a space: a zone written as +01:00 arrives so.
        found = datetime.fromisoformat(
            re.sub(r" (?=[0-9]{2}:?[0-9]{2}$)", "+", text) if "T" in text else text
        )
    except ValueError as error:
        hint = "give ISO 8601 with a zone, as 2026-11-21T12:00:00Z, or milliseconds since 1970, or -30m"
        raise Problem(hint, parameter=name, value=text) from error
    if found.tzinfo is None:
        raise Problem("the time has no zone; add Z or an offset such as +01:00", parameter=name, value=text)
    return round((found - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1e6)


def _read(
    served: Served, scope: Scope, uid: str, from_us: int, to_us: int, limit: int
) -> Iterator[history.Samples]:
    """Samples of one signal in portions; the last one says where it was cut, if it was."""
    at_us: int | None = from_us
    while at_us is not None and limit > 0:
        some = history.query(scope, served.databases, [uid], at_us, to_us, limit=min(PAGE, limit))[uid]
        limit -= len(some.time_us)
        at_us = some.more_from_us
        yield some


def _rows(some: history.Samples) -> Iterator[tuple[int, object, int]]:
    values = some.values if isinstance(some.values, list) else some.values.tolist()
    for time_us, value, quality in zip(some.time_us.tolist(), values, some.quality.tolist(), strict=True):
        yield time_us, carried(value), quality


def _as_json(
    served: Served, scope: Scope, uids: list[str], from_us: int, to_us: int, limit: int
) -> Iterator[bytes]:
    """One object; `signals` by uid, `samples` as [time_us, value, quality]."""
    before = history.last_before(scope, served.databases, uids, from_us)
    yield b'{"from_us":%d,"to_us":%d,"signals":{' % (from_us, to_us)
    for i, uid in enumerate(uids):
        held = before.get(uid)
        first = None if held is None else [held.time_us, carried(held.value), held.quality]
        yield (b"," if i else b"") + msgspec.json.encode(uid) + b':{"before":' + msgspec.json.encode(first)
        yield b',"samples":['
        missing: dict[Range, None] = {}
        more_us: int | None = None
        separator = b""
        for some in _read(served, scope, uid, from_us, to_us, limit):
            if len(some.time_us):
                yield separator + msgspec.json.encode(list(_rows(some)))[1:-1]
                separator = b","
            missing |= dict.fromkeys(some.missing)
            more_us = some.more_from_us
        gaps = [gap._asdict() for gap in missing]
        yield (
            b'],"missing":'
            + msgspec.json.encode(gaps)
            + b',"more_from_us":'
            + msgspec.json.encode(more_us)
            + b"}"
        )
    yield b"}}\n"


def _as_csv(
    served: Served, scope: Scope, uids: list[str], from_us: int, to_us: int, limit: int
) -> Iterator[str]:
    """A line per sample; no value is an empty field."""
    text = io.StringIO()
    lines = csv.writer(text)
    lines.writerow(("signal", "time", "time_us", "value", "quality", "quality_name"))
    for uid in uids:
        for some in _read(served, scope, uid, from_us, to_us, limit):
            for time_us, value, quality in _rows(some):
                name = quality_name(quality)
                lines.writerow((uid, moment(time_us), time_us, "" if value is None else value, quality, name))
            yield text.getvalue()
            text.seek(0)
            text.truncate()
    yield text.getvalue()
