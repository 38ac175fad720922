"""Moments in addresses and answers: what a parameter means, and how a time is written."""

import re
from datetime import UTC, datetime

from flask import request

from aggregator.web.problem import Problem

TIME_MAX_US = 2**62


def instant(name: str, default_us: int, now_us: int) -> int:
    """µs UTC of a parameter: ISO 8601 with a zone, ms or µs since 1970, or `-30m` before now.

    Raises:
        Problem: naming the parameter, the value and what would do.
    """
    text = request.args.get(name, "").strip()
    if not text:
        return default_us
    if back := re.fullmatch(r"-([0-9]{1,6})([smhd])", text):
        return now_us - int(back[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[back[2]] * 1_000_000
    if re.fullmatch(r"-?[0-9]+", text):
        number = int(text)
        if 10**14 <= number <= TIME_MAX_US:
            return number
        if 10**11 <= number < 10**14:
            return number * 1000
        hint = "numbers are milliseconds or microseconds since 1970; seconds need three zeros more"
        raise Problem(hint, parameter=name, value=text)
    try:
        # In an address "+" means a space: a zone written as +01:00 arrives so.
        found = datetime.fromisoformat(
            re.sub(r" (?=[0-9]{2}:?[0-9]{2}$)", "+", text) if "T" in text else text
        )
    except ValueError as error:
        hint = "give ISO 8601 with a zone, as 2026-11-21T12:00:00Z, or milliseconds since 1970, or -30m"
        raise Problem(hint, parameter=name, value=text) from error
    if found.tzinfo is None:
        raise Problem("the time has no zone; add Z or an offset such as +01:00", parameter=name, value=text)
    return round((found - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1e6)


def moment(time_us: int | None) -> str:
    """ISO 8601 in UTC; empty if there is none, or none that a date can hold."""
    try:
        return "" if time_us is None else datetime.fromtimestamp(time_us / 1e6, UTC).isoformat()
    except (OverflowError, ValueError, OSError):
        return ""
