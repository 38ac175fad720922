"""The past over HTTP, below /api/v1/: samples as they were stored. Described in docs/history-api.md."""

import re
import time
from collections.abc import Iterator
from tempfile import TemporaryFile
from threading import BoundedSemaphore
from typing import IO, Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from flask import Blueprint, Response, current_app, request
from flask.typing import ResponseReturnValue
from msgspec import Meta

from aggregator.db.engine import reading
from aggregator.gateways import store as gateways
from aggregator.history import export
from aggregator.history.answer import as_bytes, as_json, briefly
from aggregator.history.cache import Cache
from aggregator.history.trend import curves
from aggregator.scope import Right
from aggregator.web.gate import right, scope
from aggregator.web.instant import instant
from aggregator.web.problem import Problem
from aggregator.web.settings import served
from contract.history.decimate import POINTS_MIN

past = Blueprint("past", __name__, url_prefix="/api/v1")

SIGNALS_MAX = 100
LIMIT = 1_000_000
CURVES_MAX = 64
POINTS = 2000
POINTS_MAX = 20_000
FORMATS = ("json", "csv", "xlsx")
UNLIMITED = 2**62
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
SHEETS_MAX = 2
"""Worksheets written at once: each takes a thread, and a file as long as itself."""
_sheets = BoundedSemaphore(SHEETS_MAX)
DEFAULT_SPAN_US = 30 * 60 * 1_000_000


class Sparklines(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST sparklines."""

    signals: Annotated[list[str], Meta(min_length=1, max_length=200)]
    minutes: Annotated[float, Meta(gt=0, le=1440)] = 30
    points: Annotated[int, Meta(ge=POINTS_MIN, le=200)] = 60


@past.get("/history")
@right(Right.VIEW)
def history_of() -> ResponseReturnValue:
    """Samples of some signals, from ≤ time < to, streamed; or, with points=, what a curve of them shows."""
    now_us = time.time_ns() // 1000
    span = _span(now_us)
    uids = _signals()
    kind = request.args.get("format", "json")
    if kind not in FORMATS:
        raise Problem("format is json, csv or xlsx", parameter="format", value=kind)
    form = _form()
    limit = _number("limit", LIMIT if kind == "json" else UNLIMITED, 1, LIMIT, "samples per signal")
    databases = served().databases
    if kind == "json":
        if "points" in request.args:
            raise Problem("points in JSON are what /api/v1/trend?format=json gives", parameter="points")
        return Response(export.as_json(scope(), databases, uids, span, limit), mimetype="application/json")
    with reading(databases.main) as connection:
        named = {row.uid: row for row in gateways.signals(scope(), connection, uids)}
    if "points" in request.args:
        points = _number("points", POINTS, POINTS_MIN, POINTS_MAX, "points per signal")
        source = export.shown(curves(scope(), databases, _cache(), uids, span, now_us, points), named)
    else:
        source = export.stored(scope(), databases, named, uids, span, limit)
    headers = {"Content-Disposition": f'attachment; filename="{_file_name(uids, span, form, kind)}"'}
    if kind == "csv":
        return Response(export.as_csv(source, form), mimetype="text/csv", headers=headers)
    return Response(_sheet(source, form), mimetype=XLSX, headers=headers)


def _form() -> export.Form:
    layout = request.args.get("layout", "long")
    separator = {"tab": "\t"}.get(text := request.args.get("separator", ","), text)
    decimal, zone = request.args.get("decimal", "."), request.args.get("zone", "UTC")
    if layout not in {"long", "wide"}:
        raise Problem("layout is long or wide", parameter="layout", value=layout)
    if separator not in {",", ";", "\t"}:
        raise Problem("separator is , or ; or tab", parameter="separator", value=separator)
    if decimal not in {".", ","} or decimal == separator:
        raise Problem("decimal is . or , and not the separator", parameter="decimal", value=decimal)
    try:
        return export.Form(ZoneInfo(zone), separator, decimal, layout == "wide")
    except (ValueError, OSError, ZoneInfoNotFoundError) as error:
        raise Problem("zone is a name such as Europe/Berlin", parameter="zone", value=zone) from error


def _file_name(uids: list[str], span: tuple[int, int], form: export.Form, kind: str) -> str:
    """Signal and period, in letters that every system takes."""
    name = re.sub(r"[^A-Za-z0-9_.-]", "-", uids[0]) + (f"_and_{len(uids) - 1}_more" if len(uids) > 1 else "")
    ends = [re.sub(r"[^0-9T]", "", export.moment(time_us, form.zone)[:16]) for time_us in span]
    return f"{name}_{ends[0]}_{ends[1]}.{kind}"


def _sheet(source: export.Source, form: export.Form) -> Iterator[bytes]:
    """A finished worksheet in portions; the file behind it goes with the last one, or with who asked."""
    if not _sheets.acquire(blocking=False):
        raise Problem(f"{SHEETS_MAX} worksheets are being written; ask again in a minute", status=503)
    file = TemporaryFile()  # noqa: SIM115 -- whoever reads the answer closes it
    try:
        export.write_xlsx(file, source, form)
    except export.TooLong as error:
        file.close()
        raise Problem(str(error), parameter="format", value="xlsx") from error
    except BaseException:
        file.close()
        raise
    finally:
        _sheets.release()
    file.seek(0)
    return _portions(file)


def _portions(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while some := file.read(1 << 16):
            yield some


@past.post("/sparklines")
@right(Right.VIEW)
def sparklines() -> ResponseReturnValue:
    """Small curves up to now for lists; signals that nobody knows are left out."""
    try:
        wish = msgspec.json.decode(request.get_data(), type=Sparklines)
    except msgspec.DecodeError as error:
        text = f'{error}; send JSON such as {{"signals": ["uid"], "minutes": 30, "points": 60}}'
        raise Problem(text, parameter="body") from error
    now_us = time.time_ns() // 1000
    span = (now_us - round(wish.minutes * 60e6), now_us)
    found = curves(scope(), served().databases, _cache(), wish.signals, span, now_us, wish.points)
    return Response(briefly(*span, found), mimetype="application/json")


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
    if name not in request.args:
        return default
    if not re.fullmatch(r"[0-9]{1,9}", text) or not low <= int(text) <= high:
        raise Problem(f"{name} is a number of {what}, {low}…{high}", parameter=name, value=text)
    return int(text)
