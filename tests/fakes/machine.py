"""A machine of its own with systemd as process 1: our units, executed for real.

    with machine([("/etc/feldwarte/edge/gateway.json", text)]) as box:
        box.start("feldwarte.target")
        box.run("systemctl", "is-active", "feldwarte-web.service")

A minimal Debian (`tests/units/root.sh`, kept under build/ between runs) with the Python this project
runs on here; program and libraries are this clone's, bound read-only to where `systemd/install` puts
them. systemd-nspawn boots it, without network, and needs root.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NoReturn

import pytest
from fakes.processes import is_alive, wait_until

from edge.host import systemd

ROOT: Final = Path(__file__).resolve().parents[2]
SUITES: Final = {(3, 11): "bookworm", (3, 13): "trixie"}
"""Debian's releases whose own Python runs the libraries that are installed here."""
TOOLS: Final = {"systemd-nspawn": "systemd-container", "mmdebstrap": "mmdebstrap", "nsenter": "util-linux"}
NAMESPACES: Final = ["--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd"]
BOOT_S: Final = 60.0


def need_tools(tools: Mapping[str, str]) -> None:
    """Skip naming the packages of tools that are missing; in CI that is a failure."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    missing = [package for tool, package in tools.items() if shutil.which(tool, path=path) is None]
    if missing:
        lack(f"not installed: {', '.join(missing)}")


def lack(what: str) -> NoReturn:
    """Skip for want of something; in CI that is a failure."""
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)


class Machine:
    """A booted machine; `root` is its file system as seen from outside."""

    def __init__(self, root: Path, init: int) -> None:
        self.root = root
        self._init = init

    def run(self, *command: str, check: bool = True) -> str:
        """Run a command inside as root; gives what it said."""
        done = subprocess.run(
            ["nsenter", f"--target={self._init}", *NAMESPACES, "--", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
            env={"PATH": "/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"},
        )
        assert not check or done.returncode == 0, f"{' '.join(command)}: {done.returncode}\n{done.stdout}"
        return done.stdout

    def show(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.run("systemctl", "show", "--value", f"--property={name}", unit).strip()

    def start(self, *units: str) -> None:
        """Start units; fails with their log."""
        said = self.run("systemctl", "start", *units, check=False)
        states = {unit: self.show(unit, "ActiveState") for unit in units}
        assert set(states.values()) == {"active"}, f"{states}\n{said}\n{self.log(*units)}"

    def main_pid(self, unit: str) -> int:
        """Main process of a service, as numbered inside; 0 without one."""
        return int(self.show(unit, "MainPID"))

    def log(self, *units: str) -> str:
        """The last lines of the journal, of all units if none is named."""
        chosen = [word for unit in units for word in ("-u", unit)]
        return self.run("journalctl", "--no-pager", "-b", "-n", "80", "-o", "cat", *chosen, check=False)


@contextmanager
def machine(files: Sequence[tuple[str, str]]) -> Iterator[Machine]:
    """A booted machine, its root made for this test from the kept one and gone afterwards.

    Args:
        files: to write before it boots, as (path, content).
    """
    need_tools(TOOLS)
    if os.geteuid() != 0:
        lack("a machine of its own needs root")
    if not systemd.is_available():
        lack("systemd-python is not installed: its build needs gcc, pkg-config and libsystemd-dev")
    suite = SUITES.get(sys.version_info[:2])
    if suite is None:
        lack(f"no Debian release has Python {sys.version_info[0]}.{sys.version_info[1]} as its own")
    kept = subprocess.run(
        [ROOT / "tests/units/root.sh", suite, ROOT / "build/systemd"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout.strip()
    folder = Path(tempfile.mkdtemp(prefix="feldwarte-machine."))
    root = folder / "root"
    # In memory: nothing here is about disks, and it is gone at once.
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1g,mode=755", "feldwarte", folder], check=True)
    try:
        subprocess.run(["cp", "-a", kept, root], check=True)
        _install(root)
        for path, content in files:
            target = root / path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(content)
        with _booted(folder, root) as box:
            yield box
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
        folder.rmdir()


def _install(root: Path) -> None:
    """Program and units where `systemd/install` puts them; the libraries are links into the bound folder."""
    venv = root / "opt/feldwarte/venv"
    site = venv / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    (venv / "bin").mkdir(parents=True)
    site.mkdir(parents=True)
    (venv / "bin/python").symlink_to("/usr/bin/python3")
    (venv / "pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = false\n")
    for entry in _libraries().iterdir():
        if entry.suffix != ".pth":
            (site / entry.name).symlink_to(f"/opt/feldwarte/libraries/{entry.name}")
    for package in ("contract", "edge", "aggregator"):
        (site / package).symlink_to(f"/opt/feldwarte/source/{package}")
        (root / "opt/feldwarte/source" / package).mkdir(parents=True)
    (root / "opt/feldwarte/libraries").mkdir()
    subprocess.run([ROOT / "systemd/install", "--units", root, "edge", "centre", "--front"], check=True)


def _libraries() -> Path:
    return Path(pytest.__file__).parent.parent


@contextmanager
def _booted(folder: Path, root: Path) -> Iterator[Machine]:
    sources = [
        f"--bind-ro={ROOT / name}:/opt/feldwarte/source/{name}" for name in ("contract", "edge", "aggregator")
    ]
    console = folder / "console.log"
    with console.open("wb") as output:
        nspawn = subprocess.Popen(
            [
                *("systemd-nspawn", "--quiet", "-D", str(root), "--register=no", "--keep-unit"),
                *("--private-network", "--link-journal=no", "--console=pipe", "-b"),
                *(*sources, f"--bind-ro={_libraries()}:/opt/feldwarte/libraries"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    init = 0
    try:

        def has_init() -> bool:
            nonlocal init
            assert nspawn.poll() is None, f"systemd-nspawn ended\n{console.read_text(errors='replace')}"
            init = _init_below(nspawn.pid)
            return init != 0

        wait_until(has_init, "process 1 is there", BOOT_S)
        box = Machine(root, init)

        def is_up() -> bool:
            # The answer is a word in any case; before systemd listens there is none.
            said = box.run("systemctl", "is-system-running", check=False).strip()
            return said in {"running", "degraded"}

        try:
            wait_until(is_up, "the machine is up", BOOT_S)
        except AssertionError as late:
            raise AssertionError(f"{late}\n{console.read_text(errors='replace')}\n{box.log()}") from late
        yield box
        # In order, as its power button would.
        box.run("systemctl", "--no-block", "poweroff")
        assert nspawn.wait(60) == 0, console.read_text(errors="replace")
    finally:
        if nspawn.poll() is None:
            if init and is_alive(init):
                with suppress(ProcessLookupError):
                    os.kill(init, 9)
            try:
                nspawn.wait(10)
            except subprocess.TimeoutExpired:
                nspawn.kill()
                nspawn.wait()


def _init_below(pid: int) -> int:
    """The descendant that is process 1 of its own namespace, or 0."""
    for child in _children(pid):
        try:
            status = Path(f"/proc/{child}/status").read_text()
        except FileNotFoundError:
            continue
        numbers = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[1:]
        if len(numbers) > 1 and numbers[-1] == "1":
            return child
        found = _init_below(child)
        if found:
            return found
    return 0


def _children(pid: int) -> list[int]:
    with suppress(FileNotFoundError, ProcessLookupError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []
