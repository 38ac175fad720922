"""The MQTT tree, built and parsed in one place.

    fw/1/<gateway>/up/<lane>     the gateway speaks; its certificate lets it write here only
    fw/1/<gateway>/down/<lane>   the centre speaks; the gateway reads its own only
    fwc/1/<name>                 between central processes; no gateway reaches it

Lanes up: birth and applied (retained), status (retained, and the last will), tail (QoS 0),
event, segment, answer (QoS 1). Lanes down: receipt, command, config.
"""

from enum import StrEnum
from typing import NamedTuple

ROOT = "fw/1"
ALL_UP = f"{ROOT}/+/up/#"
CHANGED = "fwc/1/changed"
"""Change note of ingest after each commit; web re-reads."""


class Up(StrEnum):
    """Lanes on which a gateway speaks."""

    BIRTH = "birth"
    STATUS = "status"
    APPLIED = "applied"
    TAIL = "tail"
    EVENT = "event"
    SEGMENT = "segment"
    ANSWER = "answer"


class Down(StrEnum):
    """Lanes on which the centre speaks to one gateway."""

    RECEIPT = "receipt"
    COMMAND = "command"
    CONFIG = "config"


class UpTopic(NamedTuple):
    """Who speaks, on which lane."""

    gateway: str
    lane: Up


def up(gateway: str, lane: Up) -> str:
    """Topic on which `gateway` publishes `lane`."""
    return f"{ROOT}/{gateway}/up/{lane}"


def down(gateway: str, lane: Down) -> str:
    """Topic on which the centre reaches `gateway`."""
    return f"{ROOT}/{gateway}/down/{lane}"


def all_down(gateway: str) -> str:
    """Subscription of a gateway: everything addressed to it."""
    return f"{ROOT}/{gateway}/down/#"


def parse_up(topic: str) -> UpTopic | None:
    """Gateway and lane of a topic below `fw/1`, or None for a topic that is none of ours."""
    parts = topic.split("/")
    if len(parts) != 5 or parts[:2] != ["fw", "1"] or parts[3] != "up":
        return None
    try:
        return UpTopic(parts[2], Up(parts[4]))
    except ValueError:
        return None


def parse_down(topic: str) -> Down | None:
    """Lane of a topic addressed to a gateway, or None."""
    parts = topic.split("/")
    if len(parts) != 5 or parts[:2] != ["fw", "1"] or parts[3] != "down":
        return None
    try:
        return Down(parts[4])
    except ValueError:
        return None
