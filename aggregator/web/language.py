"""German and English: one small catalogue each, the same for pages and for the browser's part."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files

import msgspec
from flask import g, request

LANGUAGES = ("en", "de")


@cache
def catalogue(language: str) -> Mapping[str, str]:
    """All words of a language."""
    text = (files("aggregator.web") / "languages" / f"{language}.json").read_bytes()
    return msgspec.json.decode(text, type=dict[str, str])


def language() -> str:
    """What the account has chosen, or else what its browser prefers; English where that says neither."""
    if (chosen := g.get("language")) in LANGUAGES:
        return str(chosen)
    return request.accept_languages.best_match(LANGUAGES, "en") or "en"


def word(key: str, **values: object) -> str:
    """A text in the language of the present request, with its values filled in."""
    return catalogue(language())[key].format(**values)
