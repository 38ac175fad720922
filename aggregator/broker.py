"""Our mosquitto: its configuration, its rights, its folder.

Two TLS listeners that share nothing: gateways (their authority, their topics) and central
processes (theirs, on loopback). Plain MQTT is never opened. Everything lies in `<data>/broker/`;
Debian's own service and `/etc/mosquitto` stay as they are. Certificates come from
`aggregator.pki`, which calls here; the process is kept alive by `aggregator.serve`.
"""

import os
import pwd
import select
import shutil
import signal
import stat
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import msgspec
from msgspec import Meta

from contract.wire import topics

CONFIGURATION = "mosquitto.conf"
PID_FILE = "mosquitto.pid"
DATABASE = "mosquitto.db"

Listener = Literal["gateway", "central"]

CENTRAL_TOPICS = "fwc/1/#"
"""What central processes tell each other; no gateway reaches it."""

# A segment of 4 MiB with its envelope and topic passes; the gateway's own check comes first.
MAX_PACKET_BYTES = 4 * 1024 * 1024 + 64 * 1024

# What waits for one client. A gateway sends at most 32 records or 4 MiB ahead of its receipts, and
# what is dropped here is sent again, so this bounds the broker's memory and nothing else.
QUEUED_MESSAGES = 20_000
QUEUED_BYTES = 256 * 1024 * 1024
# Messages on their way to one client before it confirms; the protocol's 20 would throttle ingest.
INFLIGHT_MESSAGES = 100
INFLIGHT_BYTES = 64 * 1024 * 1024

Port = Annotated[int, Meta(ge=1, le=65535)]


class BrokerMissing(Exception):
    """mosquitto is not installed; the message says how to get it."""


class BrokerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the broker listens."""

    gateway_port: Annotated[Port, Meta(description="Port on which gateways connect")] = 8883
    gateway_address: Annotated[
        str, Meta(description="Address on which gateways connect; empty for every one this host has")
    ] = ""
    central_port: Annotated[Port, Meta(description="Port on which ingest and web connect")] = 8884
    central_address: Annotated[
        str, Meta(description="Address for ingest and web; loopback unless they run elsewhere")
    ] = "127.0.0.1"


class Account(NamedTuple):
    """An unprivileged user to run as."""

    uid: int
    gid: int


class Tls(NamedTuple):
    """Contents of the files one listener needs, PEM."""

    authority: bytes
    certificate: bytes
    key: bytes
    revoked: bytes


def configuration(settings: BrokerSettings, *, as_root: bool = False) -> str:
    """mosquitto.conf; all paths are relative to the broker's folder, its working directory.

    Args:
        settings: where to listen.
        as_root: keep running as root, for hosts on which no other account can be taken. Otherwise
            the broker is started under its account and mosquitto has no rights to drop.
    """
    lines = [
        "# Written at each start; changes here are lost.",
        "per_listener_settings true",
        *(["user root"] if as_root else []),
        f"pid_file {PID_FILE}",
        "log_dest stderr",
        "log_timestamp_format %Y-%m-%dT%H:%M:%S",
        *(f"log_type {kind}" for kind in ("error", "warning", "notice", "information")),
        "persistence true",
        "persistence_location ./",
        f"persistence_file {DATABASE}",
        # A session nobody comes back to is forgotten with what waits for it.
        "persistent_client_expiration 14d",
        "set_tcp_nodelay true",
        f"max_packet_size {MAX_PACKET_BYTES}",
        f"max_queued_messages {QUEUED_MESSAGES}",
        f"max_queued_bytes {QUEUED_BYTES}",
        f"max_inflight_messages {INFLIGHT_MESSAGES}",
        f"max_inflight_bytes {INFLIGHT_BYTES}",
        "",
        *_listener("gateway", settings.gateway_port, settings.gateway_address),
        # Without it one gateway throws another off by connecting under its client id.
        "use_username_as_clientid true",
        "",
        *_listener("central", settings.central_port, settings.central_address),
        # Off here: several processes may share one identity.
        "use_username_as_clientid false",
    ]
    return "\n".join(lines) + "\n"


def _listener(name: Listener, port: int, address: str) -> list[str]:
    return [
        f"listener {port} {address}".rstrip(),
        "protocol mqtt",
        "tls_version tlsv1.3",
        f"cafile {name}-ca.pem",
        f"certfile {name}-server.pem",
        f"keyfile {name}-server.key",
        f"crlfile {name}-crl.pem",
        "require_certificate true",
        "use_identity_as_username true",
        "allow_anonymous false",
        "allow_zero_length_clientid false",
        f"acl_file {name}.acl",
    ]


def access_list(listener: Listener) -> str:
    """Who may do what on a listener; what is not named is refused, `$SYS` included."""
    if listener == "gateway":
        lines = [
            # %u is the common name of the certificate, which the authority decided. One line per
            # lane, not up/#: retained messages on endless topics would fill the broker's memory.
            *(f"pattern write {topics.up('%u', lane)}" for lane in topics.Up),
            f"pattern read {topics.all_down('%u')}",
        ]
    else:
        lines = [
            "user _ingest",
            f"topic read {topics.ALL_UP}",
            f"topic write {topics.all_down('+')}",
            f"topic write {CENTRAL_TOPICS}",
            "",
            "user _web",
            f"topic read {topics.ALL_UP}",
            f"topic read {CENTRAL_TOPICS}",
            "topic read $SYS/broker/#",
            f"topic write {topics.down('+', topics.Down.COMMAND)}",
        ]
    return "\n".join(lines) + "\n"


def client_id(name: str, instance: str) -> str:
    """MQTT client id of a central process, `name` being its identity.

    Client ids are one name space over both listeners. The leading underscore keeps ours out of
    reach: a gateway's is its own name, which has none, so it can neither end nor inherit our session.
    """
    return f"{name}-{instance}"


def install(
    folder: Path, settings: BrokerSettings, tls: Mapping[Listener, Tls], account: Account | None
) -> None:
    """Write everything the broker reads into `folder`, for `account` alone to read.

    The session database is left as it is. `account` None: the broker runs as whoever runs us, or,
    where the folder was set up for a group (setgid), as a member of that group.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not _is_for_group(folder):
        folder.chmod(0o700)
    as_root = account is None and os.geteuid() == 0
    files = {CONFIGURATION: configuration(settings, as_root=as_root).encode()}
    for name, listener in tls.items():
        files[f"{name}.acl"] = access_list(name).encode()
        files[f"{name}-ca.pem"] = listener.authority
        files[f"{name}-server.pem"] = listener.certificate
        files[f"{name}-server.key"] = listener.key
        files[f"{name}-crl.pem"] = listener.revoked
    for name_of_file, content in files.items():
        _replace(folder / name_of_file, content, account)
    if account is not None:
        # The account may have changed since the last start, and owns what the broker writes itself.
        for path in (folder, *folder.iterdir()):
            os.chown(path, account.uid, account.gid, follow_symlinks=False)


def install_revoked(folder: Path, listener: Listener, revoked: bytes) -> None:
    """Replace a revocation list; the broker reads it at its next start."""
    owner = folder.stat()
    account = Account(owner.st_uid, owner.st_gid) if os.geteuid() == 0 else None
    _replace(folder / f"{listener}-crl.pem", revoked, account)


def _is_for_group(folder: Path) -> bool:
    """Whether the broker runs under an account of its own and reads here as a member of the group."""
    return bool(folder.stat().st_mode & stat.S_ISGID)


def _replace(path: Path, content: bytes, account: Account | None) -> None:
    # No fsync: all of this is written again at each start.
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    mode = 0o640 if _is_for_group(path.parent) else 0o600
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as handle:
        os.fchmod(handle.fileno(), mode)  # whatever the mask of this process is
        handle.write(content)
        if account is not None:
            os.fchown(handle.fileno(), account.uid, account.gid)
    fresh.replace(path)


def program() -> str:
    """Path of mosquitto, also where the folder for daemons is not on PATH.

    Raises:
        BrokerMissing: it is not installed.
    """
    found = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin")
    if found is None:
        raise BrokerMissing("mosquitto is not installed; on Debian: apt-get install mosquitto")
    return found


def command() -> list[str]:
    """Command line of the broker, to be run in its folder."""
    return [program(), "-c", CONFIGURATION]


def unprivileged_account() -> Account | None:
    """The account to run as when we are root and can take it, else None."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam("mosquitto")
    except KeyError:
        return None
    try:
        # Some containers have a root that may not become anyone else.
        subprocess.run(["true"], check=True, user=entry.pw_uid, group=entry.pw_gid, extra_groups=[])
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return Account(entry.pw_uid, entry.pw_gid)


def running(folder: Path) -> int | None:
    """Process id of the broker that runs in `folder`, or None.

    The number in the pid file may be another process's by now, so its working directory and
    program are looked at too.
    """
    try:
        pid = int((folder / PID_FILE).read_text())
        process = Path("/proc") / str(pid)
        if process.joinpath("cwd").resolve(strict=True) != folder.resolve():
            return None
        return pid if process.joinpath("comm").read_text().strip() == "mosquitto" else None
    except (OSError, ValueError):
        return None


def end_sessions(folder: Path, patience_s: float = 10.0) -> bool:
    """Stop the broker that runs in `folder`, so that whoever keeps it alive starts it afresh.

    Gives whether there was one. Returns when it is gone; killed after `patience_s`. A reload by
    SIGHUP refuses newcomers but leaves the live session of a revoked certificate running; a fresh
    start knows only the new list.

    Raises:
        PermissionError: the broker is another account's; call as that account or as root.
    """
    pid = running(folder)
    if pid is None:
        return False
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        # The handle pins the process; look again, for the number may have changed hands before.
        if running(folder) != pid:
            return False
        for sign in (signal.SIGTERM, signal.SIGKILL):
            signal.pidfd_send_signal(handle, sign)
            if select.select([handle], [], [], patience_s)[0]:
                break
    except ProcessLookupError:
        pass
    finally:
        os.close(handle)
    return True
