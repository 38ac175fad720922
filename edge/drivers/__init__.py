"""The drivers: which there are, and how their settings and addresses are read.

A bus library is imported when a device of that bus is configured, never before. Other
packages add drivers through the entry-point group `feldwarte.drivers`; docs/adding-a-driver.md.
"""

from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Final

import msgspec

from contract.model.config import ConfigurationError, Fault, structure_faults
from contract.model.signal import DataType, OpenFields
from edge.drivers.driver import ConfigError, Driver

ENTRY_POINTS: Final = "feldwarte.drivers"

DRIVERS: Final[dict[str, str]] = {
    "modbus": "edge.drivers.modbus.driver:Modbus",
    "opcua": "edge.drivers.opcua.driver:OpcUa",
    "simulation": "edge.drivers.simulation.driver:Simulation",
}


def names() -> list[str]:
    """Names of all drivers that can be configured, own and foreign."""
    return sorted({*DRIVERS, *(entry.name for entry in entry_points(group=ENTRY_POINTS))})


def load(name: str) -> type[Driver]:
    """The class of a driver; imports its library. Our own wins over a foreign one of that name.

    Raises:
        ConfigError: nobody knows the driver, or its library is not installed.
    """
    try:
        if name in DRIVERS:
            module, _, attribute = DRIVERS[name].partition(":")
            driver: type[Driver] = getattr(import_module(module), attribute)
            return driver
        for entry in entry_points(group=ENTRY_POINTS, name=name):
            foreign: type[Driver] = entry.load()
            return foreign
    except ImportError as err:
        raise ConfigError(f"driver {name!r} lacks a library: {err}; pip install 'feldwarte[{name}]'") from err
    raise ConfigError(f"no driver {name!r}; there are {', '.join(names())}")


def parse_settings(driver: str, settings: OpenFields, path: str = "$") -> msgspec.Struct:
    """The driver's own `Settings`.

    Raises:
        ConfigurationError: all faults, their paths below `path`. ConfigError: see `load`.
    """
    return _parse(driver, settings, load(driver).Settings, path)


def parse_address(
    driver: str, address: OpenFields, type_: DataType, *, writable: bool, path: str = "$"
) -> msgspec.Struct:
    """The driver's own `Address`, able to carry a signal of this type.

    Raises:
        ConfigurationError: all faults, their paths below `path`. ConfigError: see `load`.
    """
    kind = load(driver)
    parsed = _parse(driver, address, kind.Address, path)
    faults = [_moved(driver, fault, path) for fault in kind.check(parsed, type_, writable=writable)]
    if faults:
        raise ConfigurationError(faults)
    return parsed


def schemas(driver: str) -> dict[str, Any]:
    """JSON Schemas of a driver's settings and addresses, from which a form is drawn."""
    kind = load(driver)
    return {"settings": msgspec.json.schema(kind.Settings), "address": msgspec.json.schema(kind.Address)}


def _parse(driver: str, document: OpenFields, model: type[msgspec.Struct], path: str) -> msgspec.Struct:
    try:
        return msgspec.convert(document, model)
    except msgspec.ValidationError as first:
        faults = structure_faults(document, model, first)
        raise ConfigurationError([_moved(driver, fault, path) for fault in faults]) from first


def _moved(driver: str, fault: Fault, path: str) -> Fault:
    return Fault(path + fault.path.removeprefix("$"), f"{fault.text}; see docs/drivers/{driver}.md")
