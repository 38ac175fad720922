"""Makes `thousand.json`: 1000 registers once a second, 500 messages; for benches.

    python hil/rigs/make_thousand.py

For `hil.counter --type int16 --signals 1000`, where signal i of cycle T reads T + i, so that every
value changes in every cycle. Nothing of storage is set: what is measured is what is shipped. Every
second signal has a message; ten of them rise, one a minute, the others only stand guard.
"""

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SIGNALS = 1000
CYCLES_BETWEEN_ALARMS = 60


def document() -> dict[str, Any]:
    """The configuration, with the usual ports."""
    return {
        "format": 1,
        "gateway": {"id": "thousand", "name": "A thousand registers", "site": "Bench"},
        "uplinks": [{"host": "127.0.0.1", "port": 8883}],
        "devices": {
            "counter": {"driver": "modbus", "settings": {"host": "127.0.0.1", "port": 502, "unit": 1}}
        },
        "groups": {"all": {"device": "counter", "cycle_s": 1.0}},
        "signals": {uid(i): signal(i) for i in range(SIGNALS)},
        "messages": {f"m{i:03}": message(i) for i in range(SIGNALS // 2)},
    }


def uid(i: int) -> str:
    """Of signal i."""
    return f"s{i:03}"


def signal(i: int) -> dict[str, Any]:
    """Tenths of a degree in a holding register; every second one behind a deadband of half a step."""
    archive = {"mode": "delta", "deadband": 0.05} if i % 2 else {"mode": "every"}
    return {
        "group": "all",
        "address": {"register": i, "type": "int16"},
        "unit": "°C",
        "scaling": {"divisor": 10},
        "range": {"low": -3276.8, "high": 3276.7},
        "archive": archive,
    }


def message(i: int) -> dict[str, Any]:
    """All kinds of limits: constant, with an exit of their own, with delays, another signal."""
    of = 2 * i
    limit: float | str = 3000.0
    condition: dict[str, Any] = {"signal": uid(of), "operator": (">", ">=")[i % 2], "limit": limit}
    if i % 50 == 0:
        condition["limit"] = (of + CYCLES_BETWEEN_ALARMS * (i // 50 + 1)) / 10
    elif i % 10 == 5:
        condition["limit"] = uid(of + 1)
    elif i % 10 == 3:
        condition |= {"operator": "<", "limit": -3000.0, "exit": -2990.0}
    elif i % 3 == 0:
        condition["exit"] = 2990.0
    text = f"{uid(of)} is beyond its limit"
    return {"number": 1001 + i, "text": text, "any_of": [[condition]], "on_delay_s": float(i % 4)}


def lines(told: dict[str, Any]) -> str:
    """JSON with one line per signal and message."""
    parts = []
    for name, value in told.items():
        if name in {"signals", "messages"}:
            rows = ",\n".join(
                f'  "{key}": {json.dumps(one, ensure_ascii=False)}' for key, one in value.items()
            )
            parts.append(f' "{name}": {{\n{rows}\n }}')
        else:
            parts.append(f' "{name}": {json.dumps(value, ensure_ascii=False)}')
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    (HERE / "thousand.json").write_text(lines(document()), encoding="utf-8")
