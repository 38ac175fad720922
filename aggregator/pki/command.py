"""`python -m aggregator pki`: make authorities, give and withdraw identities.

    pki init --host scada.example.org     once, before the first start
    pki gateway gw-1                      identity folder for a gateway, key made here
    pki gateway gw-1 --request gw-1.csr   the same for a key that stays on the gateway
    pki central _ingest                   identity folder for a central process
    pki revoke gw-1                       refuse it from now on, ending its live session
    pki show                              who holds which certificate

Exit code 0 done, 1 refused with the reason on standard error.
"""

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from aggregator import broker
from aggregator.pki.certificates import Authority, PkiError, checked_name
from aggregator.pki.folder import Issued, PkiFolder, save_identity

EXAMPLES = (__doc__ or "").split("\n\n")[1]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `pki`, for the parser of the whole program."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = f"examples:\n{EXAMPLES}"
    parser.add_argument("--data", type=Path, default=Path("data"), help="data folder (default: data)")
    parser.add_argument("--json", action="store_true", help="answer in JSON")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    init = actions.add_parser("init", help="make both authorities; never overwrites one")
    init.add_argument(
        "--host",
        action="append",
        default=[],
        metavar="NAME",
        help="name or address by which gateways reach the broker; repeat for each",
    )
    gateway = actions.add_parser("gateway", help="issue an identity to a gateway, for 90 days")
    gateway.add_argument("name", metavar="ID", help="a-z, 0-9 and -, at most 64")
    gateway.add_argument("--out", type=Path, help="identity folder to write (default: DATA/identities/ID)")
    gateway.add_argument("--request", type=Path, help="PEM signing request; its key stays where it is")
    central = actions.add_parser("central", help="issue or renew the identity of a central process")
    central.add_argument("name", metavar="NAME", help="_ or _ and a-z, 0-9, such as _ingest")
    revoke = actions.add_parser("revoke", help="refuse every certificate of a name from now on")
    revoke.add_argument("name", metavar="ID", help="gateway id, or name of a central process")
    actions.add_parser("show", help="list the certificates given out")


def run(arguments: argparse.Namespace, now: datetime | None = None) -> int:
    """Do what was asked; gives the exit code.

    Args:
        arguments: parsed by what `add_arguments` added.
        now: aware, UTC; the machine's clock if left out.
    """
    now = now or datetime.now(UTC)
    pki = PkiFolder(arguments.data / "pki")
    try:
        if arguments.action == "init":
            pki.initialise(arguments.host, now)
            _say(arguments, {"folder": str(pki.folder)}, f"authorities made in {pki.folder}")
        elif arguments.action == "gateway":
            _gateway(arguments, pki, now)
        elif arguments.action == "central":
            folder = pki.central(arguments.name, now)
            _say(arguments, {"folder": str(folder)}, f"identity of {arguments.name} in {folder}")
        elif arguments.action == "revoke":
            _revoke(arguments, pki, now)
        else:
            _show(arguments, pki, now)
    except (PkiError, OSError) as err:
        print(f"pki: {err}", file=sys.stderr)
        return 1
    return 0


def _gateway(arguments: argparse.Namespace, pki: PkiFolder, now: datetime) -> None:
    checked_name(Authority.GATEWAY, arguments.name)  # before it becomes part of a path
    folder = arguments.out or arguments.data / "identities" / arguments.name
    request = arguments.request.read_bytes() if arguments.request else None
    save_identity(pki.issue(Authority.GATEWAY, arguments.name, now, request), folder)
    _say(arguments, {"folder": str(folder)}, f"identity of {arguments.name} in {folder}")


def _revoke(arguments: argparse.Namespace, pki: PkiFolder, now: datetime) -> None:
    authority = Authority.CENTRAL if arguments.name.startswith("_") else Authority.GATEWAY
    fresh = pki.revoke(authority, arguments.name, now)
    folder = arguments.data / "broker"
    was_running = False
    if folder.exists():
        broker.install_revoked(folder, authority.value, pki.listener(authority).revoked.read_bytes())
        was_running = broker.end_sessions(folder)
    _say(
        arguments,
        {"revoked": [entry.serial for entry in fresh], "broker_stopped": was_running},
        f"{len(fresh)} certificates of {arguments.name} revoked; "
        + (
            "the broker was stopped and its supervisor starts it afresh"
            if was_running
            else "no broker was running; the next start knows"
        ),
    )


def _show(arguments: argparse.Namespace, pki: PkiFolder, now: datetime) -> None:
    issued = pki.issued()
    lines = [
        f"{entry.authority:8} {entry.name:32} {_state(entry, now):24} {entry.serial}" for entry in issued
    ]
    _say(arguments, msgspec.to_builtins(issued), "\n".join(lines) or "no certificate given out yet")


def _state(entry: Issued, now: datetime) -> str:
    if entry.revoked is not None:
        return f"revoked {entry.revoked:%Y-%m-%d %H:%M}"
    return f"{'expired' if entry.not_after <= now else 'until'} {entry.not_after:%Y-%m-%d %H:%M}"


def _say(arguments: argparse.Namespace, machine: object, human: str) -> None:
    text = msgspec.json.encode(machine).decode() if arguments.json else human
    print(text)
