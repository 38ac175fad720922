"""The control socket through real connections."""

import asyncio
import stat
from pathlib import Path

import pytest

from edge.host import control
from edge.host.control import Arguments, ControlError


async def double(arguments: Arguments) -> object:
    return arguments["x"] * 2


async def refuse(_arguments: Arguments) -> object:
    raise ControlError("boiler.t9: this gateway has no such signal")


def asked(folder: Path, verb: str, **arguments: object) -> object:
    async def serve_and_ask() -> object:
        server = await control.serve(folder, {"double": double, "refuse": refuse})
        async with server:
            return await asyncio.to_thread(control.ask, folder, verb, 5.0, **arguments)

    return asyncio.run(serve_and_ask())


def test_a_verb_answers(tmp_path: Path) -> None:
    assert asked(tmp_path, "double", x=21) == 42


@pytest.mark.parametrize(
    ("verb", "says"),
    [
        ("refuse", "boiler.t9: this gateway has no such signal"),
        ("nonsense", "no verb 'nonsense'; there are double, refuse"),
        ("double", "x"),
    ],
)
def test_a_refusal_reaches_the_person_at_the_keyboard(tmp_path: Path, verb: str, says: str) -> None:
    with pytest.raises(ControlError, match=says):
        asked(tmp_path, verb)


def test_the_socket_is_its_owners_alone_and_a_dead_one_is_replaced(tmp_path: Path) -> None:
    control.path_of(tmp_path).touch()

    async def serve() -> int:
        async with await control.serve(tmp_path, {}):
            return stat.S_IMODE(control.path_of(tmp_path).stat().st_mode)

    assert asyncio.run(serve()) & 0o077 == 0


def test_without_a_daemon_the_error_names_the_folder(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match=f"no gateway runs on {tmp_path}"):
        control.ask(tmp_path, "status")


@pytest.mark.parametrize("line", [b"\n", b"{}\n", b"[]\n", b'{"verb": 3}\n', b"\xff\xfe\n", b"x" * 2_000_000])
def test_nonsense_on_the_socket_does_not_end_the_daemon(tmp_path: Path, line: bytes) -> None:
    async def talk() -> object:
        async with await control.serve(tmp_path, {"double": double}):
            reader, writer = await asyncio.open_unix_connection(control.path_of(tmp_path))
            try:
                writer.write(line)
                await writer.drain()
                await reader.read()
            except ConnectionError:
                pass  # it may hang up in the middle of two megabytes
            finally:
                writer.close()
            return await asyncio.to_thread(control.ask, tmp_path, "double", 5.0, x=2)

    assert asyncio.run(talk()) == 4
