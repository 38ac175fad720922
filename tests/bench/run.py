"""`make bench`: all figures, one JSON line each, to build/bench.jsonl. docs/bench.md says what they are.

BENCH_SECONDS=600 make bench     a longer window (default 120)
BENCH_ONLY=daemon make bench     the daemon alone; or paths, latency (to the browser), pages (first load)
"""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests"))  # `make` runs this file; its neighbours are bench.*, fakes.*

from bench import daemon, latency, pages, paths  # noqa: E402  # after the path
from bench.figures import Sheet  # noqa: E402  # after the path

LATENCY_S = 60.0


def main() -> int:
    """0 when all figures were taken."""
    seconds = float(os.environ.get("BENCH_SECONDS", "120"))
    only = os.environ.get("BENCH_ONLY", "")
    if only not in {"", "daemon", "paths", "latency", "pages"}:
        print(f"BENCH_ONLY={only}: daemon, paths, latency or pages", file=sys.stderr)
        return 2
    sheet = Sheet(ROOT / "build" / "bench.jsonl")
    if only in {"", "paths"}:
        paths.measure(sheet)
    if only in {"", "daemon"}:
        daemon.measure(sheet, ROOT / "build" / "bench", seconds)
    if only in {"", "latency"}:
        latency.measure(sheet, ROOT / "build" / "latency", min(seconds, LATENCY_S))
    if only in {"", "pages"}:
        pages.measure(sheet, ROOT / "build" / "pages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
