"""The browser's part as it was built: which files a page needs, by Vite's manifest."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import msgspec

BUILT = Path(__file__).parent / "static" / "dist"
ADDRESS = "/static/dist/"
SHELL = "src/shell.ts"
DESK = "src/desk.ts"
PLAIN = "src/plain.css"


class _Chunk(msgspec.Struct):
    file: str
    css: Sequence[str] = ()
    imports: Sequence[str] = ()
    dynamic: Sequence[str] = msgspec.field(default=(), name="dynamicImports")


class Assets(NamedTuple):
    """Addresses a page names in its head; all empty where nothing is built."""

    script: str = ""
    styles: Sequence[str] = ()
    preload: Sequence[str] = ()


def assets(page: str, language: str) -> Assets:
    """What a page of the shell needs, its own parts and its words: fetched at once, not in turn."""
    chunks = _manifest()
    if SHELL not in chunks:
        return Assets()
    wanted = [SHELL, DESK, f"../web/languages/{language}.json"]
    if page:
        own = f"src/pages/{page}.ts"
        wanted += [own, *(chunks[own].dynamic if own in chunks else ())]
    styles: dict[str, None] = {}
    scripts: dict[str, None] = {}
    for name in wanted:
        _gather(chunks, name, scripts, styles)
    script = ADDRESS + chunks[SHELL].file
    return Assets(script, list(styles), [one for one in scripts if one != script])


def plain_style() -> str:
    """Address of the style sheet of pages without the shell; empty where nothing is built."""
    chunk = _manifest().get(PLAIN)
    return "" if chunk is None else ADDRESS + chunk.file


def _gather(chunks: dict[str, _Chunk], name: str, scripts: dict[str, None], styles: dict[str, None]) -> None:
    chunk = chunks.get(name)
    if chunk is None or ADDRESS + chunk.file in scripts:
        return
    scripts[ADDRESS + chunk.file] = None
    styles.update(dict.fromkeys(ADDRESS + one for one in chunk.css))
    for one in chunk.imports:
        _gather(chunks, one, scripts, styles)


@cache
def _read(file: Path) -> dict[str, _Chunk]:
    """Once a process, as the files themselves are looked for: a newer build counts from the next start on."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, _Chunk])
    except FileNotFoundError:
        return {}


def _manifest() -> dict[str, _Chunk]:
    return _read(BUILT / "manifest.json")
