"""The configuration document of a gateway, format 1: one whole, keyed by uid, never by position.

`parse` turns text or bytes into a `Configuration` or raises `ConfigurationError` with every
fault and its path. Settings and addresses belong to the drivers, which check them in
`edge.config`. Source: docs/configuration.md.
"""

from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from math import isfinite
from typing import Annotated, Literal, NamedTuple, TypeVar
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Meta

from contract.model.message import Condition, Message
from contract.model.signal import DataType, OpenFields, Signal, Uid

_T = TypeVar("_T")

GatewayId = Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,64}$")]


class Fault(NamedTuple):
    """One thing wrong with a document: where (JSON path), what, and the way out."""

    path: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}: {self.text}"


class ConfigurationError(ValueError):
    """The document cannot be used; `faults` names all that is wrong with it."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = tuple(faults)


class Gateway(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who this gateway is and where it stands."""

    id: Annotated[GatewayId, Meta(description="Equals the common name of its certificate.")]
    name: Annotated[str, Meta(max_length=200)] = ""
    site: Annotated[str, Meta(max_length=200, description="Site it belongs to.")] = ""
    zone: Annotated[str, Meta(description="Time zone of the site, e.g. Europe/Berlin.")] = "UTC"


class Uplink(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One broker the gateway reaches over MQTTS; its identity lies in the data folder."""

    host: Annotated[str, Meta(min_length=1)]
    port: Annotated[int, Meta(ge=1, le=65535)] = 8883
    thinned: Annotated[bool, Meta(description="Metered link: tail once a minute.")] = False


class Storage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds of the data store on the card."""

    quota_mb: Annotated[float, Meta(gt=0, description="Bytes the ring of segments may take, in MB.")] = 4096.0
    journal_quota_mb: Annotated[float, Meta(gt=0)] = 256.0
    seal_samples: Annotated[int, Meta(ge=16, le=8192, description="Rows that fill a segment.")] = 1024
    seal_after_s: Annotated[float, Meta(gt=0, description="Age at which a head is sealed.")] = 900.0
    sync_s: Annotated[float, Meta(gt=0, le=60, description="Longest time between two fdatasync.")] = 5.0


class Device(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One device on a field bus."""

    driver: Annotated[str, Meta(min_length=1, description="Name of the driver, see `edge drivers`.")]
    name: Annotated[str, Meta(max_length=200)] = ""
    settings: OpenFields = msgspec.field(default_factory=dict)


class Group(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Signals acquired together."""

    device: Uid
    cycle_s: Annotated[float, Meta(gt=0, le=86400, description="Poll cycle; 0.1 s and up.")] = 1.0
    name: Annotated[str, Meta(max_length=200)] = ""


class Configuration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole document."""

    format: Literal[1]
    gateway: Gateway
    uplinks: tuple[Uplink, ...] = ()
    storage: Storage = Storage()
    devices: dict[Uid, Device] = msgspec.field(default_factory=dict)
    groups: dict[Uid, Group] = msgspec.field(default_factory=dict)
    signals: dict[Uid, Signal] = msgspec.field(default_factory=dict)
    messages: dict[Uid, Message] = msgspec.field(default_factory=dict)

    def signals_of(self, group: str) -> list[str]:
        """uids of a group's signals, in the document's order."""
        return [uid for uid, signal in self.signals.items() if signal.group == group]

    def groups_of(self, device: str) -> list[str]:
        """uids of a device's groups, in the document's order."""
        return [uid for uid, group in self.groups.items() if group.device == device]


def parse(document: object) -> Configuration:
    """Configuration from a decoded document (JSON or YAML: dicts, lists, strings, numbers).

    Raises:
        ConfigurationError: with every fault found, not only the first.
    """
    plain = list(_plain_faults(document, ()))
    try:
        configuration = msgspec.convert(document, Configuration)
    except msgspec.ValidationError as first:
        faults = structure_faults(document, Configuration, first)
        raise ConfigurationError([*plain, *faults, *reference_faults(_readable(document))]) from first
    faults = [*plain, *reference_faults(configuration)]
    if faults:
        raise ConfigurationError(faults)
    return configuration


def _plain_faults(value: object, path: tuple[str | int, ...]) -> Iterator[Fault]:
    """What YAML allows and a configuration does not: numbers without a value, names that are no text."""
    if isinstance(value, float) and not isfinite(value):
        yield Fault(_path(path), f"{value} is no number to work with")
    elif isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                yield Fault(_path(path), f"the name {key!r} is no text; put it in quotes")
            yield from _plain_faults(inner, (*path, str(key)))
    elif isinstance(value, list | tuple):
        for i, inner in enumerate(value):
            yield from _plain_faults(inner, (*path, i))


def _readable(document: object) -> Configuration:
    """What can be read of a document with faults, so that its references are checked all the same.

    An entry that cannot be read keeps its uid and refers to "?", which no document can name.
    """
    whole = document if isinstance(document, dict) else {}

    def entries(section: str, model: type[_T], stand_in: _T | None) -> dict[str, _T]:
        found: dict[str, _T] = {}
        part = whole.get(section)
        for uid, entry in part.items() if isinstance(part, dict) else ():
            try:
                found[str(uid)] = msgspec.convert(entry, model)
            except msgspec.ValidationError:
                if stand_in is not None:
                    found[str(uid)] = stand_in
        return found

    unknown = "?"
    try:
        gateway = msgspec.convert(whole.get("gateway"), Gateway)
    except msgspec.ValidationError:
        gateway = Gateway(unknown)
    return Configuration(
        format=1,
        gateway=gateway,
        devices={**entries("devices", Device, Device(unknown)), unknown: Device(unknown)},
        groups={**entries("groups", Group, Group(unknown)), unknown: Group(unknown)},
        signals=entries("signals", Signal, Signal(unknown)),
        messages=entries("messages", Message, None),
    )


def structure_faults(document: object, model: type, first: msgspec.ValidationError) -> list[Fault]:
    """All faults the generated JSON Schema finds; msgspec's own first one if it finds none.

    jsonschema is imported here because a document that is right never needs it.
    """
    from jsonschema import Draft202012Validator, ValidationError

    def leaves(error: ValidationError) -> Iterator[ValidationError]:
        if not error.context:
            yield error
        for inner in error.context:
            yield from leaves(inner)

    schema = msgspec.json.schema(model)
    errors = Draft202012Validator(schema).iter_errors(document)
    faults = [Fault(_path(leaf.absolute_path), leaf.message) for e in errors for leaf in leaves(e)]
    return sorted(set(faults)) or [Fault("$", str(first))]


def reference_faults(configuration: Configuration) -> Iterator[Fault]:
    """Faults no schema can see: dangling references, doubled numbers, senseless combinations."""
    c = configuration
    try:
        ZoneInfo(c.gateway.zone)
    except (KeyError, ValueError, OSError):
        yield Fault("$.gateway.zone", f"{c.gateway.zone!r} is not a known time zone; e.g. Europe/Berlin")
    for uid, group in c.groups.items():
        if group.device not in c.devices:
            yield Fault(f"$.groups.{uid}.device", f"no device {group.device!r} in devices")
        if group.cycle_s < 0.1:
            yield Fault(f"$.groups.{uid}.cycle_s", f"{group.cycle_s} s is below the shortest cycle, 0.1 s")
    for uid, signal in c.signals.items():
        path = f"$.signals.{uid}"
        if signal.group not in c.groups:
            yield Fault(f"{path}.group", f"no group {signal.group!r} in groups")
        if signal.scaling.divisor == 0:
            yield Fault(f"{path}.scaling.divisor", "0 divides nothing; leave it out for 1")
        for name, bounds in (("range", signal.range), ("limits", signal.limits)):
            if bounds.low is not None and bounds.high is not None and bounds.low > bounds.high:
                yield Fault(f"{path}.{name}", f"low {bounds.low:g} is above high {bounds.high:g}")
        if signal.type is DataType.TEXT and signal.archive.deadband:
            yield Fault(f"{path}.archive.deadband", "a text has no deadband; leave it out")
    yield from _message_faults(c)


def _message_faults(c: Configuration) -> Iterator[Fault]:
    numbers: dict[int, str] = {}
    for uid, message in c.messages.items():
        path = f"$.messages.{uid}"
        if message.number in numbers:
            yield Fault(f"{path}.number", f"{message.number} is already taken by {numbers[message.number]!r}")
        numbers.setdefault(message.number, uid)
        for b, block in enumerate(message.any_of):
            for i, condition in enumerate(block):
                yield from _condition_faults(c, condition, f"{path}.any_of[{b}][{i}]")


def _condition_faults(c: Configuration, condition: Condition, path: str) -> Iterator[Fault]:
    for name in ("signal", "limit", "exit"):
        operand = getattr(condition, name)
        if not isinstance(operand, str):
            continue
        if operand not in c.signals:
            yield Fault(f"{path}.{name}", f"no signal {operand!r} in signals")
        elif c.signals[operand].type is DataType.TEXT:
            yield Fault(f"{path}.{name}", f"signal {operand!r} is a text; it cannot be compared as a number")
    limit, leave = condition.limit, condition.exit
    if isinstance(limit, str) or isinstance(leave, str) or leave is None:
        return
    if (condition.operator in {">", ">="} and leave > limit) or (
        condition.operator in {"<", "<="} and leave < limit
    ):
        yield Fault(
            f"{path}.exit", f"{leave:g} lies beyond the limit {limit:g} and has no effect; leave it out"
        )


def digest(configuration: Configuration) -> str:
    """SHA-256, hex: equal exactly when the documents say the same, in the same order of entries.

    The order is what operators see and how a group's columns stand; that of a driver's own
    fields means nothing.
    """
    c = configuration
    said = msgspec.json.encode(c, order="deterministic")
    order = msgspec.json.encode([list(section) for section in (c.devices, c.groups, c.signals, c.messages)])
    return sha256(said + order).hexdigest()


def _path(parts: Iterable[str | int]) -> str:
    text = "$"
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text
