"""Configuration of the gateway: read from a file, checked whole, compiled for the parts.

What the document says is in `contract.model.config`; here the drivers' own settings and
addresses are checked too, and uids get the numbers of this gateway's store.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from contract.model.config import Configuration, ConfigurationError, Device, Fault, parse
from contract.model.signal import DataType, Signal
from edge import drivers
from edge.clock import Clock
from edge.drivers.driver import ConfigError, Driver, Point, PointGroup
from edge.signals.plan import Member

APPLIED_FILE: Final = "applied.json"
SIZE_MAX: Final = 64 * 1024 * 1024


class DevicePlan(NamedTuple):
    """One device ready to be supervised; equal plans need no new session."""

    uid: str
    device: Device
    settings: msgspec.Struct
    groups: tuple[PointGroup, ...]

    def make(self, clock: Clock) -> Callable[[], Driver]:
        """How its driver is made anew for each session."""
        kind: Any = drivers.load(self.device.driver)  # called as MakeDriver says
        return lambda: kind(self.settings, self.groups, clock)


class GroupPlan(NamedTuple):
    """One acquisition group with the numbers of this store."""

    uid: str
    number: int
    cycle_us: int
    members: tuple[Member, ...]


def read(path: Path) -> Configuration:
    """Configuration in a file, JSON or (by its ending .yaml, .yml) YAML; wholly checked.

    Raises:
        ConfigurationError: with every fault and its path in the document.
    """
    try:
        if path.stat().st_size > SIZE_MAX:
            raise ConfigurationError([Fault("$", f"{path.name} is larger than {SIZE_MAX} bytes")])
        data = path.read_bytes()
    except OSError as error:
        raise ConfigurationError([Fault("$", f"{path} cannot be read: {error.strerror}")]) from error
    return check(decode(data, is_yaml=path.suffix in {".yaml", ".yml"}))


def decode(data: bytes, *, is_yaml: bool = False) -> object:
    """Plain document in text; ConfigurationError where it is no JSON (YAML)."""
    try:
        if is_yaml:
            return msgspec.yaml.decode(data)
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        kind = "YAML" if is_yaml else "JSON"
        raise ConfigurationError([Fault("$", f"this is no {kind}: {error}")]) from error


def check(document: object) -> Configuration:
    """Configuration in a decoded document, drivers' settings and addresses included.

    Raises:
        ConfigurationError: with the faults of all of them; what is wrong in one place hides none in another.
    """
    configuration = None
    faults: list[Fault] = []
    try:
        configuration = parse(document)
    except ConfigurationError as error:
        faults.extend(error.faults)
    faults.extend(_driver_faults(document))
    if configuration is None or faults:
        raise ConfigurationError(faults)
    return configuration


def _driver_faults(document: object) -> Iterator[Fault]:
    """What drivers refuse, as far as the document lets them be asked; the rest is `parse`'s to say."""
    devices, groups = _entries(document, "devices"), _entries(document, "groups")
    known: dict[str, str] = {}
    for uid, device in devices.items():
        driver, settings = device.get("driver"), device.get("settings", {})
        if not isinstance(driver, str) or not isinstance(settings, dict):
            continue
        try:
            known[uid] = driver
            drivers.parse_settings(driver, settings, f"$.devices.{uid}.settings")
        except ConfigError as error:
            yield Fault(f"$.devices.{uid}.driver", str(error))
            del known[uid]
        except ConfigurationError as error:
            yield from error.faults
    for uid, signal in _entries(document, "signals").items():
        device_uid = str(groups.get(str(signal.get("group")), {}).get("device"))
        address, kind = signal.get("address", {}), signal.get("type", DataType.FLOAT)
        if device_uid in known and isinstance(address, dict) and kind in list(DataType):
            try:
                drivers.parse_address(
                    known[device_uid],
                    address,
                    DataType(kind),
                    writable=signal.get("writable") is True,
                    path=f"$.signals.{uid}.address",
                )
            except ConfigurationError as error:
                yield from error.faults


def _entries(document: object, name: str) -> dict[str, dict[str, Any]]:
    """Entries of one of the document's tables that have the shape of one."""
    table = document.get(name) if isinstance(document, dict) else None
    if not isinstance(table, dict):
        return {}
    return {str(uid): entry for uid, entry in table.items() if isinstance(entry, dict)}


def compile_groups(
    c: Configuration, signals: Mapping[str, int], groups: Mapping[str, int]
) -> list[GroupPlan]:
    """Groups that have signals, in the document's order, with the store's numbers."""
    members: dict[str, list[Member]] = {uid: [] for uid in c.groups}
    for uid, signal in c.signals.items():
        members[signal.group].append(Member(signals[uid], uid, signal))
    return [
        GroupPlan(uid, groups[uid], round(group.cycle_s * 1e6), tuple(members[uid]))
        for uid, group in c.groups.items()
        if members[uid]
    ]


def compile_devices(c: Configuration, groups: list[GroupPlan]) -> list[DevicePlan]:
    """Devices in the document's order, settings and addresses parsed by their drivers."""
    plans = []
    for uid, device in c.devices.items():
        settings = drivers.parse_settings(device.driver, device.settings)
        of_device = [group for group in groups if c.groups[group.uid].device == uid]
        points = tuple(
            PointGroup(
                number=group.number,
                uid=group.uid,
                cycle_us=group.cycle_us,
                points=tuple(_point(device.driver, member) for member in group.members),
            )
            for group in of_device
        )
        plans.append(DevicePlan(uid, device, settings, points))
    return plans


def _point(driver: str, member: Member) -> Point:
    signal: Signal = member.signal
    address = drivers.parse_address(driver, signal.address, signal.type, writable=signal.writable)
    return Point(member.number, member.uid, signal.type, address, signal.writable)


def keep_applied(folder: Path, c: Configuration) -> None:
    """Remember the configuration in force, for a start with a faulty file."""
    path = folder / APPLIED_FILE
    partial = path.with_suffix(".new")
    with partial.open("wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(c)))
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def last_applied(folder: Path) -> Configuration | None:
    """The configuration last in force here, if there is one and it still fits this program."""
    path = folder / APPLIED_FILE
    if not path.exists():
        return None
    try:
        return read(path)
    except ConfigurationError:
        return None
