"""Samples as files: JSON, CSV, XLSX; read in portions, so that a file of any length takes little memory.

Rows come from a `Source`: every stored sample, or the points that a curve shows.
"""

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from functools import partial
from heapq import merge
from itertools import groupby
from operator import itemgetter
from typing import IO, Final, NamedTuple

import msgspec
import xlsxwriter

from aggregator.db.engine import Databases
from aggregator.gateways.store import SignalRow
from aggregator.history import service as history
from aggregator.history.pieces import Range
from aggregator.history.rules import carried, quality_name
from aggregator.history.trend import Curve
from aggregator.scope import Scope
from contract.history.decimate import HOLE
from contract.model.batch import Value
from contract.model.signal import DataType

PAGE = 50_000
"""Samples of all signals of a file read at once: what it takes of our memory."""
WINDOW_US: Final = 86_400_000_000
SHEET_ROWS: Final = 1_048_576
"""What a worksheet can hold, its head included."""
FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet would take a text that begins so for a formula."""
EXCEL_EPOCH: Final = datetime(1899, 12, 30, tzinfo=UTC)


class TooLong(ValueError):
    """A file cannot hold it; the text says what would do."""


class Row(NamedTuple):
    """One sample as it is written: value None where there is none."""

    time_us: int
    value: Value | None
    quality: int


class Source(NamedTuple):
    """Rows of each signal by time, and what the signal is called."""

    named: Mapping[str, SignalRow]
    rows: Mapping[str, Callable[[], Iterator[Row]]]

    def title(self, uid: str) -> str:
        """Name and unit."""
        row = self.named.get(uid)
        if row is None:
            return uid
        return f"{row.name} [{row.unit}]" if row.unit else row.name


class Form(NamedTuple):
    """How a text file is written."""

    zone: tzinfo = UTC
    separator: str = ","
    decimal: str = "."
    is_wide: bool = False


# --- Where rows come from --------------------------------------------------------------------


def portions(
    scope: Scope, databases: Databases, uid: str, span: tuple[int, int], limit: int, page: int
) -> Iterator[history.Samples]:
    """Samples of one signal; the last portion says where it was cut, if it was.

    Asked by windows, which grow while they bring little: no question lists the segments of years.
    """
    at_us, to_us = span
    window_us = WINDOW_US
    while at_us < to_us and limit > 0:
        end_us = min(to_us, at_us + window_us)
        some = history.query(scope, databases, [uid], at_us, end_us, limit=min(page, limit))[uid]
        limit -= len(some.time_us)
        if some.more_from_us is not None:
            at_us = some.more_from_us
        else:
            at_us = end_us
            window_us *= 2 if len(some.time_us) < page // 4 else 1
            if limit <= 0 and at_us < to_us:
                some = some._replace(more_from_us=at_us)
        yield some


def stored(
    scope: Scope,
    databases: Databases,
    named: Mapping[str, SignalRow],
    uids: Sequence[str],
    span: tuple[int, int],
    limit: int,
) -> Source:
    """Every stored sample, at most `limit` of each signal."""
    page = max(500, PAGE // len(uids))  # side by side, each signal has a portion in memory

    def rows(uid: str) -> Iterator[Row]:
        for some in portions(scope, databases, uid, span, limit, page):
            yield from rows_of(some)

    return Source(named, {uid: partial(rows, uid) for uid in uids})


def rows_of(some: history.Samples) -> Iterator[Row]:
    """Samples one by one."""
    values = some.values if isinstance(some.values, list) else some.values.tolist()
    for time_us, value, quality in zip(some.time_us.tolist(), values, some.quality.tolist(), strict=True):
        yield Row(time_us, carried(value), quality)


def shown(curves: Mapping[str, Curve], named: Mapping[str, SignalRow]) -> Source:
    """The points of curves, as they are drawn; a hole is a row without value, quality HOLE."""
    return Source(named, {uid: partial(_points, curve, named.get(uid)) for uid, curve in curves.items()})


def _points(curve: Curve, row: SignalRow | None) -> Iterator[Row]:
    exact, is_switch = dict(curve.exact), row is not None and row.type == DataType.BOOLEAN
    points = zip(curve.time_us.tolist(), curve.values.tolist(), curve.quality.tolist(), strict=True)
    for at, (time_us, number, quality) in enumerate(points):
        value: Value | None = carried(number)
        if at in exact:
            value = exact[at]
        elif value is not None and curve.texts:
            value = curve.texts[int(number)]
        elif is_switch and number in {0.0, 1.0}:
            value = number == 1.0
        yield Row(time_us, value, quality)


# --- JSON ------------------------------------------------------------------------------------


def as_json(
    scope: Scope, databases: Databases, uids: Sequence[str], span: tuple[int, int], limit: int
) -> Iterator[bytes]:
    """One object; `signals` by uid, `samples` as [time_us, value, quality]."""
    before = history.last_before(scope, databases, uids, span[0])
    yield b'{"from_us":%d,"to_us":%d,"signals":{' % span
    for i, uid in enumerate(uids):
        held = before.get(uid)
        first = None if held is None else [held.time_us, carried(held.value), held.quality]
        yield (b"," if i else b"") + msgspec.json.encode(uid) + b':{"before":' + msgspec.json.encode(first)
        yield b',"samples":['
        missing: dict[Range, None] = {}
        more_us: int | None = None
        separator = b""
        for some in portions(scope, databases, uid, span, limit, PAGE):
            if len(some.time_us):
                yield separator + msgspec.json.encode(list(rows_of(some)))[1:-1]
                separator = b","
            missing |= dict.fromkeys(some.missing)
            more_us = some.more_from_us
        gaps = msgspec.json.encode([gap._asdict() for gap in missing])
        yield b'],"missing":' + gaps + b',"more_from_us":' + msgspec.json.encode(more_us) + b"}"
    yield b"}}\n"


# --- CSV -------------------------------------------------------------------------------------


def as_csv(source: Source, form: Form) -> Iterator[str]:
    """Lines; no value is an empty field, and no field is a formula."""
    text = io.StringIO()
    lines = csv.writer(text, delimiter=form.separator)
    if form.decimal != ".":
        text.write("\ufeff")  # where commas are decimal, Excel reads UTF-8 by this mark alone
    for written, line in enumerate(_wide(source, form) if form.is_wide else _long(source, form)):
        lines.writerow(line)
        if written % 1000 == 999:
            yield text.getvalue()
            text.seek(0)
            text.truncate()
    yield text.getvalue()


def _long(source: Source, form: Form) -> Iterator[Sequence[object]]:
    yield ("signal", "time", "time_us", "value", "quality", "quality_name")
    for uid, rows in source.rows.items():
        for time_us, value, quality in rows():
            field = _field(value, form.decimal)
            yield (uid, moment(time_us, form.zone), time_us, field, quality, _name(quality))


def _wide(source: Source, form: Form) -> Iterator[Sequence[object]]:
    uids = list(source.rows)
    titles = [column for uid in uids for column in (_inert(source.title(uid)), f"{uid} quality")]
    yield ("time", "time_us", *titles)
    for time_us, values in _side_by_side(source):
        line: list[object] = [moment(time_us, form.zone), time_us]
        for row in values:
            line += ("", "") if row is None else (_field(row.value, form.decimal), row.quality)
        yield line


def _side_by_side(source: Source) -> Iterator[tuple[int, list[Row | None]]]:
    """Per instant a row of each signal or None; a signal's second sample of one instant follows it."""
    streams = [_numbered(at, rows) for at, rows in enumerate(source.rows.values())]
    for time_us, some in groupby(merge(*streams, key=itemgetter(0, 1)), key=itemgetter(0)):
        line: list[Row | None] = [None] * len(streams)
        for _, at, row in some:
            if line[at] is not None:
                yield time_us, line
                line = [None] * len(streams)
            line[at] = row
        yield time_us, line


def _numbered(at: int, rows: Callable[[], Iterator[Row]]) -> Iterator[tuple[int, int, Row]]:
    return ((row.time_us, at, row) for row in rows())


def _field(value: Value | None, decimal: str) -> object:
    if isinstance(value, float):
        return repr(value).replace(".", decimal)
    if isinstance(value, str):
        return _inert(value)
    return "" if value is None else value


def _inert(text: str) -> str:
    return "'" + text if text.startswith(FORMULA) else text


def _name(quality: int) -> str:
    return "HOLE" if quality == HOLE else quality_name(quality)


def moment(time_us: int, zone: tzinfo) -> str:
    """ISO 8601 with the zone's offset; empty where no date can hold it."""
    try:
        return (
            (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_us)).astimezone(zone).isoformat()
        )
    except (OverflowError, ValueError):
        return ""


# --- XLSX ------------------------------------------------------------------------------------


def write_xlsx(file: IO[bytes], source: Source, form: Form) -> int:
    """Write one worksheet; the number of its rows.

    Columns: time in the zone and in UTC as dates, then value and quality of each signal. Row by row,
    so that no more than one is in memory.

    Raises:
        TooLong: more rows than a worksheet holds; the file is of no use.
    """
    book = xlsxwriter.Workbook(
        file, {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
    )
    bold = book.add_format({"bold": True})
    date = book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss.000"})
    sheet = book.add_worksheet("Feldwarte")
    titles = [column for uid in source.rows for column in (source.title(uid), f"{uid} quality")]
    sheet.set_column(0, 1, 24)
    sheet.set_column(2, 1 + len(titles), 16)
    sheet.freeze_panes(1, 2)
    for column, title in enumerate([str(form.zone), "UTC", *titles]):
        sheet.write_string(0, column, title, bold)
    line = 0
    try:
        for line, (time_us, values) in enumerate(_side_by_side(source), start=1):
            if line >= SHEET_ROWS:
                raise TooLong(
                    f"a worksheet holds {SHEET_ROWS - 1} rows, this would be more;"
                    " ask for a shorter time, for points=…, or for csv"
                )
            for column, zone in enumerate((form.zone, UTC)):
                sheet.write_number(line, column, excel_date(time_us, zone), date)
            for at, row in enumerate(values):
                if row is not None:
                    _write(sheet, line, 2 + 2 * at, row)
    finally:
        book.close()
    return line


def _write(sheet: xlsxwriter.worksheet.Worksheet, line: int, column: int, row: Row) -> None:
    if isinstance(row.value, bool):
        sheet.write_boolean(line, column, row.value)
    elif isinstance(row.value, int | float):
        sheet.write_number(line, column, row.value)
    elif row.value is not None:
        sheet.write_string(line, column, row.value)  # text stays text, whatever it begins with
    sheet.write_number(line, column + 1, row.quality)


def excel_date(time_us: int, zone: tzinfo) -> float:
    """Days since 1899-12-30 on the wall clock of a zone, as Excel counts; it knows no zones itself."""
    local = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_us)).astimezone(zone)
    return (local.replace(tzinfo=UTC) - EXCEL_EPOCH) / timedelta(days=1)
