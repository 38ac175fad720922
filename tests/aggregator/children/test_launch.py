import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fakes.processes import is_alive, wait_until

from aggregator.broker import unprivileged_account
from aggregator.children import launch

PYTHON = (sys.executable, "-I", "-S")


def through(*words: str, parent: int | None = None, account: str = "-") -> subprocess.CompletedProcess[str]:
    program = shutil.which(words[0]) or words[0]
    command = [*PYTHON, launch.__file__, str(parent or os.getpid()), account, program, *words[1:]]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)


def test_the_program_takes_our_place_with_its_arguments() -> None:
    done = through("printf", "%s|", "a b", "-x", "")
    assert (done.returncode, done.stdout) == (0, "a b|-x||")


def test_a_parent_that_died_first_means_no_start(tmp_path: Path) -> None:
    done = through("touch", str(tmp_path / "started"), parent=1)
    assert done.returncode == 1
    assert "is gone" in done.stderr
    assert not (tmp_path / "started").exists()


def test_a_program_that_is_not_there_is_named() -> None:
    done = through("/nonexistent/mosquitto")
    assert (done.returncode, done.stderr) == (1, "/nonexistent/mosquitto: No such file or directory\n")


def test_many_files_may_be_opened() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    code = "import resource; print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
    try:
        assert int(through(*PYTHON, "-c", code).stdout) == wanted
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


ACCOUNTS = ["-"]
if unprivileged_account() is not None:  # only a root that can become someone else
    ACCOUNTS.append("65534:65534")


@pytest.mark.parametrize("account", ACCOUNTS)
def test_a_parent_killed_takes_the_program_along(account: str) -> None:
    code = (
        "import os, subprocess, sys\n"
        f"{account!r} == '-' or os.setgroups([1, 2])\n"
        f"command = [*{PYTHON!r}, {launch.__file__!r}, str(os.getpid()), {account!r}]\n"
        "child = subprocess.Popen([*command, '/bin/sh', '-c', 'echo $$; exec sleep 600'])\n"
        "child.wait()\n"
    )
    with subprocess.Popen([*PYTHON, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        status = Path(f"/proc/{child}/status").read_text().splitlines()
        parent.kill()
    wait_until(lambda: not is_alive(child), "the child is gone")
    if account != "-":
        assert "Uid:\t65534\t65534\t65534\t65534" in status
        assert "Gid:\t65534\t65534\t65534\t65534" in status
        assert "Groups:" in [line.rstrip() for line in status]
