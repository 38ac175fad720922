"""The simulation driver: polls a recording, functions and memory as if they were a device."""

import lzma
from collections.abc import AsyncGenerator, Iterable, Sequence
from pathlib import Path
from typing import ClassVar, Self

import msgspec
import numpy as np
import numpy.typing as npt

from contract.model.batch import Batch, UInt8s, Value, needs_exact, number
from contract.model.config import Fault
from contract.model.quality import Quality
from contract.model.signal import DataType
from edge.blocking import Worker
from edge.clock import Clock
from edge.drivers.driver import AddressError, ConfigError, Node, Point, PointGroup, WriteRefused
from edge.drivers.polling import Polling
from edge.drivers.simulation.recording import Recording, function_value, load
from edge.drivers.simulation.settings import Address, Settings, address_faults


class Simulation:
    """A device made of a recording, functions of time and values in memory."""

    Settings: ClassVar[type[msgspec.Struct]] = Settings
    Address: ClassVar[type[msgspec.Struct]] = Address

    def __init__(self, settings: msgspec.Struct, groups: Sequence[PointGroup], clock: Clock) -> None:
        if not isinstance(settings, Settings):
            raise ConfigError(f"simulation: {type(settings).__name__} are not its settings")
        self._settings = settings
        self._clock = clock
        self._points = {point.signal: point for group in groups for point in group.points}
        self._groups = tuple(groups)
        self._polling = Polling(groups, clock, self._poll)
        self._begun_s = clock.monotonic_s()
        self._recording: Recording | None = None
        self._columns: dict[int, tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]] = {}
        self._memory: dict[int, Value] = {
            signal: _first(point) for signal, point in self._points.items() if _is_memory(point)
        }

    @classmethod
    def check(cls, address: msgspec.Struct, type_: DataType, *, writable: bool) -> Iterable[Fault]:
        """Fields that do not go together; see `address_faults`."""
        assert isinstance(address, Address)
        return address_faults(address, type_, writable=writable)

    @property
    def missed(self) -> int:
        """Poll cycles that were skipped."""
        return self._polling.missed

    async def __aenter__(self) -> Self:
        if self._settings.file is not None:
            path = Path(self._settings.file)
            worker = Worker("simulation")
            try:
                self._recording = await worker.run(load, path)
            except (OSError, ValueError, EOFError, lzma.LZMAError) as err:
                raise ConfigError(f"simulation: {path}: {err}") from err
            finally:
                worker.close()
        known = {name: i for i, name in enumerate(self._recording.columns if self._recording else ())}
        for group in self._groups:
            pairs = [
                (row, known[column])
                for row, point in enumerate(group.points)
                if (column := _address(point).column) is not None and column in known
            ]
            rows, columns = zip(*pairs, strict=True) if pairs else ((), ())
            self._columns[group.number] = (np.array(rows, np.intp), np.array(columns, np.intp))
        self._begun_s = self._clock.monotonic_s()
        return self

    async def __aexit__(self, *exc: object) -> None:
        pass

    def readings(self) -> AsyncGenerator[Batch, None]:
        return self._polling.batches()

    async def read(self, signal: int) -> Value:
        point = self._point(signal)
        if signal in self._memory:
            return self._memory[signal]
        address = _address(point)
        if address.function is not None:
            return function_value(address, self._clock.now_us())
        if self._recording is None or address.column not in self._recording.columns:
            raise AddressError(f"{point.uid}: the recording has no column {address.column!r}")
        line, _ = self._line(self._recording)
        return float(self._recording.values[line, self._recording.columns.index(address.column)])

    async def write(self, signal: int, value: Value) -> None:
        point = self._point(signal)
        if signal not in self._memory:
            raise WriteRefused(f"{point.uid}: only a value in memory can be written")
        if isinstance(value, str) != (point.type is DataType.TEXT):
            raise WriteRefused(f"{point.uid}: {value!r} is no value of type {point.type}")
        self._memory[signal] = value

    async def browse(self, node: str | None) -> Sequence[Node]:
        """The columns of the recording."""
        if node is not None or self._recording is None:
            return ()
        return [
            Node(id=name, name=name, address={"column": name}, type=DataType.FLOAT)
            for name in self._recording.columns
        ]

    def _point(self, signal: int) -> Point:
        if signal not in self._points:
            raise AddressError(f"signal {signal} is not one of this device's")
        return self._points[signal]

    async def _poll(self, group: PointGroup, time_us: int) -> Batch:
        n = len(group.points)
        value = np.full(n, np.nan)
        quality: UInt8s = np.zeros(n, np.uint8)
        exact: list[tuple[int, int | str]] = []
        for row, point in enumerate(group.points):
            address = _address(point)
            if address.column is not None:
                quality[row] = Quality.BAD_ADDRESS  # unless the recording knows it, below
                continue
            of = self._memory.get(point.signal)
            of = function_value(address, time_us) if of is None else of
            value[row] = number(of)
            if needs_exact(of):
                assert isinstance(of, int | str)
                exact.append((row, of))
        rows, columns = self._columns[group.number]
        if self._recording is not None and len(rows):
            line, runs = self._line(self._recording)
            shown = self._recording.values[line, columns]
            value[rows] = shown
            quality[rows] = Quality.GOOD if runs else Quality.UNCERTAIN_LAST_USABLE
            quality[rows[np.isnan(shown)]] = Quality.BAD_SENSOR_FAILURE
        return Batch(group.number, None, time_us, value, quality if quality.any() else None, tuple(exact))

    def _line(self, recording: Recording) -> tuple[int, bool]:
        played_s = (self._clock.monotonic_s() - self._begun_s) * self._settings.speed
        return recording.line(round(played_s * 1e6), loop=self._settings.loop)


def _address(point: Point) -> Address:
    assert isinstance(point.address, Address)
    return point.address


def _is_memory(point: Point) -> bool:
    address = _address(point)
    return address.column is None and address.function is None


def _first(point: Point) -> Value:
    value = _address(point).value
    if value is None:
        return "" if point.type is DataType.TEXT else 0.0
    return value
