"""The API for scripts and pages, below /api/v1/, but for the past: that is aggregator.history.views.

Described in docs/api.md.
"""

import gzip
from typing import Final

import msgspec
from flask import Blueprint, Response, request
from flask.typing import ResponseReturnValue

from aggregator.db.engine import DatabaseError, reading
from aggregator.gateways.rules import names_of_groups, step_of
from aggregator.live.service import UnknownSignal, WriteEnd
from aggregator.scope import Right
from aggregator.web.gate import open_to_all, right, scope
from aggregator.web.pages import quality_word
from aggregator.web.problem import Problem
from aggregator.web.settings import served

api = Blueprint("api", __name__, url_prefix="/api/v1")

_STATUS = {
    WriteEnd.DONE: 200,
    WriteEnd.REFUSED: 409,
    WriteEnd.EXPIRED: 410,
    WriteEnd.FAILED: 502,
    WriteEnd.UNSENT: 503,
    WriteEnd.NO_ANSWER: 504,
}


PACKED_FROM: Final = 8192
PACKING: Final = 1
"""The fastest: 5000 signals take it a few ms, and become less than a tenth of what they were."""


class WriteWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST write; the value is in the signal's unit."""

    signal: str
    value: bool | int | float | str
    deadline_s: float = 10.0


def answer(body: object, status: int = 200) -> Response:
    """JSON."""
    return Response(msgspec.json.encode(body), status, mimetype="application/json")


def packed(plain: Response) -> Response:
    """Compressed where the browser takes it: for long lists on their way to a phone, never for secrets."""
    plain.vary.add("Accept-Encoding")
    body = plain.get_data()
    if len(body) >= PACKED_FROM and request.accept_encodings["gzip"] > 0:
        plain.set_data(gzip.compress(body, PACKING, mtime=0))
        plain.content_encoding = "gzip"
    return plain


@api.get("/gateways")
@right(Right.VIEW)
def gateways() -> ResponseReturnValue:
    """Gateways with their state."""
    view = served().live.feed(scope()).view()
    return answer(
        [
            {"id": one.id, "name": one.name, "site": one.site, "zone": one.zone, "program": one.program}
            | view.gateways[one.id]._asdict()
            for one in view.structure.gateways
            if one.id in view.gateways
        ]
    )


@api.get("/signals")
@right(Right.VIEW)
def signals() -> ResponseReturnValue:
    """Signals with the gateway that has them."""
    view = served().live.feed(scope()).view()
    return answer([one._asdict() for one in view.structure.signals])


@api.get("/structure")
@right(Right.VIEW)
def structure() -> ResponseReturnValue:
    """What there is, for the pages, at once and without its state; and what one may do."""
    found = served().live.feed(scope()).view().structure
    documents = found.configurations
    return packed(
        answer(
            {
                "rights": sorted(scope().rights),
                "gateways": [
                    {
                        "id": one.id,
                        "name": one.name,
                        "site": one.site,
                        "zone": one.zone,
                        "program": one.program,
                    }
                    | {"groups": names_of_groups(documents.get(one.id))}
                    for one in found.gateways
                ],
                "signals": [
                    one._asdict() | {"step": step_of(documents.get(one.gateway), one.uid)}
                    for one in found.signals
                ],
            }
        )
    )


@api.get("/values")
@right(Right.VIEW)
def values() -> ResponseReturnValue:
    """Newest value of each signal, and how it may be taken."""
    view = served().live.feed(scope()).view()
    found = {
        uid: one._asdict() | {"quality_name": quality_word(one.quality).partition(".")[2]}
        for uid, one in view.values.items()
    }
    link = {"broker_lost_us": view.broker_lost_us, "ingest_lost_us": view.ingest_lost_us}
    return answer({"now_us": view.now_us, "link": link, "values": found})


@api.post("/write")
@right(Right.COMMAND)
def write() -> ResponseReturnValue:
    """Set a signal and wait for its gateway."""
    try:
        wish = msgspec.json.decode(request.get_data(), type=WriteWish)
    except msgspec.DecodeError as error:
        text = f'{error}; send JSON such as {{"signal": "uid", "value": 20.5, "deadline_s": 10}}'
        raise Problem(text, parameter="body") from error
    try:
        written = served().live.write(scope(), wish.signal, wish.value, wish.deadline_s)
    except UnknownSignal as error:
        raise Problem(
            f"{error}; see /api/v1/signals", status=404, parameter="signal", value=wish.signal
        ) from error
    return answer({"outcome": written.end, "text": written.text}, _STATUS[written.end])


@api.get("/health")
@open_to_all("a supervisor asks without a key; it says only whether this server works")
def health() -> ResponseReturnValue:
    """200 while pages can be served, else 503; what is missing is named."""
    live = served().live
    try:
        with reading(served().databases.main):
            database = "ok"
    except DatabaseError:
        database = "cannot be read"
    broker = "ok" if live.broker_lost_us() is None else "not connected"
    ingest = "ok" if live.ingest_lost_us() is None else "silent"
    status = 200 if database == "ok" else 503
    return answer({"database": database, "broker": broker, "ingest": ingest}, status)
