"""How much a broken-in service could do, by systemd's own reckoning (0 is nothing, 10 everything)."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from fakes.machine import ROOT, need_tools

UNITS = ROOT / "systemd"
SERVICES = sorted(path.name for path in UNITS.glob("*.service"))


def laid(folder: Path, *options: str) -> Path:
    """The units as `systemd/install` lays them, below a folder of their own."""
    subprocess.run([UNITS / "install", "--units", folder, "edge", "centre", "--front", *options], check=True)
    return folder


def exposure(root: Path, unit: str, threshold: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *("systemd-analyze", "security", "--no-pager", "--offline=true", f"--threshold={threshold}"),
            *(f"--root={root}", unit),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("unit", SERVICES)
def test_each_service_is_exposed_to_1_5_at_most(tmp_path: Path, unit: str) -> None:
    need_tools({"systemd-analyze": "systemd"})
    found = exposure(laid(tmp_path), unit, 15)
    assert found.returncode == 0, found.stdout + found.stderr
    assert "Overall exposure level" in found.stdout


def test_a_box_with_serial_lines_is_exposed_to_2_0_at_most(tmp_path: Path) -> None:
    need_tools({"systemd-analyze": "systemd"})
    found = exposure(laid(tmp_path, "--serial"), "feldwarte-edge.service", 20)
    assert found.returncode == 0, found.stdout + found.stderr
    assert "char-ttyUSB:rw" in found.stdout, "the drop-in was not looked at"


def test_the_reckoning_notices_a_weaker_unit(tmp_path: Path) -> None:
    need_tools({"systemd-analyze": "systemd"})
    unit = laid(tmp_path) / "etc/systemd/system/feldwarte-edge.service"
    weaker = unit.read_text().replace("CapabilityBoundingSet=\n", "").replace("PrivateUsers=yes\n", "")
    assert weaker != unit.read_text()
    unit.write_text(weaker)
    assert exposure(tmp_path, "feldwarte-edge.service", 15).returncode != 0


@pytest.mark.parametrize(
    "unit", ["feldwarte-edge.service", "feldwarte-ingest.service", "feldwarte-web.service"]
)
def test_what_may_hang_is_watched_and_always_started_again(unit: str) -> None:
    """The machine of the tests has a shorter patience; this is the one that is delivered."""
    lines = (UNITS / unit).read_text().splitlines()
    assert {"Type=notify", "WatchdogSec=30", "Restart=always", "StartLimitIntervalSec=0"} <= set(lines)


def test_installing_again_keeps_the_operators_options(tmp_path: Path) -> None:
    options = laid(tmp_path) / "etc/feldwarte/centre/options"
    options.write_text("PREPARE_OPTIONS=--host scada.example.org\n")
    laid(tmp_path)
    assert options.read_text() == "PREPARE_OPTIONS=--host scada.example.org\n"


def test_every_unit_and_account_that_is_named_is_there(tmp_path: Path) -> None:
    root = laid(tmp_path)
    units = {path.name for path in (root / "etc/systemd/system").iterdir()}
    accounts = set(re.findall(r"^u (\S+)", (UNITS / "sysusers.conf").read_text(), re.MULTILINE))
    for path in (root / "etc/systemd/system").iterdir():
        text = path.read_text()
        for name in re.findall(r"\bfeldwarte[\w-]*\.(?:service|target|path|timer)\b", text):
            assert name in units, f"{path.name} names {name}"
        for account in re.findall(r"^(?:User|Group)=(\S+)", text, re.MULTILINE):
            assert account in accounts, f"{path.name} runs as {account}"


def test_every_path_of_the_program_in_a_unit_is_one_that_the_installer_makes() -> None:
    assert shutil.which("sh")
    installer = (UNITS / "install").read_text()
    for path in UNITS.glob("*.service"):
        for program in re.findall(r"^Exec\w+=(/opt\S+)", path.read_text(), re.MULTILINE):
            assert program == "/opt/feldwarte/venv/bin/python", path.name
    assert "/opt/feldwarte/venv\n" in installer
