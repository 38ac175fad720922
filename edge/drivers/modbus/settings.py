"""What a Modbus device and a Modbus address may say. User's view: docs/drivers/modbus.md."""

from collections.abc import Iterator
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from contract.model.config import Fault
from contract.model.signal import DataType

Table = Literal["coil", "discrete", "input", "holding"]
Kind = Literal["bool", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64", "text"]
Order = Literal["ABCD", "CDAB", "BADC", "DCBA"]

REGISTERS: Final[dict[Kind, int]] = {
    "bool": 1,
    "int16": 1,
    "uint16": 1,
    "int32": 2,
    "uint32": 2,
    "float32": 2,
    "int64": 4,
    "uint64": 4,
    "float64": 4,
}
"""Registers a value takes; a text takes its `length`."""

BIT_TABLES: Final = frozenset({"coil", "discrete"})
WRITABLE_TABLES: Final = frozenset({"coil", "holding"})
HIGHEST: Final = 65535

MOST_REGISTERS: Final = 125  # MODBUS Application Protocol V1.1b3, 6.3
MOST_BITS: Final = 2000  # 6.1
MOST_WRITTEN: Final = 123  # registers, 6.12


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One connection: a device, or a gateway with several units behind it."""

    host: Annotated[str, Meta(min_length=1, description="Name or IP address of the device.")]
    port: Annotated[int, Meta(ge=1, le=65535, description="TCP port.")] = 502
    unit: Annotated[int, Meta(ge=0, le=255, description="Unit of addresses that name none.")] = 1
    timeout_s: Annotated[
        float, Meta(ge=0.05, le=60, description="Longest wait for a connection or an answer.")
    ] = 2.0
    order: Annotated[Order, Meta(description="Byte order of addresses that name none.")] = "ABCD"
    max_registers: Annotated[
        int, Meta(ge=1, le=MOST_REGISTERS, description="Registers in one read; fewer for fussy devices.")
    ] = MOST_REGISTERS
    max_bits: Annotated[
        int, Meta(ge=1, le=MOST_BITS, description="Coils or discrete inputs in one read.")
    ] = MOST_BITS
    max_gap: Annotated[
        int,
        Meta(
            ge=0,
            le=MOST_REGISTERS - 2,
            description="Registers nobody wants that a read may cross; 0 for devices that refuse them.",
        ),
    ] = 100
    only_multiple_writes: Annotated[
        bool, Meta(description="Write with functions 15 and 16 only; some devices know no other.")
    ] = False


class Address(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a value lives, and how its bytes are to be read."""

    register: Annotated[
        int,
        Meta(
            ge=0,
            le=HIGHEST,
            description="First register or bit as on the wire, from 0: 40001 in a manual is holding 0.",
        ),
    ]
    table: Annotated[Table, Meta(description="coil, discrete (bits); input, holding (registers).")] = (
        "holding"
    )
    type: Annotated[
        Kind | None, Meta(description="How the registers are to be read; int16 if left out, bool for bits.")
    ] = None
    bit: Annotated[
        Annotated[int, Meta(ge=0, le=15)] | None,
        Meta(description="Bit of the register for type bool, 0 is the lowest."),
    ] = None
    length: Annotated[
        Annotated[int, Meta(ge=1, le=MOST_REGISTERS)] | None,
        Meta(description="Registers of a text, two characters each."),
    ] = None
    order: Annotated[
        Order | None,
        Meta(description="ABCD: high byte and word first; CDAB: low word first; BADC, DCBA: bytes swapped."),
    ] = None
    unit: Annotated[
        Annotated[int, Meta(ge=0, le=255)] | None, Meta(description="Unit, where it is not the device's.")
    ] = None

    @property
    def kind(self) -> Kind:
        """`type`, or what it is where nothing is said."""
        return self.type or ("bool" if self.table in BIT_TABLES else "int16")

    @property
    def count(self) -> int:
        """Registers or bits the value takes."""
        return self.length or 1 if self.kind == "text" else REGISTERS[self.kind]


def address_faults(address: Address, type_: DataType, *, writable: bool) -> Iterator[Fault]:
    """What the schema cannot see: fields that do not go together, a value beyond the table's end."""
    kind = address.kind
    last = address.register + address.count - 1
    if last > HIGHEST:
        yield Fault("$.register", f"{kind} at {address.register} ends at {last}, beyond {HIGHEST}")
    if address.table in BIT_TABLES:
        if kind != "bool":
            yield Fault("$.type", f"a {address.table} is one bit; {kind} needs table holding or input")
        if address.bit is not None:
            yield Fault("$.bit", f"a {address.table} is one bit; leave bit out")
    elif kind == "bool" and address.bit is None:
        yield Fault("$.bit", "bool in a register needs bit, 0-15")
    elif kind != "bool" and address.bit is not None:
        yield Fault("$.bit", f"bit {address.bit} of {kind}; say type bool")
    if (kind == "text") != (address.length is not None):
        yield Fault(
            "$.length", "a text needs length in registers" if kind == "text" else f"{kind} has no length"
        )
    elif kind == "text" and writable and address.count > MOST_WRITTEN:
        yield Fault("$.length", f"{address.count} registers; {MOST_WRITTEN} can be written at once")
    if kind == "text" and address.order in {"CDAB", "DCBA"}:
        yield Fault("$.order", f"{address.order} reverses words; a text is ABCD or BADC (bytes swapped)")
    if writable and address.table not in WRITABLE_TABLES:
        yield Fault("$.table", f"{address.table} cannot be written; holding and coil can, or writable: false")
    wanted = _types_of(kind)
    if type_ not in wanted:
        names = " or ".join(wanted)
        yield Fault(
            "$.type", f"{kind} cannot carry a signal of type {type_}; the signal's type would be {names}"
        )


def _types_of(kind: Kind) -> tuple[DataType, ...]:
    if kind == "text":
        return (DataType.TEXT,)
    if kind == "bool":
        return (DataType.BOOLEAN, DataType.INTEGER, DataType.FLOAT)
    if kind in {"float32", "float64"}:
        return (DataType.FLOAT,)
    return (DataType.INTEGER, DataType.FLOAT)
