import asyncio
import os
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from fakes.processes import is_alive, wait_until

from aggregator.children.child import Child, Running, is_bound, is_listening

HOSTS = ["127.0.0.1"]
with suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6):
    HOSTS.append("::1")  # not every host has it


def python(code: str) -> Child:
    return Child("child", [sys.executable, "-c", code])


def run(child: Child) -> tuple[int, list[tuple[str, str]]]:
    """Run the child to its end; its status and what it said."""
    said: list[tuple[str, str]] = []

    async def once() -> int:
        with Running(child, lambda name, line: said.append((name, line))) as running:
            async with asyncio.timeout(20):
                return await running.end()

    return asyncio.run(once()), said


def test_lines_of_both_streams_arrive_under_the_childs_name() -> None:
    status, said = run(python("import os; os.write(1, b'one\\ntwo\\r\\n'); os.write(2, b'three'); exit(3)"))
    assert status == 3
    assert said == [("child", "one"), ("child", "two"), ("child", "three")]


def test_a_line_without_end_comes_in_pieces_and_broken_text_is_shown_as_such() -> None:
    _, said = run(python("import os; os.write(1, b'x' * 20000 + b'\\n\\xff\\n')"))
    pieces = [line for _, line in said[:-1]]
    assert max(map(len, pieces)) == 8192
    assert "".join(pieces) == "x" * 20000
    assert said[-1][1] == "\\xff"


def test_everything_said_before_the_end_is_passed_on() -> None:
    _, said = run(python("for n in range(50000): print(n)"))
    assert [line for _, line in said] == [str(n) for n in range(50000)]


def test_the_child_gets_our_environment_and_its_own(tmp_path: Path) -> None:
    child = Child(
        "sh", ["sh", "-c", "echo $FELDWARTE_X $HOME; pwd"], env={"FELDWARTE_X": "7"}, folder=tmp_path
    )
    _, said = run(child)
    assert [line for _, line in said] == [f"7 {os.environ['HOME']}", str(tmp_path)]


def test_the_child_has_its_own_session_and_no_input() -> None:
    _, said = run(python("import os, sys; print(os.getsid(0) == os.getpid(), repr(sys.stdin.read()))"))
    assert said[0][1] == "True ''"


def test_a_signal_shows_in_the_status() -> None:
    assert run(python("import os, signal; os.kill(os.getpid(), signal.SIGTERM)"))[0] == -signal.SIGTERM


def test_what_a_child_leaves_behind_is_killed() -> None:
    code = "import os, time\npid = os.fork()\nif pid: print(pid)\nelse: time.sleep(600)"
    _, said = run(python(code))
    wait_until(lambda: not is_alive(int(said[0][1])), "grandchild is gone")


def test_leaving_early_leaves_nothing_and_no_open_file() -> None:
    before = sorted(path.name for path in Path("/proc/self/fd").iterdir())
    pids: list[int] = []

    async def leave() -> None:
        ignores = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
        with Running(python(ignores), lambda name, line: None) as running:
            pids.append(running.pid)
            running.send(signal.SIGTERM)

    asyncio.run(leave())
    assert not is_alive(pids[0])
    assert sorted(path.name for path in Path("/proc/self/fd").iterdir()) == before


def test_signals_after_the_end_reach_nobody() -> None:
    async def late() -> None:
        with Running(python("pass"), lambda name, line: None) as running:
            await running.end()
            running.send(signal.SIGTERM)
            running.kill()

    asyncio.run(late())


@pytest.mark.parametrize("host", HOSTS)
def test_listening_is_seen_and_so_is_its_absence(host: str) -> None:
    async def look() -> tuple[list[bool], list[bool]]:
        server = await asyncio.start_server(lambda reader, writer: writer.close(), host, 0)
        port = server.sockets[0].getsockname()[1]
        async with server:
            here = [await is_listening(host, port), await is_bound(port)]
        return here, [await is_listening(host, port), await is_bound(port)]

    assert asyncio.run(look()) == ([True, True], [False, False])


def test_a_port_that_is_only_spoken_to_is_not_bound() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as caller:
            assert asyncio.run(is_bound(port))
            assert not asyncio.run(is_bound(caller.getsockname()[1]))
