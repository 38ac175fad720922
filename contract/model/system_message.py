"""System messages: what the programs themselves report, by number, in English and German.

The table is system_messages.toml beside this file, read once. User messages are
`contract.model.message`; they share the number space below 995 000.
"""

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Final

import msgspec

DEFINED: Final = 51
"""How many there are; a number is never added, dropped or given another meaning."""
UNDEFINED: Final = 995000
"""The message that reports a number nobody defined."""


class SystemMessage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One system message; {0}, {1} … in its texts are the inserted parts, "" producer: none yet."""

    number: int
    text: str
    text_de: str
    producer: str = ""


@cache
def system_messages() -> Mapping[int, SystemMessage]:
    """All system messages by number, ascending."""
    table = tomllib.loads(files("contract.model").joinpath("system_messages.toml").read_text("utf-8"))
    rows = ({"number": int(number), **row} for number, row in table.items())
    messages = msgspec.convert(list(rows), list[SystemMessage])
    return MappingProxyType({m.number: m for m in sorted(messages, key=lambda m: m.number)})


def text(number: int, *parts: object) -> str:
    """English text with the parts inserted; "?" for a part that is missing, more parts after the text.

    A number that is not defined gives the text of UNDEFINED: reporting a fault never fails.
    """
    message = system_messages().get(number)
    if message is None:
        return text(UNDEFINED, number, *parts)
    return insert(message.text, parts)


def insert(template: str, parts: tuple[object, ...]) -> str:
    """`template` with {0}, {1} … replaced; braces in the parts stay what they are."""
    filled = ""
    used = 0
    rest = template
    while True:
        before, opening, tail = rest.partition("{")
        filled += before
        if not opening:
            break
        index, _, rest = tail.partition("}")
        used = max(used, int(index) + 1)
        filled += str(parts[int(index)]) if int(index) < len(parts) else "?"
    over = ", ".join(str(part) for part in parts[used:])
    return f"{filled}: {over}" if over else filled
