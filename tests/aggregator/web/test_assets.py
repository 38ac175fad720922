"""The browser's part: what was built is what pages name, and what is delivered."""

import gzip
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from aggregator.web import assets

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("page", ["overview", "signals", "trend", "alarms", "gateway"])
def test_a_page_names_everything_it_needs_at_once(page: str) -> None:
    found = assets.assets(page, "de")
    addresses = [found.script, *found.styles, *found.preload]
    for address in addresses:
        file = assets.BUILT / address.removeprefix(assets.ADDRESS)
        assert file.is_file(), address
        assert gzip.decompress(file.with_name(file.name + ".gz").read_bytes()) == file.read_bytes()
    assert len(set(addresses)) == len(addresses)
    assert any("/de-" in address for address in found.preload), "the words come with the page"


def test_the_shell_stays_light() -> None:
    found = assets.assets("", "en")
    files = [assets.BUILT / one.removeprefix(assets.ADDRESS) for one in (found.script, *found.preload)]
    packed = sum(file.with_name(file.name + ".gz").stat().st_size for file in files)
    assert packed <= 60 * 1024


def test_the_heaviest_part_is_the_chart_and_it_stays_below_its_bound() -> None:
    sizes = {file.name: file.stat().st_size for file in assets.BUILT.glob("assets/*.js.gz")}
    assert max(sizes.values()) <= 250 * 1024, sizes


def test_without_a_build_a_page_names_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(assets, "BUILT", tmp_path)
    assert assets.assets("trend", "en") == assets.Assets()
    assert assets.plain_style() == ""


def test_wheel_and_sdist_carry_what_was_built(tmp_path: Path) -> None:
    # From a copy: the tests beside this one write into the tree.
    tree = tmp_path / "tree"
    unwanted = shutil.ignore_patterns("__pycache__", "node_modules")
    for name in ("contract", "edge", "aggregator"):
        shutil.copytree(ROOT / name, tree / name, ignore=unwanted)
    for name in ("pyproject.toml", "hatch_build.py", ".gitignore", "LICENSE", "README.md", "CHANGELOG.md"):
        shutil.copy(ROOT / name, tree / name)
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(tmp_path)]
    built_by = subprocess.run(command, cwd=tree, check=False, capture_output=True, text=True)
    assert built_by.returncode == 0, built_by.stdout + built_by.stderr
    built = {f"aggregator/web/static/dist/assets/{one.name}" for one in assets.BUILT.glob("assets/*")}
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    assert built <= inside
    assert "aggregator/web/static/dist/manifest.json" in inside
    assert not any(name.startswith("aggregator/ui/") for name in inside)
    (sdist,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(sdist) as archive_:
        names = {name.partition("/")[2] for name in archive_.getnames()}
    assert built <= names
    assert "aggregator/ui/src/shell.ts" in names
    assert not any("node_modules" in name for name in names)
