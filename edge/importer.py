"""`edge import`: samples of a CSV file into a gateway's history, running or not.

    wide    time,boiler.t1,boiler.t2        long    time;signal;value
            2026-03-01T10:00,61.5,48                2026-03-01T10:00;boiler.t1;61,5

Reads the file, names every row it cannot use, and hands the rest over in portions: to the running
daemon through its control socket, or into the data folder of one that is stopped. What is already
there is left out, see `past.py`.
"""

import csv
import math
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from pathlib import Path
from typing import Final, NamedTuple, Self
from zoneinfo import ZoneInfo

import msgspec

from contract.model.batch import Value
from contract.model.message import Source
from contract.model.signal import DataType
from contract.wire.records import EventKind, EventRecord
from edge import app
from edge.clock import Clock
from edge.config import compile_groups, last_applied
from edge.gateway import layout_of, meaning_of
from edge.historian.historian import Historian
from edge.historian.layout import HistorianError
from edge.host.control import ControlError, ask, path_of
from edge.journal.events import Journal, JournalTrouble
from edge.past import NotTaken, PastColumn, Taken, fits, places_of, take_in

AT_ONCE: Final = 15_000
"""Samples handed over at once: a request stays below its limit and the gateway is busy for moments."""

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
EPOCHS: Final = {"epoch_s": 1_000_000, "epoch_ms": 1000, "epoch_us": 1}
TRUTH: Final = {"true": True, "false": False, "on": True, "off": False}


class Form(NamedTuple):
    """How a file is written.

    Args:
        time: name of the column with the times; "": the first.
        time_format: iso, epoch_s, epoch_ms, epoch_us, or a pattern such as %d.%m.%Y %H:%M.
        zone: of times that name none.
        long: names of the columns with signal and value; None: a column per signal.
        names: {column, or name in a long file: uid}; others must be uids themselves.
    """

    time: str = ""
    time_format: str = "iso"
    zone: str = "UTC"
    delimiter: str = ","
    decimal: str = "."
    long: tuple[str, str] | None = None
    names: Mapping[str, str] = {}


class BadRow(NamedTuple):
    """A row, or one value in it, that is not used."""

    line: int
    text: str


class Read(NamedTuple):
    """What a file holds: samples by uid in order of time, and what is not used of it."""

    samples: dict[str, list[tuple[int, Value]]]
    bad: list[BadRow]


class NotReadable(ValueError):
    """The file as a whole is none of this form; the text names the way out."""


# --- Out of the file -------------------------------------------------------------------------


def read_csv(lines: Iterator[str], form: Form, types: Mapping[str, DataType], now_us: int) -> Read:
    """Samples of a file.

    Args:
        types: of the signals there are, by uid.

    Raises:
        NotReadable: no header, no such column or signal, an unknown zone.
    """
    table = csv.reader(lines, delimiter=form.delimiter)
    header = next(table, None)
    if not header:
        raise NotReadable("the file is empty; it begins with a line of column names")
    header = [name.strip().removeprefix("\ufeff") for name in header]
    time_at = _place(header, form.time or header[0])
    moment = _moment_of(form)
    if form.long is None:
        cells_of = _wide(header, time_at, form, types)
    else:
        cells_of = _long(header, form.long, form, types)
    samples: dict[str, list[tuple[int, Value]]] = {}
    bad: list[BadRow] = []
    before_us: int | None = None
    for cells in table:
        if not cells:
            continue
        line = table.line_num
        if len(cells) != len(header):
            bad.append(BadRow(line, f"{len(cells)} columns, the header has {len(header)}"))
            continue
        try:
            time_us = moment(cells[time_at].strip(), before_us)
            if time_us > now_us:
                raise ValueError(f"{cells[time_at]!r} lies ahead of now")
            before_us = time_us
            found = cells_of(cells)
        except ValueError as error:
            bad.append(BadRow(line, str(error)))
            continue
        for uid, text in found:
            try:
                value = _value(text.strip(), types[uid], form.decimal)
            except ValueError as error:
                bad.append(BadRow(line, f"{uid}: {error}"))
                continue
            if value is not None:
                samples.setdefault(uid, []).append((time_us, value))
    return Read({uid: _in_order(uid, rows, bad) for uid, rows in samples.items()}, bad)


def _place(header: Sequence[str], name: str) -> int:
    if name not in header:
        raise NotReadable(f"no column {name!r}; there are {', '.join(header)}")
    return header.index(name)


Cells = Callable[[Sequence[str]], list[tuple[str, str]]]


def _wide(header: Sequence[str], time_at: int, form: Form, types: Mapping[str, DataType]) -> Cells:
    unknown = sorted(set(form.names) - set(header))
    if unknown:
        raise NotReadable(f"no column {unknown[0]!r}; there are {', '.join(header)}")
    wanted = [name for name in header if not form.names or name in form.names]
    places = [(header.index(n), form.names.get(n, n)) for n in wanted if header.index(n) != time_at]
    for _, uid in places:
        _known(uid, types)
    return lambda cells: [(uid, cells[at]) for at, uid in places]


def _long(
    header: Sequence[str], columns: tuple[str, str], form: Form, types: Mapping[str, DataType]
) -> Cells:
    name_at, value_at = (_place(header, name) for name in columns)
    for uid in form.names.values():
        _known(uid, types)

    def cells_of(cells: Sequence[str]) -> list[tuple[str, str]]:
        name = cells[name_at].strip()
        uid = form.names.get(name, name)
        if uid not in types:
            raise ValueError(f"{name!r} is no signal of this gateway")
        return [(uid, cells[value_at])]

    return cells_of


def _known(uid: str, types: Mapping[str, DataType]) -> None:
    if uid not in types:
        raise NotReadable(f"{uid!r} is no signal of this gateway; name it with --signal COLUMN=UID")


def _moment_of(form: Form) -> Callable[[str, int | None], int]:
    """How a time is read; the one before tells which of two equal hours is meant."""
    if form.time_format in EPOCHS:
        factor = EPOCHS[form.time_format]
        return lambda text, _: round(float(text) * factor) if "." in text else int(text) * factor
    try:
        zone = ZoneInfo(form.zone)
    except (KeyError, ValueError, OSError) as error:
        raise NotReadable(f"{form.zone!r} is no known time zone; e.g. Europe/Berlin") from error

    def moment(text: str, before_us: int | None) -> int:
        if form.time_format == "iso":
            at = datetime.fromisoformat(text)
        else:
            at = datetime.strptime(text, form.time_format)  # noqa: DTZ007  # its zone comes below
        if at.tzinfo is not None:
            return _us(at)
        at = at.replace(tzinfo=zone)
        if at.astimezone(UTC).astimezone(zone).replace(tzinfo=None) != at.replace(tzinfo=None):
            raise ValueError(f"{text!r} does not exist in {form.zone}: the clocks were set forward")
        first_us = _us(at)
        again_us = _us(at.replace(fold=1))
        return again_us if before_us is not None and first_us <= before_us < again_us else first_us

    return moment


def _us(at: datetime) -> int:
    return (at - EPOCH) // timedelta(microseconds=1)


def _value(text: str, type_: DataType, decimal: str) -> Value | None:
    """Value of a cell; None where it is empty or says that there is none."""
    if type_ is DataType.TEXT:
        return text or None
    if not text or text.lower() == "nan":
        return None
    if text.lower() in TRUTH:
        value: Value = TRUTH[text.lower()]
    else:
        plain = text.replace(decimal, ".") if decimal != "." else text
        try:
            value = int(plain)
        except ValueError:
            value = float(plain)
            if not math.isfinite(value):
                raise ValueError(f"{text!r} is no number") from None
    if type_ is DataType.FLOAT:
        return float(value)
    if not fits(value, type_):
        raise ValueError(f"{text!r} is no {type_}")
    return int(value) if type_ is DataType.INTEGER else bool(value)


def _in_order(uid: str, rows: list[tuple[int, Value]], bad: list[BadRow]) -> list[tuple[int, Value]]:
    """In order of time; of two at one instant the first."""
    rows.sort(key=lambda row: row[0])
    kept: list[tuple[int, Value]] = []
    for row in rows:
        if kept and kept[-1][0] == row[0]:
            bad.append(BadRow(0, f"{uid}: two values at {_text(row[0])}; the first one counts"))
        else:
            kept.append(row)
    return kept


# --- Into the gateway ------------------------------------------------------------------------


def portions(samples: Mapping[str, Sequence[tuple[int, Value]]]) -> Iterator[list[PastColumn]]:
    """Columns in portions by time, none with more than `AT_ONCE` samples."""
    at_once = max(1, AT_ONCE // max(1, len(samples)))
    places = dict.fromkeys(samples, 0)
    while left := [uid for uid, rows in samples.items() if places[uid] < len(rows)]:
        last = min(samples[uid][min(places[uid] + at_once, len(samples[uid])) - 1][0] for uid in left)
        columns = []
        for uid in left:
            rows, begin = samples[uid], places[uid]
            end = bisect_right(rows, last, begin, key=itemgetter(0))
            if end == begin:
                continue
            places[uid] = end
            times, values = zip(*rows[begin:end], strict=True)
            before = rows[begin - 1][0] if begin else None
            after = rows[end][0] if end < len(rows) else None
            columns.append(PastColumn(uid, list(times), list(values), before, after))
        yield columns


class Target:
    """A gateway that takes samples in: one that runs, or the data folder of one that is stopped.

    Attributes:
        types: of its signals, by uid.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = ExitStack()
        self._stopped: _Stopped | None = None
        self.types: dict[str, DataType] = {}

    def __enter__(self) -> Self:
        """Raises ControlError where there is no gateway."""
        with ExitStack() as stack:
            if self._is_running():
                self.types = {uid: DataType(t) for uid, t in ask(self._folder, "signals").items()}
            else:
                self._stopped = _Stopped(self._folder, stack)
                self.types = {uid: place.type for uid, place in self._stopped.places.items()}
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def take(self, columns: Sequence[PastColumn]) -> Taken:
        """Store a portion.

        Raises:
            ControlError: the gateway said no; nothing of the portion was stored.
        """
        if self._stopped is not None:
            return self._stopped.take(columns)
        plain = msgspec.to_builtins(columns)
        return msgspec.convert(ask(self._folder, "import", columns=plain), Taken)

    def note(self, text: str) -> None:
        """A line in the gateway's journal."""
        if self._stopped is not None:
            self._stopped.note(text)
        else:
            ask(self._folder, "imported", text=text)

    def _is_running(self) -> bool:
        if not path_of(self._folder).exists():
            return False
        try:
            ask(self._folder, "signals")
        except ControlError:
            return False  # a socket that a killed daemon left; the lock on the folder tells for sure
        return True


class _Stopped:
    """The data folder of a gateway that does not run."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        configuration = last_applied(folder) if folder.is_dir() else None
        if configuration is None:
            raise ControlError(f"no gateway runs on {folder}, and it holds no applied configuration")
        self._clock = Clock()
        now_us = self._clock.now_us()
        try:
            app.lock(folder, stack)
            self._historian = Historian.open(folder, configuration.storage, now_us)
            stack.callback(self._historian.close)
            self._journal = Journal.open(folder / "journal.db", self._historian.store, now_us)
            stack.callback(self._journal.close)
            signals = self._historian.number_signals(list(configuration.signals))
            numbers = self._historian.number_groups(list(configuration.groups))
            groups = compile_groups(configuration, signals, numbers)
            epochs = [
                self._historian.epoch_of(group.number, [meaning_of(m) for m in group.members])
                for group in groups
            ]
            layouts = [layout_of(group, epoch) for group, epoch in zip(groups, epochs, strict=True)]
            self._historian.configure(layouts)
        except (app.AlreadyRunning, HistorianError, JournalTrouble) as error:
            raise ControlError(str(error)) from error
        self.places = places_of(configuration, groups)

    def take(self, columns: Sequence[PastColumn]) -> Taken:
        try:
            return take_in(self._historian, self.places, columns, self._clock.now_us())
        except (NotTaken, HistorianError) as error:
            raise ControlError(str(error)) from error

    def note(self, text: str) -> None:
        now_us = self._clock.now_us()
        event = EventRecord(
            store=self._historian.store,
            seq=1,
            id=f"{EventKind.SYSTEM}/{now_us}/import",
            kind=EventKind.SYSTEM,
            time_us=now_us,
            source=Source.SYSTEM,
            text=text,
            actor="local",
            clock_trusted=self._clock.trusted,
        )
        try:
            self._journal.append([event])
        except JournalTrouble as error:
            raise ControlError(str(error)) from error


class Imported(msgspec.Struct, frozen=True):
    """What an import did."""

    file: str
    signals: int
    stored: int
    skipped: int
    bad: int
    from_us: int
    to_us: int

    @property
    def text(self) -> str:
        """In plain words, for journal and terminal."""
        if not self.stored:
            return f"import of {self.file}: nothing new; {self.skipped} samples are there already"
        there = f"; {self.skipped} were there already" if self.skipped else ""
        return (
            f"imported {self.stored} recorded samples of {self.signals} signals, "
            f"{_text(self.from_us)} to {_text(self.to_us)}, from {self.file}{there}"
        )


def import_file(
    file: Path, target: Target, form: Form, progress: Callable[[int, int], None]
) -> tuple[Imported, list[BadRow]]:
    """Read a file and hand it over.

    Args:
        progress: called with samples done and samples in all.

    Raises:
        ControlError: the file or the gateway cannot be used; portions before stay stored.
    """
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            samples, bad = read_csv(lines, form, target.types, Clock().now_us())
    except (NotReadable, OSError, UnicodeDecodeError, csv.Error) as error:
        raise ControlError(f"{file}: {error}") from error
    total = sum(map(len, samples.values()))
    stored = skipped = 0
    for columns in portions(samples):
        taken = target.take(columns)
        stored, skipped = stored + taken.stored, skipped + taken.skipped
        progress(stored + skipped, total)
    times = [rows[i][0] for rows in samples.values() for i in (0, -1)]
    done = Imported(
        file.name, len(samples), stored, skipped, len(bad), min(times, default=0), max(times, default=0)
    )
    if total:
        target.note(done.text)
    return done, bad


def _text(time_us: int) -> str:
    return (EPOCH + timedelta(microseconds=time_us)).isoformat(sep=" ", timespec="seconds")
