"""Control socket: the command line speaks to the running daemon, which owns every connection.

A Unix socket in the data folder, readable by its owner only. One request and one reply per
connection, each a line of JSON: {"verb": …, "arguments": {…}} → {"ok": true, "result": …} or
{"ok": false, "error": "…"}.
"""

import asyncio
import logging
import os
import socket
import stat
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec

log = logging.getLogger(__name__)

REQUEST_MAX: Final = 1024 * 1024
TIMEOUT_S: Final = 60.0

Arguments: TypeAlias = dict[str, Any]
Verb: TypeAlias = Callable[[Arguments], Awaitable[object]]


class ControlError(Exception):
    """The daemon cannot be reached or said no; the text is for the person at the keyboard."""


class Request(msgspec.Struct, forbid_unknown_fields=True):
    """What is asked."""

    verb: str
    arguments: Arguments = {}


class Reply(msgspec.Struct):
    """What came of it."""

    ok: bool
    result: Any = None
    error: str = ""


def path_of(folder: Path) -> Path:
    """Where the socket of the daemon with this data folder is."""
    return folder / "control.sock"


async def serve(folder: Path, verbs: Mapping[str, Verb]) -> asyncio.Server:
    """Listen; the caller closes the server. A socket left by a killed daemon is replaced."""
    path = path_of(folder)
    path.unlink(missing_ok=True)
    old = os.umask(stat.S_IRWXG | stat.S_IRWXO)
    try:
        return await asyncio.start_unix_server(
            lambda reader, writer: _answer(reader, writer, verbs), path, limit=REQUEST_MAX
        )
    finally:
        os.umask(old)


async def _answer(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, verbs: Mapping[str, Verb]
) -> None:
    try:
        async with asyncio.timeout(TIMEOUT_S):
            reply = await _reply(await reader.readline(), verbs)
            writer.write(msgspec.json.encode(reply) + b"\n")
            await writer.drain()
    except (ConnectionError, TimeoutError, ValueError) as error:
        log.warning("control: request given up: %s", error)
    finally:
        writer.close()


async def _reply(line: bytes, verbs: Mapping[str, Verb]) -> Reply:
    try:
        request = msgspec.json.decode(line, type=Request)
        verb = verbs.get(request.verb)
        if verb is None:
            return Reply(False, error=f"no verb {request.verb!r}; there are {', '.join(sorted(verbs))}")
        return Reply(True, await verb(request.arguments))
    except (msgspec.DecodeError, ControlError, KeyError, TypeError) as error:
        return Reply(False, error=str(error) or type(error).__name__)


def ask(folder: Path, verb: str, timeout_s: float = TIMEOUT_S, /, **arguments: object) -> Any:
    """Result of one verb of the daemon that runs on this data folder.

    Raises:
        ControlError: no daemon there, no answer in time, or it said no.
    """
    path = path_of(folder)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout_s)
        try:
            connection.connect(str(path))
            connection.sendall(msgspec.json.encode(Request(verb, arguments)) + b"\n")
            data = bytearray()
            while chunk := connection.recv(65536):
                data += chunk
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise ControlError(f"no gateway runs on {folder} (nothing answers at {path.name})") from error
        except OSError as error:
            raise ControlError(f"the gateway on {folder} does not answer: {error}") from error
    try:
        reply = msgspec.json.decode(bytes(data), type=Reply)
    except msgspec.DecodeError as error:
        raise ControlError(f"the gateway on {folder} closed the connection without a reply") from error
    if not reply.ok:
        raise ControlError(reply.error)
    return reply.result
