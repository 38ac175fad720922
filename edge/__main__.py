"""Command line of the gateway, `python -m edge`. All but `run` and `check` asks the running daemon."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from contract.model.config import ConfigurationError, digest
from edge import app, config, drivers
from edge.host.control import ControlError, ask

DONE, REFUSED, USAGE = 0, 1, 2
BAD_SHOWN = 20
FOLDER = Path("/var/lib/feldwarte/edge")


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0 done, 1 refused with the reason, 2 usage."""
    arguments = _parser().parse_args(argv)
    run: Callable[[argparse.Namespace], int] = arguments.run
    try:
        return run(arguments)
    except ControlError as error:
        print(error, file=sys.stderr)
        return REFUSED
    except BrokenPipeError:
        return DONE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m edge", description="Feldwarte gateway: acquires, judges, keeps and sends."
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    def verb(name: str, run: Callable[[argparse.Namespace], int], text: str, example: str) -> Any:
        p = verbs.add_parser(
            name, help=text, description=text, epilog=f"example: python -m edge {name} {example}"
        )
        p.add_argument("--data", type=Path, default=FOLDER, help=f"data folder (default {FOLDER})")
        p.add_argument("--json", action="store_true", help="for machines")
        p.set_defaults(run=run)
        return p

    p = verb("run", _run, "run the daemon", "--config plant.json --data ./data")
    p.add_argument("--config", type=Path, help="configuration file; without it the last applied one")
    p = verb("check", _check, "check a configuration file and name every fault", "--config plant.json")
    p.add_argument("--config", type=Path, required=True)
    verb("drivers", _drivers, "drivers, their settings and addresses", "--json")
    verb("devices", _devices, "devices and how they fare", "--data ./data")
    p = verb(
        "browse", _browse, "what a device offers to be read", "--data ./data plc 'nsu=urn:maker:plc;s=Pump'"
    )
    p.add_argument("device", metavar="DEVICE")
    p.add_argument("node", nargs="?", metavar="NODE", help="its top if left out")
    verb("status", _status, "how the gateway fares", "--data ./data")
    p = verb("read", _read, "newest values", "--data ./data boiler.t1")
    p.add_argument("signals", nargs="*", metavar="SIGNAL")
    p = verb("write", _write, "set a signal, value in its unit", "--data ./data boiler.setpoint 21.5")
    p.add_argument("signal", metavar="SIGNAL")
    p.add_argument("value", metavar="VALUE")
    p = verb("history", _history, "stored samples", "--data ./data boiler.t1 --minutes 30")
    p.add_argument("signals", nargs="+", metavar="SIGNAL")
    p.add_argument("--minutes", type=float, default=30.0)
    p = verb("journal", _journal, "the newest events", "--data ./data --count 20")
    p.add_argument("--count", type=int, default=50)
    p = verb("verify", _verify, "check all that is stored", "--data ./data --deep")
    p.add_argument("--deep", action="store_true", help="decode all segments and recompute their digests")
    p = verb(
        "import", _import, "recorded samples from a CSV file", "march.csv --data ./data --zone Europe/Berlin"
    )
    p.add_argument("file", type=Path, metavar="FILE")
    p.add_argument("--signal", action="append", default=[], metavar="COLUMN=UID", dest="names")
    p.add_argument("--time", default="", metavar="COLUMN", help="with the times (the first)")
    p.add_argument(
        "--format",
        default="iso",
        help="of the times: iso, epoch_s, epoch_ms, epoch_us, or e.g. %%d.%%m.%%Y %%H:%%M",
    )
    p.add_argument("--zone", default="UTC", help="of times that name none (UTC)")
    p.add_argument("--long", metavar="SIGNAL,VALUE", help="columns of a file with a line per sample")
    p.add_argument("--delimiter", default=",", help="between columns (,)")
    p.add_argument("--decimal", default=".", help="decimal sign (.)")
    verb("reload", _reload, "read the configuration file again, apply the difference", "--data ./data")
    verb("version", _version, "name and version", "")
    return parser


def _show(arguments: argparse.Namespace, result: Any, text: Callable[[], str]) -> int:
    print(json.dumps(result, ensure_ascii=False) if arguments.json else text())
    return DONE


def _run(arguments: argparse.Namespace) -> int:
    if arguments.config is None and not (arguments.data / config.APPLIED_FILE).exists():
        print(f"no --config given, and {arguments.data} holds no applied configuration", file=sys.stderr)
        return USAGE
    return app.start(arguments.config, arguments.data)


def _check(arguments: argparse.Namespace) -> int:
    try:
        configuration = config.read(arguments.config)
    except ConfigurationError as error:
        faults = [{"path": fault.path, "text": fault.text} for fault in error.faults]
        text = str(error)
        _show(arguments, faults, lambda: text)
        return REFUSED
    c = configuration
    summary = {"devices": len(c.devices), "signals": len(c.signals), "digest": digest(c)}
    return _show(
        arguments,
        summary,
        lambda: f"{arguments.config}: good; {len(c.devices)} devices, {len(c.signals)} signals",
    )


def _drivers(arguments: argparse.Namespace) -> int:
    found = {name: drivers.schemas(name) for name in drivers.names()}
    return _show(arguments, found, lambda: "\n".join(f"{name}: see docs/drivers/{name}.md" for name in found))


def _devices(arguments: argparse.Namespace) -> int:
    devices = ask(arguments.data, "devices")
    lines = (
        f"{d['uid']}: {'connected' if d['connected'] else 'not connected'} since {_time(d['since_us'])}, "
        f"{d['reads']} reads, {d['samples']} samples, {d['errors']} errors, {d['losses']} losses"
        + (f"; last error: {d['last_error']}" if d["last_error"] else "")
        for d in devices
    )
    return _show(arguments, devices, lambda: "\n".join(lines) or "no devices configured")


def _browse(arguments: argparse.Namespace) -> int:
    nodes = ask(arguments.data, "browse", device=arguments.device, node=arguments.node)
    lines = (
        f"{'+' if n['has_children'] else ' '} {n['id']:50} {n['name']}"
        + (f"  {n['type']}{', writable' if n['writable'] else ''}" if n["type"] else "")
        for n in nodes
    )
    return _show(arguments, nodes, lambda: "\n".join(lines) or "nothing there")


def _status(arguments: argparse.Namespace) -> int:
    status = ask(arguments.data, "status")
    health = status["health"]

    def text() -> str:
        links = ", ".join("connected" if up else "not connected" for up in status["uplinks"])
        lines = [
            f"{status['gateway']}: {status['samples']} samples kept since start, store {status['store']}",
            f"uplinks: {links or 'none'}",
            f"unsent: {health['unsent_events']} events, {health['unsent_segments']} segments",
            f"store: {health['store_bytes'] / 1e6:.1f} of {health['quota_bytes'] / 1e6:.0f} MB",
        ]
        if health["trouble"]:
            lines.append(f"trouble: {health['trouble']}")
        return "\n".join(lines + [f"fault: {fault}" for fault in status["faults"]])

    return _show(arguments, status, text)


def _read(arguments: argparse.Namespace) -> int:
    readings = ask(arguments.data, "read", signals=arguments.signals)
    lines = (
        f"{r['signal']:40} {'—' if r['value'] is None else r['value']} {r['unit']}  {r['quality']}"
        f"  {_time(r['time_us'])}"
        for r in readings
    )
    return _show(arguments, readings, lambda: "\n".join(lines))


def _write(arguments: argparse.Namespace) -> int:
    try:
        value: object = json.loads(arguments.value)
    except ValueError:
        value = arguments.value
    result = ask(arguments.data, "write", signal=arguments.signal, value=value)
    return _show(arguments, result, lambda: str(result))


def _history(arguments: argparse.Namespace) -> int:
    to_us = int(datetime.now(UTC).timestamp() * 1e6)
    from_us = to_us - round(arguments.minutes * 60e6)
    found = ask(arguments.data, "history", signals=arguments.signals, from_us=from_us, to_us=to_us)
    lines = (
        f"{uid} {_time(time_us)} {'—' if value is None else value} {quality}"
        for uid, rows in found.items()
        for time_us, value, quality in rows
    )
    return _show(arguments, found, lambda: "\n".join(lines) or "nothing stored in that time")


def _journal(arguments: argparse.Namespace) -> int:
    events = ask(arguments.data, "journal", count=arguments.count)
    lines = (f"{_time(e['time_us'])} {e['kind']:12} {e['number'] or '':>7} {e['text']}" for e in events)
    return _show(arguments, events, lambda: "\n".join(lines) or "no events yet")


def _verify(arguments: argparse.Namespace) -> int:
    findings = ask(arguments.data, "verify", 3600.0, deep=arguments.deep)
    _show(arguments, findings, lambda: "\n".join(findings) or "all that is stored is sound")
    return REFUSED if findings else DONE


def _import(arguments: argparse.Namespace) -> int:
    from edge import importer  # reads files and zones; nobody else needs it

    names = dict(name.rpartition("=")[::2] for name in arguments.names)
    long = tuple(arguments.long.split(",")) if arguments.long else None
    if "" in names or (long is not None and len(long) != 2) or len(arguments.delimiter) != 1:
        print("--signal is COLUMN=UID, --long is SIGNAL,VALUE, --delimiter is one character", file=sys.stderr)
        return USAGE
    form = importer.Form(
        time=arguments.time,
        time_format=arguments.format,
        zone=arguments.zone,
        delimiter=arguments.delimiter,
        decimal=arguments.decimal,
        long=(long[0], long[1]) if long else None,
        names=names,
    )
    shown = -1

    def progress(done: int, total: int) -> None:
        nonlocal shown
        tenth = 10 * done // total
        if tenth > shown and not arguments.json:
            shown = tenth
            print(f"{done} of {total} samples", file=sys.stderr, flush=True)

    with importer.Target(arguments.data) as target:
        result, bad = importer.import_file(arguments.file, target, form, progress)
    for row in bad[:BAD_SHOWN]:
        print(
            f"{arguments.file.name}, line {row.line}: {row.text}" if row.line else row.text, file=sys.stderr
        )
    if len(bad) > BAD_SHOWN:
        print(f"and {len(bad) - BAD_SHOWN} more rows that are not used", file=sys.stderr)
    _show(arguments, msgspec.to_builtins(result), lambda: result.text)
    return DONE if result.stored or result.skipped or not bad else REFUSED


def _reload(arguments: argparse.Namespace) -> int:
    result = ask(arguments.data, "reload")
    return _show(arguments, result, lambda: str(result))


def _version(arguments: argparse.Namespace) -> int:
    return _show(arguments, app.program(), app.program)


def _time(time_us: int) -> str:
    if not time_us:
        return "never"
    return datetime.fromtimestamp(time_us / 1e6, UTC).isoformat(sep=" ", timespec="milliseconds")


if __name__ == "__main__":
    sys.exit(main())
