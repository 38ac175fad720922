"""One gateway in full, for its page: what it says of itself, its configuration, what happened last."""

import time

import msgspec
from flask import Blueprint
from flask.typing import ResponseReturnValue

from aggregator.alarms import service as alarms
from aggregator.gateways import service as gateways
from aggregator.scope import Right
from aggregator.web.api import answer
from aggregator.web.gate import right, scope
from aggregator.web.problem import Problem
from aggregator.web.settings import served

gateway = Blueprint("gateway", __name__, url_prefix="/api/v1")

EVENTS = 50
"""So many of the newest events are shown."""


@gateway.get("/gateways/<gateway_id>")
@right(Right.VIEW)
def one(gateway_id: str) -> ResponseReturnValue:
    """Everything the centre knows of a gateway but its values."""
    databases = served().databases
    found = gateways.in_force(scope(), databases, gateway_id)
    view = served().live.feed(scope()).view()
    if found is None:
        raise Problem("no such gateway; see /api/v1/gateways", status=404, parameter="id", value=gateway_id)
    row, state = found.gateway, view.gateways.get(gateway_id)
    events = alarms.events(scope(), databases, gateway_id=gateway_id, limit=EVENTS)
    return answer(
        {
            "id": row.id,
            "name": row.name,
            "site": row.site,
            "zone": row.zone,
            "program": row.program,
            "store": None if row.store is None else str(row.store),  # beyond a browser's integers
            "boot": found.boot,
            "first_seen_us": row.first_seen_us,
            "last_seen_us": row.last_seen_us,
            "now_us": time.time_ns() // 1000,
            "state": None if state is None else state._asdict(),
            "status": row.status,
            "configuration": {
                "document": None if found.document is None else msgspec.Raw(found.document),
                "digest": found.digest,
                "applied_us": found.applied_us,
                "refused": found.refused,
                "faults": found.faults,
            },
            "events": [
                {
                    "time_us": event.record.time_us,
                    "kind": event.record.kind,
                    "number": event.record.number,
                    "message": event.record.message,
                    "priority": event.record.priority,
                    "text": event.record.text,
                    "signal": event.record.signal,
                    "actor": event.record.actor,
                }
                for event in events
            ],
        }
    )
