"""Commands down and answers up.

A write is an actuation: it has a deadline and is refused late, never executed late. An
acknowledgement is a fact: it does not expire, and carries the operator's time.
"""

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from contract.model.batch import Value
from contract.model.message import Source

COMMENT_MAX = 2000
"""Longest comment of an operator, characters."""

Identity = Annotated[str, Meta(min_length=1, max_length=64)]


class Write(msgspec.Struct, frozen=True, kw_only=True, tag="write"):
    """Set one signal, before `deadline_us`, to `value` in the signal's unit."""

    id: Identity
    actor: Annotated[str, Meta(max_length=200)]
    time_us: int
    deadline_us: int
    signal: str
    value: Value


class Acknowledge(msgspec.Struct, frozen=True, kw_only=True, tag="acknowledge"):
    """The operator has seen the occurrence of `message` raised at `occurrence_us`.

    `source` and `number` name what has no message of its own: a system message.
    """

    id: Identity
    actor: Annotated[str, Meta(max_length=200)]
    time_us: int
    message: str
    occurrence_us: int
    comment: Annotated[str, Meta(max_length=COMMENT_MAX)] = ""
    source: Source = Source.USER
    number: int = 0


class Digests(msgspec.Struct, frozen=True, kw_only=True, tag="digests"):
    """Ask for counts and digests of the segments first…last, to compare them with one's own."""

    id: Identity
    actor: Annotated[str, Meta(max_length=200)]
    time_us: int
    store: int
    first: int
    last: int


class Command(msgspec.Struct, frozen=True):
    """What travels on the command lane: one of the above."""

    body: Write | Acknowledge | Digests


class Outcome(StrEnum):
    """What became of a command."""

    DONE = "done"
    REFUSED = "refused"
    EXPIRED = "expired"
    FAILED = "failed"


class SegmentDigest(msgspec.Struct, frozen=True, array_like=True):
    """One segment as the gateway holds it; `tier` 1: the body was let go."""

    seq: int
    count: int
    digest: int
    tier: int = 0


class Acknowledged(msgspec.Struct, frozen=True, kw_only=True):
    """Who acknowledged an occurrence, when by that operator's clock, and what was written with it."""

    actor: str
    time_us: int
    comment: str = ""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Result of the command `id`, in plain words with the way out where it was refused.

    To an acknowledgement `first` says who acknowledged: who is answered, or who came before.
    """

    id: Identity
    outcome: Outcome
    text: str
    time_us: int
    digests: tuple[SegmentDigest, ...] = ()
    first: Acknowledged | None = None
