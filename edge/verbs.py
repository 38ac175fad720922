"""Verbs of the control socket: what the command line may ask of the running daemon."""

import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from contract.model.config import ConfigurationError
from contract.model.quality import Quality
from contract.segment.layout import Values
from contract.wire.records import EventKind
from edge.drivers.driver import DriverError
from edge.gateway import Gateway
from edge.historian.layout import HistorianError
from edge.host.control import Arguments, ControlError, Verb
from edge.past import NotTaken, PastColumn, places_of, take_in
from edge.report import Report
from edge.sync.commands import Failed, Refused

HISTORY_MAX = 200_000
BROWSE_S = 30.0
LOCAL = "local"
"""Actor of what is done at the box itself."""


@dataclass(frozen=True)
class Verbs:
    """All verbs over one gateway."""

    gateway: Gateway
    report: Report
    reload_file: Callable[[], Awaitable[str]]

    async def status(self, _arguments: Arguments) -> object:
        """Status as the centre gets it, and who this is."""
        status = msgspec.to_builtins(self.report.status(online=True))
        g = self.gateway
        return status | {
            "name": g.configuration.gateway.name,
            "site": g.configuration.gateway.site,
            "store": g.historian.store,
            "samples": g.flow.samples,
            "uplinks": [uplink.connected for uplink in g.uplinks],
            "refused": g.refused,
            "faults": list(g.faults),
        }

    async def read(self, arguments: Arguments) -> object:
        """Newest readings: of `signals`, or of all."""
        wanted = arguments.get("signals") or list(self.gateway.numbers)
        return [self._reading(uid) for uid in wanted]

    def _reading(self, uid: str) -> dict[str, Any]:
        number = self.gateway.numbers.get(uid)
        if number is None:
            raise ControlError(f"{uid}: this gateway has no such signal")
        reading = self.gateway.flow.newest[number]
        signal = self.gateway.configuration.signals[uid]
        return {
            "signal": uid,
            "name": signal.name or uid,
            "value": reading.value,
            "unit": signal.unit,
            "quality": quality_name(reading.quality),
            "time_us": reading.time_us,
        }

    async def write(self, arguments: Arguments) -> object:
        """Set `signal` to `value`, in its unit."""
        uid, value = str(arguments["signal"]), arguments["value"]
        events = self.gateway.events
        try:
            await self.gateway.write(uid, value, float(arguments.get("timeout_s", 10.0)))
        except (Refused, Failed) as reason:
            events.note(EventKind.REFUSED, str(reason), actor=LOCAL, signal=uid)
            raise ControlError(str(reason)) from reason
        events.note(EventKind.WRITTEN, f"{uid}: {value} written", actor=LOCAL, signal=uid)
        recorded = await self.gateway.settle()
        return f"{uid}: {value} written" + ("" if recorded else "; not recorded yet, see `edge status`")

    async def history(self, arguments: Arguments) -> object:
        """Stored samples of `signals` from `from_us` to `to_us`."""
        numbers = {}
        for uid in arguments["signals"]:
            if uid not in self.gateway.numbers:
                raise ControlError(f"{uid}: this gateway has no such signal")
            numbers[self.gateway.numbers[uid]] = uid
        g = self.gateway

        def collect() -> dict[str, list[Any]]:
            found: dict[str, list[Any]] = {uid: [] for uid in numbers.values()}
            total = 0
            pieces = g.historian.history(list(numbers), int(arguments["from_us"]), int(arguments["to_us"]))
            for number, times, values, quality in pieces:
                total += len(times)
                if total > HISTORY_MAX:
                    raise ControlError(f"more than {HISTORY_MAX} samples; ask for fewer signals or less time")
                rows = found[numbers[number]]
                marks = np.zeros(len(times), np.uint8) if quality is None else quality
                rows.extend(zip(times.tolist(), plain(values), marks.tolist(), strict=True))
            return found

        return await g.store_worker.run(collect)

    async def signals(self, _arguments: Arguments) -> object:
        """The type of each signal, by uid."""
        return {uid: signal.type for uid, signal in self.gateway.configuration.signals.items()}

    async def take_in(self, arguments: Arguments) -> object:
        """Store `columns`, samples of the past, as far as they are not there yet."""
        g = self.gateway
        try:
            columns = msgspec.convert(arguments["columns"], list[PastColumn])
            places = places_of(g.configuration, g.groups)
            taken = await g.store_worker.run(take_in, g.historian, places, columns, g.clock.now_us())
        except (msgspec.ValidationError, NotTaken, HistorianError) as error:
            raise ControlError(str(error)) from error
        for uplink in g.uplinks:
            uplink.poke()
        return msgspec.to_builtins(taken)

    async def imported(self, arguments: Arguments) -> object:
        """Note in the journal what an import did."""
        self.gateway.events.note(EventKind.SYSTEM, str(arguments["text"])[:2000], actor=LOCAL)
        return await self.gateway.settle()

    async def verify(self, arguments: Arguments) -> object:
        """Check all that is stored; `deep` decodes and recomputes."""
        g = self.gateway
        deep = bool(arguments.get("deep"))
        segments = await g.store_worker.run(lambda: g.historian.verify(deep=deep))
        journal = await g.journal_worker.run(g.journal.verify)
        return [finding.text for finding in segments] + journal

    async def journal(self, arguments: Arguments) -> object:
        """The newest events, newest first."""
        g = self.gateway
        events = await g.journal_worker.run(g.journal.recent, int(arguments.get("count", 50)))
        return [msgspec.to_builtins(event) for event in events]

    async def devices(self, _arguments: Arguments) -> object:
        """Each device as its supervisor sees it."""
        return [msgspec.to_builtins(s.health()) for s in self.gateway.supervisors.values()]

    async def browse(self, arguments: Arguments) -> object:
        """What lies below `node` of `device`, or at its top."""
        device, node = str(arguments["device"]), arguments.get("node")
        supervisor = self.gateway.supervisors.get(device)
        if supervisor is None:
            there = ", ".join(self.gateway.supervisors) or "none"
            raise ControlError(f"{device}: no such device runs here; there are {there}")
        try:
            found = await supervisor.browse(None if node is None else str(node), BROWSE_S)
        except DriverError as error:
            raise ControlError(f"{device}: {error}") from error
        return [msgspec.to_builtins(one) for one in found]

    async def reload(self, _arguments: Arguments) -> object:
        """Read the configuration file again and apply the difference."""
        try:
            return await self.reload_file()
        except ConfigurationError as error:
            raise ControlError("\n".join(str(fault) for fault in error.faults)) from error


def verbs_of(
    gateway: Gateway, report: Report, reload_file: Callable[[], Awaitable[str]]
) -> Mapping[str, Verb]:
    """Verb per name."""
    v = Verbs(gateway, report, reload_file)
    return {
        "status": v.status,
        "read": v.read,
        "write": v.write,
        "history": v.history,
        "signals": v.signals,
        "import": v.take_in,
        "imported": v.imported,
        "verify": v.verify,
        "journal": v.journal,
        "devices": v.devices,
        "browse": v.browse,
        "reload": v.reload,
    }


def quality_name(code: int) -> str:
    """Word for a quality code, its number where it has none."""
    try:
        return Quality(code).name.lower()
    except ValueError:
        return f"0x{code:02x}"


def plain(values: Values) -> list[Any]:
    """Values for JSON: numbers, texts, and None for what is no number."""
    listed = values.tolist() if isinstance(values, np.ndarray) else list(values)
    return [None if isinstance(v, float) and math.isnan(v) else v for v in listed]
