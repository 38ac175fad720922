"""The house itself: import law, pinned libraries, layout, links, and what setup says and does."""

import os
import pty
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("contract", "edge", "aggregator")


def tracked() -> list[Path]:
    """Files of the repository that git knows, or all but the ignored ones where git is absent."""
    listing = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "-z"], capture_output=True, check=True, text=True
    )
    return [ROOT / name for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()]


# --- import contracts ------------------------------------------------------------------------


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    program = shutil.which("lint-imports", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if program is None:
        pytest.skip("import-linter is not installed")
    return subprocess.run(
        [program, "--no-logo", "--no-cache"], cwd=folder, capture_output=True, text=True, check=False
    )


def small_house(folder: Path, files: Mapping[str, str]) -> Path:
    """A house with our contracts and nothing but the given modules in it."""
    shutil.copy(ROOT / "pyproject.toml", folder)
    for package in (*PACKAGES, "edge/drivers"):
        (folder / package).mkdir()
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for package in PACKAGES:
        for sub in [folder / package, *(folder / package).rglob("*")]:
            if sub.is_dir():
                (sub / "__init__.py").touch()
    return folder


def test_an_orderly_house_passes(tmp_path: Path) -> None:
    house = small_house(
        tmp_path,
        {
            "contract/model/batch.py": "import numpy\n",
            "edge/app.py": "import edge.drivers.modbus.driver, edge.historian.head, contract.model.batch\n",
            "edge/drivers/driver.py": "",
            "edge/drivers/modbus/driver.py": "import asyncio, edge.drivers.driver\n",
            "edge/historian/head.py": "import sqlite3, edge.clock\n",
            "edge/blocking.py": "import threading, concurrent.futures\n",
            "edge/clock.py": "import time\n",
            "aggregator/db/schema.py": "import sqlalchemy\n",
            "aggregator/history/store.py": "import sqlalchemy, aggregator.db.schema\n",
            "aggregator/history/service.py": "import aggregator.history.store\n",
            "aggregator/history/views.py": "import flask, aggregator.history.service\n",
        },
    )
    result = lint_imports(house)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ({"edge/app.py": "import aggregator"}, "edge is not allowed to import aggregator"),
        ({"aggregator/app.py": "import edge"}, "aggregator is not allowed to import edge"),
        ({"contract/model/x.py": "import edge"}, "contract is not allowed to import edge"),
        (
            {"contract/model/x.py": "import contract.alarm.y", "contract/alarm/y.py": ""},
            "contract.model is not allowed to import contract.alarm",
        ),
        ({"contract/alarm/x.py": "from time import monotonic"}, "contract is not allowed to import time"),
        (
            {"edge/signals/x.py": "import edge.clock", "edge/clock.py": "import time"},
            "edge.signals.x is not allowed to import time",
        ),
        (
            {"aggregator/alarms/rules.py": "import sqlite3"},
            "aggregator.alarms.rules is not allowed to import sqlite3",
        ),
        (
            {"edge/historian/x.py": "import edge.journal.y", "edge/journal/y.py": ""},
            "edge.historian is not allowed to import edge.journal",
        ),
        (
            {"edge/clock.py": "import edge.app", "edge/app.py": ""},
            "edge.clock is not allowed to import edge.app",
        ),
        ({"edge/host/x.py": "import threading"}, "edge is not allowed to import threading"),
        (
            {"edge/drivers/modbus/x.py": "import edge.drivers.s7.y", "edge/drivers/s7/y.py": ""},
            "edge.drivers.modbus is not allowed to import edge.drivers.s7",
        ),
        (
            {"aggregator/db/x.py": "import aggregator.history.y", "aggregator/history/y.py": ""},
            "aggregator.db is not allowed to import aggregator.history",
        ),
        (
            {
                "aggregator/history/service.py": "import aggregator.history.views",
                "aggregator/history/views.py": "",
            },
            "aggregator.history.service is not allowed to import aggregator.history.views",
        ),
        (
            {"aggregator/history/service.py": "import sqlalchemy"},
            "aggregator is not allowed to import sqlalchemy",
        ),
        (
            {"aggregator/history/service.py": "import flask"},
            "aggregator is not allowed to import flask",
        ),
        ({"edge/utils.py": ""}, "- edge.utils"),
        ({"edge/drivers/helpers.py": ""}, "- edge.drivers.helpers"),
        ({"aggregator/misc/x.py": ""}, "- aggregator.misc"),
        ({"contract/common.py": ""}, "- contract.common"),
    ],
)
def test_an_import_that_looks_upstream_is_refused_by_name(
    tmp_path: Path, files: Mapping[str, str], complaint: str
) -> None:
    result = lint_imports(small_house(tmp_path, files))
    assert result.returncode == 1
    assert complaint in result.stdout


# --- pinned libraries ------------------------------------------------------------------------


def pins(name: str) -> dict[str, set[str]]:
    """Versions per package in a requirement file; checks on the way that each has its hashes."""
    found: dict[str, set[str]] = {}
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    for requirement in text.replace("\\\n", " ").splitlines():
        match = re.fullmatch(
            r"([a-z0-9.-]+)==(\S+)( ; [^\\]+?)?((?:\s+--hash=sha256:[0-9a-f]{64})+)\s*", requirement
        )
        assert match, f"{name}.txt: not a pinned and hashed requirement: {requirement[:80]}"
        found.setdefault(match[1], set()).add(match[2])
    return found


@pytest.mark.parametrize("name", ["edge", "aggregator", "dev", "systemd"])
def test_every_library_is_pinned_and_hashed_and_no_index_is_named(name: str) -> None:
    assert pins(name)
    assert "://" not in (ROOT / "requirements" / f"{name}.txt").read_text()


@pytest.mark.parametrize("name", ["edge", "aggregator"])
def test_what_is_tested_is_what_is_installed(name: str) -> None:
    dev = pins("dev")
    assert {
        package: versions for package, versions in pins(name).items() if dev.get(package) != versions
    } == {}


def test_compiled_libraries_have_wheels_for_more_than_this_machine() -> None:
    """Hashes of a local mirror alone would be one or two."""
    text = (ROOT / "requirements" / "dev.txt").read_text().replace("\\\n", " ")
    counts = {line.split("==")[0]: line.count("--hash=") for line in text.splitlines()}
    for package in ("cryptography", "msgspec", "numpy", "pcodec", "pyyaml", "sqlalchemy", "zstandard"):
        assert counts[package] >= 20, package


def test_each_declared_dependency_is_in_its_requirement_file() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]

    def names(*lists: list[str]) -> set[str]:
        return {re.split(r"[<>=~;\[ ]", entry)[0].lower() for entries in lists for entry in entries}

    base = project["dependencies"]
    assert names(base, extras["edge"], extras["modbus"]) <= pins("edge").keys()
    assert names(base, extras["aggregator"]) <= pins("aggregator").keys()
    assert names(base, *(extras[e] for e in ("edge", "modbus", "aggregator", "dev"))) <= pins("dev").keys()
    assert names(extras["systemd"]) == pins("systemd").keys()


# --- layout and links ------------------------------------------------------------------------


def test_no_drawer_for_odds_and_ends() -> None:
    drawers = {"utils", "util", "helpers", "helper", "common", "misc"}
    assert [
        p for p in tracked() if p.suffix == ".py" and drawers & set(p.relative_to(ROOT).with_suffix("").parts)
    ] == []


def test_test_folders_are_no_packages() -> None:
    assert [p for p in tracked() if p.name == "__init__.py" and p.is_relative_to(ROOT / "tests")] == []


def local_links(text: str) -> list[str]:
    """Targets of a document's links that are files; what stands in code blocks is no link."""
    prose = re.sub(r"^(```|~~~).*?^\1", "", text, flags=re.DOTALL | re.MULTILINE)
    targets: list[str] = re.findall(r"\]\(([^)#\s]+)[^)]*\)", prose)
    return [t for t in targets if "://" not in t and not t.startswith("mailto:")]


def test_every_link_in_the_documents_leads_somewhere() -> None:
    broken = [
        f"{document.relative_to(ROOT)}: {target}"
        for document in tracked()
        if document.suffix == ".md"
        for target in local_links(document.read_text())
        if not (document.parent / target).exists()
    ]
    assert broken == []


def test_make_without_a_target_names_every_target() -> None:
    text = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (help .*)$", text, re.MULTILINE)
    assert phony
    header = text.split("\n\n", 1)[0]
    internal = {"help", "environment"}
    assert [t for t in phony[1].split() if t not in internal and not re.search(rf"\b{t}\b", header)] == []


# --- what setup says and does ----------------------------------------------------------------

PRESENT = ("sh", "id", "cat", "rm", "mv", "chmod", "printf", "env")


class Machine:
    """A machine with few programs: PATH holds only what is put there, apt-get writes down its orders."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.orders = folder / "orders"
        self.policy = folder / "policy-rc.d"
        for program in PRESENT:
            found = shutil.which(program)
            assert found
            (self.bin / program).symlink_to(found)

    def put(self, program: str, text: str) -> None:
        path = self.bin / program
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def put_apt(self, *, works: bool = True) -> None:
        fails = "" if works else 'case "$1" in install) exit 100 ;; esac'
        self.put(
            "apt-get",
            f"""echo "$@" >>{self.orders}
[ ! -x {self.policy} ] || {{ {self.policy}; echo "policy $?" >>{self.orders}; }}
{fails}""",
        )

    def be(self, uid: int) -> None:
        (self.bin / "id").unlink()
        self.put("id", f"echo {uid}")

    def packages(
        self, *purposes: str, yes: bool = False, stdin: int = subprocess.DEVNULL
    ) -> subprocess.CompletedProcess[str]:
        # The script looks into the system folders too, so a copy looks only where we say.
        script = self.bin.parent / "packages.sh"
        script.write_text(
            (ROOT / "setup" / "packages.sh").read_text().replace("PATH=$PATH:/usr/sbin:/sbin", "PATH=$PATH")
        )
        environment = {"PATH": str(self.bin), "POLICY_RC_D": str(self.policy)} | ({"YES": "1"} if yes else {})
        return subprocess.run(
            [self.bin / "sh", script, *purposes],
            env=environment,
            stdin=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    m = Machine(tmp_path)
    m.be(0)
    return m


def test_nothing_missing_nothing_said(machine: Machine) -> None:
    machine.put("mosquitto", "exit 0")
    machine.put_apt()
    result = machine.packages("run", yes=True)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert not machine.orders.exists()


def test_without_a_terminal_it_stops_with_the_exact_command(machine: Machine) -> None:
    machine.put_apt()
    result = machine.packages("run", "fault")
    assert result.returncode == 1
    assert "mosquitto          the MQTT broker" in result.stdout
    assert "  apt-get install --no-install-recommends mosquitto strace nftables iproute2\n" in result.stderr
    assert not machine.orders.exists()


def test_a_pipe_that_says_yes_is_nobody_to_ask(machine: Machine) -> None:
    machine.put_apt()
    there, here = os.pipe()
    try:
        os.write(here, b"y\n")
        result = machine.packages("run", stdin=there)
    finally:
        os.close(there)
        os.close(here)
    assert result.returncode == 1
    assert "Nobody to ask here" in result.stderr
    assert not machine.orders.exists()


@pytest.mark.parametrize(("answer", "code"), [(b"y\n", 0), (b"n\n", 1), (b"\n", 1)])
def test_somebody_at_a_terminal_is_asked(machine: Machine, answer: bytes, code: int) -> None:
    machine.put_apt()
    keyboard, terminal = pty.openpty()
    try:
        os.write(keyboard, answer)
        result = machine.packages("run", stdin=terminal)
    finally:
        os.close(keyboard)
        os.close(terminal)
    assert result.returncode == code, result.stderr
    assert 'Install them now with "apt-get install --no-install-recommends mosquitto"? [y/N]' in result.stdout
    assert machine.orders.exists() is (code == 0)


def test_a_user_is_shown_sudo(machine: Machine) -> None:
    machine.put_apt()
    machine.put("sudo", "exit 99")
    machine.be(1000)
    result = machine.packages("run")
    assert result.returncode == 1
    assert "  sudo apt-get install --no-install-recommends mosquitto\n" in result.stderr


def test_yes_installs_with_every_service_held_back_and_leaves_no_policy_behind(machine: Machine) -> None:
    machine.put_apt()
    result = machine.packages("run", yes=True)
    assert result.returncode == 0, result.stderr
    assert machine.orders.read_text().splitlines() == [
        "-qq update",
        "policy 101",
        "install -y --no-install-recommends mosquitto",
        "policy 101",
    ]
    assert not machine.policy.exists()


@pytest.mark.parametrize("works", [True, False])
def test_a_policy_of_the_machine_comes_back_as_it_was(machine: Machine, works: bool) -> None:
    machine.policy.write_text("#!/bin/sh\nexit 0\n")
    machine.policy.chmod(0o755)
    machine.put_apt(works=works)
    result = machine.packages("run", yes=True)
    assert (result.returncode == 0) is works
    assert "policy 101" in machine.orders.read_text()
    assert machine.policy.read_text() == "#!/bin/sh\nexit 0\n"
    assert sorted(p.name for p in machine.policy.parent.glob("policy-rc.d*")) == ["policy-rc.d"]


def test_only_a_service_that_came_with_us_is_disabled(machine: Machine) -> None:
    machine.put_apt()
    machine.put("systemctl", f'echo "systemctl $*" >>{machine.orders}')
    assert machine.packages("run", yes=True).returncode == 0
    assert "systemctl disable mosquitto.service" in machine.orders.read_text()

    machine.orders.unlink()
    machine.put("mosquitto", "exit 0")
    assert machine.packages("run", "fault", yes=True).returncode == 0
    assert "systemctl" not in machine.orders.read_text()


def test_a_system_without_apt_is_told_the_names(machine: Machine) -> None:
    result = machine.packages("run", yes=True)
    assert result.returncode == 1
    assert "mosquitto" in result.stdout
    assert "no apt-get" in result.stderr


def environment(folder: Path, python: Path, path: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", folder / "setup" / "environment.sh"],
        env={"PATH": path or os.environ["PATH"], "PYTHON": str(python)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def copy_of_setup(folder: Path) -> Path:
    shutil.copytree(ROOT / "setup", folder / "setup")
    shutil.copytree(ROOT / "requirements", folder / "requirements")
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def test_a_python_that_does_not_fit_is_named(tmp_path: Path) -> None:
    old = tmp_path / "python-old"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    result = environment(copy_of_setup(tmp_path), old)
    assert result.returncode == 1
    assert f"{old} is not Python 3.11, 3.12 or 3.13 in 64 bit" in result.stderr


def test_setup_installs_once_and_again_when_a_pin_moves(tmp_path: Path) -> None:
    house = copy_of_setup(tmp_path)
    log = tmp_path / "log"
    python = tmp_path / "python"
    # An interpreter that answers what is asked of it and writes down what pip is told.
    python.write_text(
        f"""#!/bin/sh
case "$*" in
"-m venv --clear .venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python; echo venv >>{log} ;;
"-m pip --version") ;;
"-m pip install"*) echo "$*" >>{log} ;;
--version) echo Python 3.12.0 ;;
esac
"""
    )
    python.chmod(0o755)

    first = environment(house, python)
    assert first.returncode == 0, first.stderr
    told = log.read_text()
    assert told.startswith("venv\n")
    assert "--require-hashes -r requirements/dev.txt" in told
    assert "--no-deps --no-build-isolation -e ." in told

    second = environment(house, python)
    assert (second.returncode, second.stdout, log.read_text()) == (0, "", told)

    with (house / "requirements" / "dev.txt").open("a") as file:
        file.write("\n")
    third = environment(house, python)
    assert third.returncode == 0
    assert log.read_text().count("-r requirements/dev.txt") == 2
    assert log.read_text().count("venv\n") == 1


def test_an_interrupted_setup_is_done_again(tmp_path: Path) -> None:
    house = copy_of_setup(tmp_path)
    python = tmp_path / "python"
    python.write_text(
        """#!/bin/sh
case "$*" in
"-m venv --clear .venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
"-m pip install"*) exit 1 ;;
esac
"""
    )
    python.chmod(0o755)
    for _ in range(2):
        result = environment(house, python)
        assert result.returncode == 1
        assert "installing" in result.stdout


@pytest.mark.parametrize(("ci", "code"), [("true", 2), ("", 0)])
def test_a_missing_tool_fails_in_ci_and_is_skipped_elsewhere(tmp_path: Path, ci: str, code: int) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    programs = tmp_path / "bin"
    programs.mkdir()
    for program in ("make", "sh"):
        (programs / program).symlink_to(shutil.which(program) or program)
    result = subprocess.run(
        [programs / "make", "check"],
        cwd=tmp_path,
        env={"PATH": str(programs), "CI": ci},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == code, result.stdout + result.stderr
    said = result.stdout + result.stderr
    for package in ("ruff", "mypy", "import-linter"):
        assert f"package {package}" in said
