"""How all gateways fare, for the overview: figures at once, last messages of those on the screen.

Presence, trouble and what waits to be sent come on the live channel; here is what needs no haste.
"""

import time
from collections.abc import Iterable

from flask import Blueprint, request
from flask.typing import ResponseReturnValue

from aggregator.alarms import service as alarms
from aggregator.alarms.store import Alarm
from aggregator.gateways.store import Gateway
from aggregator.live.rules import Pulse
from aggregator.scope import Right
from aggregator.web.api import answer, packed
from aggregator.web.gate import right, scope
from aggregator.web.problem import Problem
from aggregator.web.settings import served
from contract.wire.status import Health

overview = Blueprint("overview", __name__, url_prefix="/api/v1")

MESSAGES = 3
ASKED_MAX = 60
"""Gateways whose messages may be asked for at once: more than a screen shows."""


@overview.get("/overview")
@right(Right.VIEW)
def whole() -> ResponseReturnValue:
    """Figures of each gateway, by id."""
    live = served().live
    view = live.feed(scope()).view()
    pulses = live.pulses(scope())
    counts = count_alarms(view.alarms)
    return packed(
        answer(
            {
                "now_us": time.time_ns() // 1000,
                "gateways": {
                    row.id: figures(row, pulses.get(row.id)) | {"alarms": counts.get(row.id, {})}
                    for row in view.structure.gateways
                },
            }
        )
    )


@overview.get("/overview/messages")
@right(Right.VIEW)
def messages() -> ResponseReturnValue:
    """The newest events of each gateway that is asked for."""
    asked = request.args.getlist("gateway")
    if len(asked) > ASKED_MAX:
        text = f"{len(asked)} gateways; ask for at most {ASKED_MAX} at once"
        raise Problem(text, parameter="gateway", value=str(len(asked)))
    databases = served().databases
    found = {
        name: alarms.events(scope(), databases, gateway_id=name, limit=MESSAGES)
        for name in dict.fromkeys(asked)
    }
    return answer(
        {
            name: [
                {
                    "time_us": event.record.time_us,
                    "kind": event.record.kind,
                    "priority": event.record.priority,
                    "text": event.record.text,
                    "message": event.record.message,
                    "number": event.record.number,
                    "signal": event.record.signal,
                }
                for event in events
            ]
            for name, events in found.items()
        }
    )


def figures(row: Gateway, pulse: Pulse | None) -> dict[str, object]:
    """What a gateway said last of its health, and what is measured of it; None: not known."""
    told = pulse.health if pulse is not None and pulse.health is not None else None
    health = told or (row.status.health if row.status else None)
    heard = pulse or Pulse(None, None, None, None)
    found: dict[str, object] = {
        "tail_us": heard.tail_us,
        "clock_offset_us": heard.clock_offset_us,
        "cpu_share": heard.cpu_share,
    }
    return found | _told(health or Health()) | {"has_health": health is not None}


def _told(health: Health) -> dict[str, object]:
    return {
        "unsent_events": health.unsent_events,
        "unsent_segments": health.unsent_segments,
        "reach_s": health.reach_s,
        "store_bytes": health.store_bytes,
        "quota_bytes": health.quota_bytes,
        "oldest_us": health.oldest_us,
        "rss_bytes": health.rss_bytes,
        "recording": health.recording,
        "devices": len(health.devices),
    }


def count_alarms(standing: Iterable[Alarm]) -> dict[str, dict[str, list[int]]]:
    """[not acknowledged, standing] by gateway and priority."""
    counts: dict[str, dict[str, list[int]]] = {}
    for alarm in standing:
        of = counts.setdefault(alarm.gateway, {}).setdefault(str(alarm.priority), [0, 0])
        of[0] += alarm.why_not is None
        of[1] += alarm.is_standing
    return counts
