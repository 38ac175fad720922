"""Message: a configured alarm or notice and the conditions that raise it.

Only what raises and ends a message is here; texts with inserted values, group levels and
forwarding join the same Struct later, with defaults.
"""

from enum import StrEnum
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from contract.model.signal import Uid

Operator = Literal[">", ">=", "=", "<=", "<", "!="]


class Source(StrEnum):
    """Who defined a message; part of its key (tenant, gateway, source, number)."""

    USER = "user"
    SYSTEM = "system"


class Condition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`signal operator limit` enters; it holds until `signal operator exit` is false.

    Without `exit` the limit ends what it began. `limit` and `exit` are numbers in the
    signal's unit or the uid of another signal. With `>` and limit 80, exit 78: raised above
    80, ended at 78 or below.
    """

    signal: Uid
    operator: Operator
    limit: float | Uid
    exit: float | Uid | None = None


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One message: raised while any of its blocks holds; a block holds while all its conditions do."""

    number: Annotated[int, Meta(ge=1, le=994_999, description="Message number, 1-994999.")]
    text: Annotated[str, Meta(max_length=500, description="What the operator reads.")]
    any_of: Annotated[
        tuple[Annotated[tuple[Condition, ...], Meta(min_length=1)], ...],
        Meta(min_length=1, description="OR of blocks, each an AND of conditions."),
    ]
    priority: Annotated[int, Meta(ge=1, le=4, description="1 highest … 4 lowest.")] = 3
    on_delay_s: Annotated[float, Meta(ge=0, description="Must hold this long before it is raised.")] = 0.0
    off_delay_s: Annotated[float, Meta(ge=0, description="Must be over this long before it ends.")] = 0.0
    acknowledge: Annotated[bool, Meta(description="Does an operator have to acknowledge it?")] = True
    area: Annotated[str, Meta(max_length=100, description="Part of the plant.")] = ""
